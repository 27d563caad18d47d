"""
C{python -m twisted_echo.bench COMMAND}.

What must hold: a signal ends a command in order, with its processes, and with the
status that a shell gives to that signal.
"""

import os
import signal
import sys
from types import FrameType

from twisted_echo.bench import cli

SIGPIPE = 13


def main() -> int:
    """
    Run the command that the arguments name.

    @return: the exit status.
    """
    ended_by = signal.SIGINT

    def terminated(number: int, frame: FrameType | None) -> None:
        nonlocal ended_by
        ended_by = signal.SIGTERM
        # An event loop puts a handler of its own here while it runs. An exception
        # raised at any place of it would be taken for a connection's.
        interrupt = signal.getsignal(signal.SIGINT)
        assert callable(interrupt)
        interrupt(number, frame)

    # A shell's background job ignores it, and then the loop would not handle it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, terminated)
    try:
        try:
            return cli.main(sys.argv[1:])
        finally:
            sys.stdout.flush()
    except KeyboardInterrupt:
        return 128 + ended_by
    except BrokenPipeError:
        # Nobody reads on. What is in the buffer would be written at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + SIGPIPE


if __name__ == "__main__":
    sys.exit(main())

"""
C{python -m twisted_echo.bench COMMAND}.
"""

import signal
import sys
from types import FrameType

from twisted_echo.bench.cli import main


def terminated(number: int, frame: FrameType | None) -> None:
    """
    End in order, so that the processes of a benchmark end, too.
    """
    sys.exit(128 + number)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, terminated)
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit("interrupted")

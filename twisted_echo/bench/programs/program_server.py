"""
A server process: C{python -m twisted_echo.bench.programs.program_server KIND REACTOR}.

It says C{listening on HOST:PORT, by REACTOR}, and prints warnings and errors. The
kernel chooses the port.
"""

import sys
from typing import Any

from twisted.logger import (
    FilteringLogObserver,
    LogLevel,
    LogLevelFilterPredicate,
    globalLogBeginner,
    textFileLogObserver,
)

from twisted_echo.bench.programs.kind import HOST
from twisted_echo.bench.programs.kinds import KINDS
from twisted_echo.bench.programs.program_reactors import REACTORS
from twisted_echo.bench.rivals import BACKLOG, say


def begin_logging() -> None:
    """
    Print warnings and errors only: what a log costs is not measured.
    """
    predicate = LogLevelFilterPredicate(LogLevel.warn)
    observer = FilteringLogObserver(textFileLogObserver(sys.stderr), [predicate])
    globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False)


def main(kind: str, reactor_name: str) -> None:
    """
    Serve until a signal comes.
    """
    begin_logging()
    REACTORS[reactor_name].install()
    from twisted.internet import reactor as installed

    reactor: Any = installed
    factory = KINDS[kind].program().factory()
    port = reactor.listenTCP(0, factory, backlog=BACKLOG, interface=HOST)
    say(port.getHost().port, reactor)
    reactor.run()


if __name__ == "__main__":
    main(*sys.argv[1:])

"""
The kinds of programs that C{programs} measures, by name.
"""

import importlib
import importlib.util
from dataclasses import dataclass

from twisted_echo.bench.programs.kind import Program
from twisted_echo.validation.extras import install_packages

_PACKAGE = "twisted_echo.bench.programs"


@dataclass(frozen=True)
class Kind:
    """
    One kind of program that C{programs} measures.

    @ivar label: for people.
    @ivar operation: what is counted, for people.
    @ivar place: the module, and the program's name in it.
    @ivar needs: modules without which it cannot run.
    @ivar install: the package that brings them.
    @ivar most: operations of a run, at most.
    @ivar bare: whether a bare protocol of asyncio's is measured beside it.
    """

    name: str
    label: str
    operation: str
    place: str
    needs: tuple[str, ...] = ()
    install: str = ""
    most: int = 1_000_000
    bare: bool = False

    @property
    def obstacle(self) -> str:
        """
        Why it cannot run, and what to do; empty, if it can.
        """
        missing = [each for each in self.needs if not importlib.util.find_spec(each)]
        if not missing:
            return ""
        command = install_packages(self.install)
        return f"{self.name} needs {', '.join(missing)}: {command}"

    def program(self) -> Program:
        module, _, name = self.place.partition(":")
        program = getattr(importlib.import_module(f"{_PACKAGE}.{module}"), name)
        assert isinstance(program, Program)
        return program


KINDS = {
    kind.name: kind
    for kind in (
        Kind(
            *("lines", "LineReceiver", "a line of 64 bytes echoed"),
            "line_programs:line_receiver",
            bare=True,
        ),
        Kind(
            *("fast-lines", "FastLineReceiver", "a line of 64 bytes echoed"),
            "line_programs:fast_lines",
            bare=True,
        ),
        Kind(
            *("timer", "ten writes in a timer", "a request, ten writes in `callLater`"),
            "line_programs:timer_writes",
        ),
        Kind(
            *("large", "large answers", "a line, 1 MiB back"),
            "line_programs:large_answers",
        ),
        Kind("amp", "AMP", "a command and its answer", "amp_program:program"),
        Kind(
            *("websocket", "WebSocket (autobahn)", "a message echoed"),
            "websocket_program:program",
            needs=("autobahn",),
            install="autobahn",
        ),
        Kind("smtp", "SMTP", "a mail, four commands", "smtp_program:program"),
        Kind("ftp", "FTP commands", "a command and its reply", "ftp_program:commands"),
        Kind(
            *("ftp-download", "FTP downloads", "a file of 1 KiB"),
            "ftp_program:download",
            # Each leaves a connection in TIME_WAIT.
            most=1000,
        ),
        Kind("web", "twisted.web", "a `GET`", "web_programs:one_piece"),
        Kind(
            *("web-writes", "twisted.web, 20 writes", "a `GET`, 20 `request.write`"),
            "web_programs:pieces",
        ),
        Kind("pb", "perspective broker", "a remote call", "broker_program:program"),
        Kind(
            *("conch", "SSH (conch)", "words echoed in a channel"),
            "conch_program:program",
            needs=("bcrypt", "cryptography"),
            install="twisted[conch]",
        ),
    )
}

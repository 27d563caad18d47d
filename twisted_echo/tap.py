"""
The command line: C{twistd echo} and C{twist echo}.
"""

import errno
import os
import re
import sys
from collections.abc import Callable
from importlib.metadata import version
from socket import gaierror
from typing import Any, TypeVar

from twisted.application.service import IService
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import AlreadyListened, CannotListenError
from twisted.logger import Logger
from twisted.python.runtime import platform
from twisted.python.usage import Options as UsageOptions
from twisted.python.usage import UsageError

from twisted_echo.echo import EchoConfig, EchoService
from twisted_echo.sockets import KeepAlive

__all__ = ["CannotStart", "Options", "makeService"]

_T = TypeVar("_T")

_log = Logger()


class CannotStart(Exception):
    """
    The service cannot listen; the message says where, why, and what to do.
    """


def _delimiter(text: str) -> bytes:
    """
    Read C{\\r\\n}, C{\\0} or C{END} as bytes, with the escapes of Python.
    """
    try:
        # By way of Latin-1, in which every byte is a character.
        characters = text.encode().decode("unicode_escape")
        delimiter = characters.encode("latin-1")
    except UnicodeError:
        delimiter = b""
    if not delimiter:
        raise ValueError(
            f"--delimiter must be one character or more, in which \\n, \\r, \\0 and"
            f" \\xHH stand for bytes, got {text!r}"
        )
    return delimiter


def _keepAlive(text: str) -> KeepAlive | None:
    """
    Read C{off} or C{IDLE[,INTERVAL[,COUNT]]}.
    """
    if text == "off":
        return None
    try:
        numbers = [int(number) for number in text.split(",")]
        return KeepAlive(*numbers)
    except (ValueError, TypeError) as error:
        detail = f" ({error})" if str(error).startswith("keep-alive") else ""
        raise ValueError(
            "--keepalive must be 'off' or IDLE[,INTERVAL[,COUNT]], such as"
            f" 60,10,6, got {text!r}{detail}"
        ) from None


def _number(text: str, kind: Callable[[str], _T], what: str) -> _T:
    try:
        return kind(text)
    except ValueError:
        raise ValueError(f"{what}, got {text!r}") from None


def _named(message: str) -> str:
    """
    Call a field of the configuration by the name of its option.
    """
    for field, option in (
        ("maxLength ", "--max-length "),
        ("abortAfter ", "--abort-after "),
        ("drain ", "--drain "),
    ):
        if message.startswith(field):
            return option + message.removeprefix(field)
    return message


def _chooseReactor() -> None:
    """
    Install the eager reactor, unless the user named another.
    """
    if "twisted.internet.reactor" in sys.modules or not platform.isLinux():
        return
    try:
        from twisted_echo.reactor import install

        install()
    except ImportError as error:
        _log.warn(
            "the eager reactor cannot be used, so the service is slower and no"
            " different: {reason}",
            reason=str(error),
        )


def _endpoint(reactor: Any, description: str) -> Any:
    """
    Make an endpoint of its string.

    @raise UsageError: if there is none such.
    """
    try:
        endpoint = serverFromString(  # type: ignore[no-untyped-call]
            reactor, description
        )
    except Exception as error:
        # Every kind of endpoint has errors of its own.
        detail = str(error) or type(error).__name__
        raise UsageError(
            f"--listen {description!r} is no endpoint: {detail}; such as tcp:7007,"
            " tcp6:7007, unix:/run/echo.sock or ssl:7007:privateKey=key.pem"
        ) from None
    for word in description.split(":"):
        # What is not a port's number is too short or not a number.
        name, _, number = word.rpartition("=")
        if (
            name in ("", "port")
            and re.fullmatch(r"-?\d+", number)
            and not (0 <= int(number) <= 65535)
        ):
            raise UsageError(
                f"--listen {description!r}: a port must be from 0 to 65535,"
                f" got {number}"
            )
    return endpoint


class Options(UsageOptions):
    """
    The options, which become an L{EchoConfig} and its endpoints.
    """

    synopsis = "[options]"
    longdesc = (
        "Sends every line back to the client that it came from. SIGTERM and SIGINT"
        " stop it in order: no new connections, an answer to every line that was"
        " received, end-of-file for every client."
    )

    optParameters = [  # noqa: RUF012 - the way of twisted.python.usage
        [
            "delimiter",
            "d",
            "\\n",
            "What ends a line. \\n, \\r, \\0 and \\xHH stand for bytes.",
        ],
        [
            "max-length",
            "m",
            "65536",
            "The longest line in bytes, its delimiter not counted. A client that"
            " sends a longer one is disconnected.",
        ],
        [
            "drain",
            None,
            "0",
            "Seconds in which, at a stop, clients may finish by themselves before"
            " their connections are closed.",
        ],
        [
            "abort-after",
            None,
            "5",
            "Seconds that a closed connection waits for its client to read the"
            " rest and to close too, before it is cut off.",
        ],
        [
            "keepalive",
            "k",
            "60,10,6",
            "When to ask a silent client whether it is still there: after IDLE"
            " seconds, every INTERVAL seconds, COUNT times; or 'off'.",
        ],
    ]

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self["listen"] = []

    def opt_listen(self, endpoint: str) -> None:
        """
        Where to listen, a Twisted endpoint: tcp:7007 (every IPv4 address of
        this machine), tcp6:7007, unix:/run/echo.sock,
        ssl:7007:privateKey=key.pem:certKey=cert.pem,
        systemd:domain=INET:name=echo, haproxy:tcp:7007. Can be given several
        times. [default: tcp:7007:interface=127.0.0.1]
        """
        self["listen"].append(endpoint)

    opt_l = opt_listen

    def opt_version(self) -> None:
        """
        Print the versions of twisted-echo and Twisted, and exit.
        """
        print(f"twisted-echo {version('twisted-echo')}, Twisted {version('twisted')}")
        sys.exit(0)

    def parseArgs(self, *arguments: str) -> None:
        if arguments:
            raise UsageError(
                f"echo takes options only, got {' '.join(arguments)!r};"
                f" did you mean --listen {arguments[0]}?"
            )

    def postOptions(self) -> None:
        """
        Make C{self["config"]} and C{self["endpoints"]}.
        """
        listen = self["listen"] or list(EchoConfig().listen)
        try:
            self["config"] = EchoConfig(
                listen=tuple(listen),
                delimiter=_delimiter(self["delimiter"]),
                maxLength=_number(
                    self["max-length"], int, "--max-length must be a number of bytes"
                ),
                drain=_number(
                    self["drain"], float, "--drain must be a number of seconds"
                ),
                abortAfter=_number(
                    self["abort-after"],
                    float,
                    "--abort-after must be a number of seconds",
                ),
                keepAlive=_keepAlive(self["keepalive"]),
            )
        except ValueError as error:
            raise UsageError(_named(str(error))) from None
        if self.parent is not None:
            _chooseReactor()
        from twisted.internet import reactor

        self["endpoints"] = [_endpoint(reactor, each) for each in listen]


_ADVICE = {
    errno.EADDRINUSE: "stop the process that uses it, or --listen elsewhere",
    errno.EADDRNOTAVAIL: "this machine has no such address; --listen on one it has",
    errno.ENOENT: "the folder must exist",
    errno.EACCES: "a port below 1024 needs root, which --uid sheds afterwards",
}
_NO_ACCESS_TO_PATH = "the folder must be writable for this user"


def _explain(error: Exception) -> str:
    """
    Say in one line where, why, and what to do about it.
    """
    reason: object = error
    where, isPath = "", False
    if isinstance(error, CannotListenError):
        reason, isPath = error.socketError, isinstance(error.port, bytes)
        if isinstance(error.port, bytes):
            where = f"unix:{os.fsdecode(error.port)}: "
        else:
            where = f"{error.interface or '*'}:{error.port}: "
    elif isinstance(error, AlreadyListened):
        return "a socket of systemd can be listened on once; start a new process"
    elif isinstance(error, OSError) and error.filename2:
        # A UNIX port's lock file cannot be made.
        path = os.fsdecode(error.filename2)
        where, isPath = f"unix:{path.removesuffix('.lock')}: ", True
    number = getattr(reason, "errno", None)
    if str(reason) == "Cannot acquire lock":
        number = errno.EADDRINUSE
    if number is None or isinstance(reason, gaierror):
        text = getattr(reason, "strerror", None) or str(reason)
        return f"{where}{text or type(reason).__name__}"
    advice = _ADVICE.get(number)
    if isPath and number == errno.EACCES:
        advice = _NO_ACCESS_TO_PATH
    return where + os.strerror(number) + (f"; {advice}" if advice else "")


class _CommandService(EchoService):
    """
    An echo service that tells the user of the command why it cannot start.
    """

    def privilegedStartService(self) -> None:
        try:
            super().privilegedStartService()
        except Exception as error:
            # One turn for what did listen to close, and to leave no socket file.
            self.factory.clock.iterate()  # type: ignore[attr-defined]
            line = _explain(error)
            if sys.__stderr__ is not None:
                # Not `sys.stderr`, which twistd turns into the log.
                print(f"echo: cannot listen on {line}", file=sys.__stderr__)
                sys.__stderr__.flush()
            # An ordinary exception: on SystemExit twistd would leave its pid file,
            # and a daemon's parent would hang.
            raise CannotStart(line) from None

    def startService(self) -> None:
        try:
            super().startService()
        except CannotStart:
            # Under twist, which has no pid file and would print a traceback.
            raise SystemExit(1) from None


def makeService(options: Options) -> IService:
    """
    Make the service of C{twistd echo}.
    """
    from twisted.internet import reactor

    return _CommandService(
        options["config"], reactor=reactor, endpoints=options["endpoints"]
    )

"""
The manual page of the command, in the format of man(7), made of the table of options.

What must hold: the text is the same wherever it is made.
"""

import re
import textwrap
from collections.abc import Iterator, Mapping

from twisted_echo.command.options.environment import variableOf
from twisted_echo.command.options.help import GROUPS, PURPOSE, UNITS, placeholder
from twisted_echo.command.options.option_table import OPTIONS

__all__ = ["ALIASES", "NAME", "SIGNALS", "VARIABLES", "manPage"]

NAME = "twistd-echo"
"""
What C{man} calls the page. (C{man twistd echo} looks for this name.)
"""
ALIASES = ("twist-echo", "twisted-echo")
"""
Other names of the same page.
"""

SIGNALS = {
    "SIGTERM, SIGINT": (
        "Stop in order, and then end by the same signal. A second one cuts off at once"
        " what is still waited for."
    ),
    "SIGHUP": (
        "Load keys and certificates again, for new connections. If the terminal is gone"
        " on which the process was started, stop as at SIGTERM."
    ),
    "SIGUSR1": "Rotate the log file (of twistd alone).",
    "SIGUSR2": "Write the state and the numbers of the service to the log.",
}
"""
What each signal does.
"""

VARIABLES = {
    "TWISTED_ECHO_OPTION": (
        "An option: OPTION is its name in capitals, with underscores, as in"
        f" {variableOf('max-sessions')}=1000. Several values have spaces between them."
        " An option on the command line replaces the variable's whole value. An empty"
        " value counts as no value, and names that belong to no option are ignored."
    ),
    "TWISTED_ECHO_COMPILED": (
        "'no' does without the part of the package that is compiled, 'yes' demands it."
    ),
    "NOTIFY_SOCKET, WATCHDOG_USEC": (
        "Set by systemd, which gets the state of the service."
    ),
    "LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES": (
        "Set by systemd: the sockets of systemd: endpoints."
    ),
}
"""
What each environment variable says.
"""

_STATUS = {
    "0": (
        "After --help or --version, and after a stop as the first process of a"
        " container."
    ),
    "1": (
        "The service cannot start or listen; of twistd, also: an option is wrong. One"
        " line on standard error says why."
    ),
    "64": "Of twist: an option is wrong.",
}
_FILES = {
    "/etc/default/twisted-echo": (
        "Environment variables, one a line, that the unit of systemd reads."
    ),
    "twistd.pid": (
        "The process ID, in the folder that twistd is started in, unless --pidfile says"
        " otherwise."
    ),
}
_EXAMPLES = {
    "In the foreground, for the whole network:": "twistd -n echo --listen tcp:7007",
    "With TLS:": (
        "twistd -n echo --listen ssl:7007:privateKey=key.pem:certKey=cert.pem"
    ),
    "Behind HAProxy, which has five seconds to notice a stop:": (
        "twistd -n echo --listen haproxy:tcp:7007 --admin 9100 --notice 5s"
    ),
    "The same by environment:": (
        "TWISTED_ECHO_LISTEN=haproxy:tcp:7007 TWISTED_ECHO_ADMIN=9100"
        " TWISTED_ECHO_NOTICE=5s twistd -n echo"
    ),
}
_REFERENCES = (
    *(".BR twistd (1),", ".BR haproxy (1),"),
    *(".BR systemd.exec (5),", ".BR systemd.socket (5)"),
)
_DATE = "2026-11-29"
_HELP = {
    "version": "Print the versions of twisted-echo and Twisted, and exit.",
    "help": "Display the options, and exit.",
}


def manPage() -> str:
    """
    Write the page.
    """
    lines = [
        '.\\" Made by python -m twisted_echo.command.options.generated_files of the',
        '.\\" table of options. Do not change it here.',
        f'.TH {NAME.upper()} 1 {_DATE} twisted\\-echo "User Commands"',
        # Endpoints are long words: leave the right margin ragged, and break none.
        ".ad l",
        ".nh",
        ".SH NAME",
        f"{_escaped(', '.join((NAME, *ALIASES)))} \\- send every line back",
        ".SH SYNOPSIS",
        ".B twistd",
        "[\\fIoption\\fR ...] \\fBecho\\fR [\\fIoption\\fR ...]",
        ".br",
        ".B twist",
        "[\\fIoption\\fR ...] \\fBecho\\fR [\\fIoption\\fR ...]",
        ".SH DESCRIPTION",
        *_text(PURPOSE),
        ".PP",
        *_text(
            "Options before the word echo are those of Twisted's commands, such as"
            " --nodaemon of twistd. This page is about the options behind it."
        ),
        ".PP",
        *_text(UNITS),
        ".SH OPTIONS",
        *_options(),
        ".SH ENVIRONMENT",
        *_definitions(VARIABLES),
        ".SH FILES",
        *_definitions(_FILES),
        ".SH SIGNALS",
        *_definitions(SIGNALS),
        ".SH EXIT STATUS",
        *_text("After a stop by a signal, the process ends by the same signal."),
        *_definitions(_STATUS),
        ".SH EXAMPLES",
        *_examples(),
        ".SH SEE ALSO",
        *_REFERENCES,
    ]
    return "\n".join(lines) + "\n"


def _options() -> Iterator[str]:
    """
    Write the options in the groups of the help.
    """
    options = {each.name: each for each in OPTIONS}
    for title, names, example in GROUPS:
        yield f".SS {title}"
        for name in names:
            option = options.get(name)
            yield ".TP"
            if option is None:
                yield f".B \\-\\-{_escaped(name)}"
                yield from _text(_HELP[name])
                continue
            letter = "" if option.letter is None else f"\\fB\\-{option.letter}\\fR, "
            value = f"\\fI{_escaped(placeholder(option))}\\fR"
            yield f"{letter}\\fB\\-\\-{_escaped(name)}\\fR={value}"
            yield from _text(option.help)
            if option.default:
                yield from _text(f"Default: {option.default}")
        if title != "Help":
            yield ".PP"
            yield from _text(f"Example: echo {example}")


def _definitions(texts: Mapping[str, str]) -> Iterator[str]:
    for term, text in texts.items():
        yield from (".TP", f".B {_escaped(term)}", *_text(text))


def _examples() -> Iterator[str]:
    for text, command in _EXAMPLES.items():
        yield from (".TP", *_text(text), ".EX", _escaped(command), ".EE")


def _text(text: str) -> list[str]:
    """
    Write a paragraph: each sentence begins a line.
    """
    sentences = re.split(r"(?<=[.;:?]) (?=[A-Z'-])", text)
    return [
        line
        for sentence in sentences
        for line in textwrap.wrap(
            _escaped(sentence), 78, break_long_words=False, break_on_hyphens=False
        )
    ]


def _escaped(text: str) -> str:
    """
    Write a text as roff has it. Hyphens, apostrophes and backslashes are to be copied
    from a terminal as they are.
    """
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq")
    return re.sub(r"(?m)^\.", r"\\&.", escaped)

"""
Options that are given by environment variables: C{TWISTED_ECHO_MAX_SESSIONS} for
C{--max-sessions}.

What must hold: this module is pure, it reads a mapping. Variables of other names are
ignored, because Kubernetes sets C{TWISTED_ECHO_PORT} and more for a service called
twisted-echo.
"""

from collections.abc import Iterable, Mapping

from twisted_echo.command.options.option import Option

__all__ = ["fromEnvironment", "variableOf"]


def variableOf(name: str) -> str:
    """
    Name the environment variable of an option.
    """
    return "TWISTED_ECHO_" + name.upper().replace("-", "_")


def fromEnvironment(
    environ: Mapping[str, str], options: Iterable[Option]
) -> dict[str, object]:
    """
    Read some options. One whose variable is missing or empty is not given.

    @return: the values of the variables that are given, by the names of the options.
    @raise UsageError: if a value is not legal, with the name of its variable.
    """
    found = {}
    for option in options:
        variable = variableOf(option.name)
        text = environ.get(variable, "")
        if option.isGiven(text):
            found[option.name] = option.read(text, variable)
    return found

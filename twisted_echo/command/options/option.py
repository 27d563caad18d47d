"""
An option of the command that takes a value.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from twisted.python.usage import UsageError

__all__ = ["Option"]


@dataclass(frozen=True, slots=True)
class Option:
    """
    An option that takes a value.

    @ivar name: after the two dashes.
    @ivar letter: after one dash, if there is a short form.
    @ivar default: as the user would write it.
    @ivar help: what it is for.
    @ivar parse: makes the value of a text; raises C{ValueError} without the name.
    @ivar field: the setting that it becomes, of an L{EchoConfig
        <twisted_echo.echo.EchoConfig>}, its limits or its deadlines.
    @ivar choices: the values, if they are an enum's.
    @ivar isRepeated: whether it can be given several times. Its value is then a list.
        In one text, such as the default's, the items have spaces between them.
    """

    name: str
    letter: str | None
    default: str
    help: str
    parse: Callable[[str], object]
    field: str | None = None
    choices: type[Enum] | None = None
    isRepeated: bool = False

    def coerce(self, text: str) -> object:
        """
        Parse a value of the command line, one item if there may be several.

        @raise UsageError: if it is not legal, with the option's name.
        """
        return self._parsed(text, f"--{self.name}")

    def isGiven(self, text: str) -> bool:
        """
        Whether a text has a value, or an item.
        """
        return bool(text.split() if self.isRepeated else text)

    def read(self, text: str, name: str) -> object:
        """
        Parse a text that has the whole value.

        @param name: what the user calls the option.
        @raise UsageError: if it is not legal, with this name.
        """
        if self.isRepeated:
            return [self._parsed(each, name) for each in text.split()]
        return self._parsed(text, name)

    def _parsed(self, text: str, name: str) -> object:
        try:
            return self.parse(text)
        except ValueError as error:
            raise UsageError(f"{name} {error}") from None

    @property
    def parameter(self) -> list[object]:
        """
        The option in the form of C{optParameters}.
        """
        return [self.name, self.letter, self.default, self.help, self.coerce]

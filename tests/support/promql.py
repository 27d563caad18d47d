"""
Which metrics and labels an expression of Prometheus' language refers to.

Prometheus says whether an expression is right. It does not say whether what it names
exists: an expression over a metric that does not exist is empty.
"""

import re
from dataclasses import dataclass, field

__all__ = ["Expression", "Matcher", "Selector"]

_TOKEN = re.compile(
    r"""
      (?P<string> "(?:[^"\\]|\\.)*" | '(?:[^'\\]|\\.)*' )
    | (?P<range> \[ [^\]]* \] )
    | (?P<number> \d+ (?:\.\d+)? (?:[a-z]\w*)? )
    | (?P<name> [A-Za-z_:] [\w:]* )
    | (?P<operator> =~ | !~ | != | == | >= | <= | [-+*/%^=<>(){},] )
    | \s+
    """,
    re.VERBOSE,
)
_KEYWORDS = frozenset(("and", "or", "unless", "bool", "offset"))
_GROUPING = frozenset(
    ("by", "without", "on", "ignoring", "group_left", "group_right"),
)


@dataclass(frozen=True, slots=True)
class Matcher:
    """
    What a selector asks of a label.
    """

    label: str
    operator: str
    value: str

    @property
    def alternatives(self) -> list[str]:
        """
        The values that it names, or the patterns of them.
        """
        return self.value.split("|") if "~" in self.operator else [self.value]

    def names(self, alternative: str, value: str) -> bool:
        """
        Whether one of the alternatives is a value that a label has.
        """
        if "~" in self.operator:
            return re.fullmatch(alternative, value) is not None
        return alternative == value


@dataclass(frozen=True, slots=True)
class Selector:
    """
    One use of a metric.
    """

    metric: str
    matchers: tuple[Matcher, ...]


@dataclass(frozen=True, slots=True)
class Expression:
    """
    What an expression refers to.

    @ivar selectors: each use of a metric.
    @ivar labels: those by which it groups or joins.
    """

    selectors: list[Selector] = field(default_factory=list)
    labels: set[str] = field(default_factory=set)

    @classmethod
    def parse(cls, text: str) -> "Expression":
        """
        @raise ValueError: if there is something that is no part of the language.
        """
        found = cls()
        tokens = _tokens(text)
        while tokens:
            kind, token = tokens.pop(0)
            after = tokens[0][1] if tokens else ""
            if kind != "name" or token in _KEYWORDS:
                continue
            if token in _GROUPING:
                found.labels.update(_grouping(tokens) if after == "(" else ())
            elif after != "(" and after not in _GROUPING:
                matchers = _matchers(tokens) if after == "{" else ()
                found.selectors.append(Selector(token, tuple(matchers)))
        return found


def _tokens(text: str) -> list[tuple[str, str]]:
    tokens, place = [], 0
    while place < len(text):
        match = _TOKEN.match(text, place)
        if match is None:
            raise ValueError(
                f"{text[place:]!r} is no part of an expression, in {text!r}"
            )
        if match.lastgroup is not None:
            tokens.append((match.lastgroup, match[0]))
        place = match.end()
    return tokens


def _until(tokens: list[tuple[str, str]], end: str) -> list[tuple[str, str]]:
    """
    Take what is between two brackets, and them.
    """
    inside = []
    del tokens[0]
    while (token := tokens.pop(0))[1] != end:
        if token[1] != ",":
            inside.append(token)
    return inside


def _grouping(tokens: list[tuple[str, str]]) -> list[str]:
    return [name for _, name in _until(tokens, ")")]


def _matchers(tokens: list[tuple[str, str]]) -> list[Matcher]:
    inside = [token for _, token in _until(tokens, "}")]
    return [
        Matcher(label, operator, value[1:-1])
        for label, operator, value in zip(
            inside[::3], inside[1::3], inside[2::3], strict=True
        )
    ]

"""
Types of the commands' arguments. Each refusal says what was given and what is allowed.
"""

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from twisted_echo.bench.cases import Case, parse_case
from twisted_echo.bench.errors import BadRequest
from twisted_echo.bench.plan import Target, parse_target
from twisted_echo.bench.programs.program_reactors import REACTORS
from twisted_echo.bench.turns import Pair

_C = TypeVar("_C")
_N = TypeVar("_N", int, float)

LARGEST_LINE = 16 * 1024 * 1024


def number(
    kind: type[_N], least: float, most: float, unit: str = ""
) -> Callable[[str], _N]:
    """
    Make a reader of numbers.
    """
    whole = "a whole number" if kind is int else "a number"
    allowed = f"must be {whole}{unit} from {least:g} to {most:,.10g}"

    def read(text: str) -> _N:
        try:
            value = kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{allowed}, got {text!r}") from None
        # The other way round, "nan" would pass.
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{allowed}, got {text}")
        return value

    return read


def numbers(
    least: int, most: int, unit: str, example: str
) -> Callable[[str], tuple[int, ...]]:
    """
    Make a reader of whole numbers with commas between, without repetitions.
    """
    read_one = number(int, least, most, unit)

    def read(text: str) -> tuple[int, ...]:
        try:
            return tuple(dict.fromkeys(read_one(each) for each in text.split(",")))
        except argparse.ArgumentTypeError as error:
            raise argparse.ArgumentTypeError(
                f"each {error}; such as {example}"
            ) from None

    return read


def choices(known: Mapping[str, _C]) -> Callable[[str], list[_C]]:
    """
    Make a reader of names with commas between, without repetitions.

    @param known: what each name stands for.
    """

    def read(text: str) -> list[_C]:
        names = dict.fromkeys(text.split(","))
        for name in names:
            if name not in known:
                raise argparse.ArgumentTypeError(
                    f"each must be of {', '.join(known)}; got {name!r}"
                )
        return [known[name] for name in names]

    return read


def cases(text: str) -> list[Case]:
    """
    Read cases of C{compare}, with commas between, without repetitions.
    """
    try:
        return [parse_case(each) for each in dict.fromkeys(text.split(","))]
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def target(text: str) -> Target:
    try:
        return parse_target(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def pairs(text: str) -> list[Pair]:
    """
    Read pairs of reactors with commas between, such as C{epoll:eager}.
    """
    found = []
    for each in text.split(","):
        names = each.split(":")
        unknown = [name for name in names if name not in REACTORS]
        if len(names) != 2 or unknown:
            raise argparse.ArgumentTypeError(
                f"each must be FIRST:SECOND, both of {', '.join(REACTORS)};"
                f" got {each!r}"
            )
        if REACTORS[names[1]].rival:
            raise argparse.ArgumentTypeError(
                f"a bare protocol can only be the first of two, got {each!r}"
            )
        found.append(Pair(*names))
    return list(dict.fromkeys(found))


sizes = numbers(1, LARGEST_LINE, " of bytes", "16,64,1024")
depth = number(int, 1, 100_000, " of lines")
connections = number(int, 1, 60_000)
seconds = number(float, 0.05, 86_400, " of seconds")


def add_trust(parser: argparse.ArgumentParser) -> None:
    """
    Add the options of the commands that speak TLS to any server.
    """
    add = parser.add_argument
    add("--ca", metavar="FILE", help="trust the authorities in this PEM file")
    add("--insecure", action="store_true", help="accept any certificate")


def add_shared(parser: argparse.ArgumentParser) -> None:
    """
    Add the options of the commands that put load on a server.
    """
    parser.add_argument(
        "-p",
        "--processes",
        type=number(int, 1, 256),
        default=1,
        metavar="N",
        help="share the connections between N load processes (1)",
    )
    add_progress(parser)


def add_progress(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--progress",
        action=argparse.BooleanOptionalAction,
        help="show a progress bar (if standard error is a terminal)",
    )


def prepare_output(file: str | None) -> None:
    """
    Check that C{--json FILE} can be written: better now than after half an hour.

    @raise BadRequest: if it cannot.
    """
    if file is None:
        return
    try:
        Path(file).touch()
    except OSError as error:
        raise BadRequest(f"--json {file}: {error.strerror}") from None

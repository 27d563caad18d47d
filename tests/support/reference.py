"""
What the fast code is held against: a splitter too simple to be wrong, the ways to cut
bytes into chunks, and how many of them to try.
"""

import os
from collections.abc import Iterator
from typing import Any, NamedTuple

from hypothesis import settings
from hypothesis import strategies as st

__all__ = [
    "Split",
    "chunks_of",
    "cuts_of",
    "delimiters",
    "limits",
    "split_lines",
    "streams",
    "thorough",
]


def thorough(examples: int, **more: Any) -> settings:
    """
    Hypothesis's settings for what must hold for any input.

    @param examples: how many are tried where the environment has C{CI=true}; elsewhere
        100 of them, which take a fifth of the time, as each run tries others.
    @param more: other settings.
    """
    if os.environ.get("CI") != "true":
        examples = min(examples, 100)
    return settings(deadline=None, print_blob=True, max_examples=examples, **more)


class Split(NamedTuple):
    """
    What bytes consist of.

    C{lines} are the legal lines at the front, C{rest} is all that follows them,
    and C{overlong} tells whether C{rest} begins with a line that cannot end
    within the limit.
    """

    lines: list[bytes]
    rest: bytes
    overlong: bool


def split_lines(data: bytes, delimiter: bytes, limit: int) -> Split:
    """
    Split by looking at one byte after the other.
    """
    lines: list[bytes] = []
    line = b""
    begin = 0
    for end in range(1, len(data) + 1):
        line = data[begin:end]
        if line.endswith(delimiter):
            lines.append(line.removesuffix(delimiter))
            line = b""
            begin = end
        elif len(line) >= limit + len(delimiter):
            return Split(lines, data[begin:], True)
    return Split(lines, line, False)


def cuts_of(data: bytes) -> Iterator[list[bytes]]:
    """
    Cut C{data} into chunks: not at all, after each byte, and in two at each
    place.
    """
    yield [data]
    yield [data[at : at + 1] for at in range(len(data))]
    for at in range(1, len(data)):
        yield [data[:at], data[at:]]


# Few letters, so that delimiters occur, overlap and almost occur.
ALPHABET = b"ab\r\n"

delimiters = st.one_of(
    st.sampled_from([b"\n", b"\r\n", b"aa", b"aba", b"aab", b"\r\r\n"]),
    st.lists(st.sampled_from(ALPHABET), min_size=1, max_size=3).map(bytes),
)
# Below, at and above what the lines are long, and far above.
limits = st.one_of(st.integers(0, 9), st.just(99))
streams = st.one_of(
    st.lists(st.sampled_from(ALPHABET), max_size=60).map(bytes),
    st.lists(st.sampled_from(ALPHABET[:2]), max_size=60).map(bytes),
    st.binary(max_size=60),
)


@st.composite
def chunks_of(draw: st.DrawFn, data: st.SearchStrategy[bytes] = streams) -> list[bytes]:
    """
    Bytes, cut anywhere; empty chunks too.
    """
    whole = draw(data)
    cuts = sorted(draw(st.lists(st.integers(0, len(whole)), max_size=8)))
    return [
        whole[begin:end]
        for begin, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)
    ]

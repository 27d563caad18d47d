"""
The pages of the documentation, and the fenced blocks in them.

A paragraph that ends with a file's name and a colon, C{as `upper.py`:}, names the block
behind it.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from textwrap import dedent

from tests.support.paths import PROJECT

__all__ = ["PAGES", "Block", "blocks_of", "prose"]

PAGES = {
    str(path.relative_to(PROJECT)): path.read_text()
    for path in [PROJECT / "README.md", *sorted((PROJECT / "docs").rglob("*.md"))]
}
"""
The text of each page, by its path.
"""

_FENCED = re.compile(
    r"(?:`(?P<name>[\w.-]+)`:\n\n)?"
    r"^(?P<indent> *)```(?P<language>\S*)\n(?P<source>.*?)^(?P=indent)```$",
    re.M | re.S,
)


@dataclass(frozen=True)
class Block:
    """
    A fenced block.

    @ivar place: the page and the line.
    @ivar language: the word behind the fence.
    @ivar name: the name of the file that it is, or empty.
    """

    place: str
    language: str
    name: str
    source: str


def blocks_of(page: str) -> Iterator[Block]:
    """
    The fenced blocks of a page, in its order.
    """
    text = PAGES[page]
    for found in _FENCED.finditer(text):
        line = text.count("\n", 0, found.start("language")) + 1
        source = dedent(found["source"])
        yield Block(f"{page}:{line}", found["language"], found["name"] or "", source)


def indented_blocks(page: str) -> list[str]:
    """
    The blocks of a page that are indented, and the paragraphs of lists, which are, too.
    """
    text = _FENCED.sub("", PAGES[page])
    return [dedent(block) for block in re.findall(r"(?:^ {4}.*\n)+", text, re.M)]


def prose(text: str) -> str:
    """
    A page without its programs, whether fenced or indented, and comments.
    """
    text = re.sub(r"^```.*?^```$|<!--.*?-->", "", text, flags=re.M | re.S)
    return re.sub(r"(?<=\n\n)(?:    .*\n+)+", "", text)

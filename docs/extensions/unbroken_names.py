"""
Keep names in code quotes, such as C{--max-length}, on one line.

A browser breaks them behind hyphens. Long names may be broken: a telephone has no room
for them.
"""

from docutils import nodes
from sphinx.application import Sphinx

LONGEST = 32
"""
How many characters a telephone's line has room for, within a list of a list.
"""


def keep(app: Sphinx, doctree: nodes.document) -> None:
    """
    Give the names of one page a class, which pages.css keeps on one line.
    """
    for literal in doctree.findall(nodes.literal):
        words = literal.astext().split(" ")
        if max(map(len, words)) <= LONGEST:
            literal["classes"].append("name" if len(words) == 1 else "names")


def setup(app: Sphinx) -> dict[str, object]:
    app.connect("doctree-read", keep)
    return {"parallel_read_safe": True}

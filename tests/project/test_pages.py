"""
Every page is entered from the front, C{docs/index.md}, and begins with what it gives.
"""

import re

from twisted.trial.unittest import SynchronousTestCase

from tests.support.paths import PROJECT

DOCS = PROJECT / "docs"
INDEX = (DOCS / "index.md").read_text()

WAYS = ["Run it", "Build on it", "Test with it", "Understand it"]


def pages() -> list[str]:
    """
    The names of all pages but the front, as a toctree has them.
    """
    found = (str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md"))
    return sorted(name.removesuffix(".md") for name in found if name != "index.md")


def ways() -> dict[str, tuple[list[str], list[str]]]:
    """
    The front's sections: the pages that each one lists for readers, and those of its
    toctree, by the section's heading.
    """
    found = {}
    for section in INDEX.split("\n## ")[1:]:
        heading = section.split("\n")[0]
        listed = re.findall(r"^- \[[^]]+\]\(([^)]+)\.md\): \S", section, re.M)
        (toctree,) = re.findall(r"```\{toctree\}\n(.*?)```", section, re.S)
        caption, _, entries = toctree.partition("\n\n")
        assert f":caption: {heading}\n" in caption, section
        names = [re.sub(r".*<(.*)>", r"\1", line) for line in entries.splitlines()]
        found[heading] = listed, names
    return found


def beginning(page: str) -> str:
    """
    What stands directly behind a page's title.
    """
    text = (DOCS / page).with_suffix(".md").read_text()
    title, _, rest = text.partition("\n\n")
    assert title.startswith("# ") and "\n" not in title, page
    return rest.partition("\n\n")[0].rstrip()


class FrontTests(SynchronousTestCase):
    def test_once(self) -> None:
        """
        The front lists every page exactly once; those of the API are listed by their
        own entrance.
        """
        listed = [name for shown, _ in ways().values() for name in shown]
        inside = re.findall(r"^\w+$", (DOCS / "api" / "index.md").read_text(), re.M)
        listed += [f"api/{name}" for name in inside]
        self.assertEqual(sorted(listed), pages())

    def test_toctrees(self) -> None:
        """
        The sidebar has the same pages in the same order.
        """
        for heading, (shown, toctree) in ways().items():
            self.assertEqual(toctree, shown, heading)

    def test_ways(self) -> None:
        """
        There are four ways on, in this order.
        """
        self.assertEqual(list(ways()), WAYS)


class BeginningTests(SynchronousTestCase):
    def test_paragraph(self) -> None:
        """
        A page begins with a paragraph of three short sentences at most: with no table,
        no list and no program.
        """
        for page in pages():
            first = beginning(page)
            self.assertNotRegex(first, r"\A(    |```|\||- |#|!|<|%)", page)
            self.assertRegex(first, r"[.:]\Z", page)
            self.assertLessEqual(len(re.findall(r"[.:!?](?=\s|\Z)", first)), 3, page)
            self.assertLessEqual(len(first.split()), 55, page)

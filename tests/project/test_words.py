"""
The words of the pages, and of the package's docstrings and messages, are plain English.

L{PHRASES} are what reads as if translated, each with what to write instead. L{LONGEST}
bounds the sentences of the pages.
"""

import ast
import re
from collections.abc import Iterator
from typing import NamedTuple

from twisted.trial.unittest import SynchronousTestCase

from tests.support.pages import PAGES, prose
from tests.support.paths import PROJECT

LONGEST = 30
"""
The most words of a sentence. What a colon announces counts as a sentence of its own.
"""


class Phrase(NamedTuple):
    """
    @ivar pattern: what matches it, wherever it is in a paragraph.
    @ivar instead: what to write.
    @ivar example: text that has it.
    """

    pattern: str
    instead: str
    example: str


PHRASES = (
    Phrase(
        r"\bnobody\b",
        "'no client', or a sentence without it",
        "nobody loses a byte when it stops",
    ),
    Phrase(
        r"(?:^|[.;] )who (?:does|has|is|\w{3,}s)\b(?![^.]*\?)",
        "a noun: 'test authors', 'a client that'",
        "who writes tests gets a real server",
    ),
    Phrase(
        r"\bcosts? what\b",
        "'O(n)', 'grows with', 'costs as much as'",
        "lines that cost what their bytes cost",
    ),
    Phrase(
        r"\bas those\b|\bsee it who\b",
        "what it is: 'read-only view'",
        "a service as those see it who look at it",
    ),
    Phrase(
        r"\bwears? out\b",
        "what bounds it: 'with connection and time limits'",
        "A web site that nobody can wear out",
    ),
    Phrase(
        r"^(?-i:Have) (?!to\b|been\b)|\bdone again\b",
        "the verb itself: 'restore', 'ask the kernel to'",
        "Have done again what was done before",
    ),
    Phrase(
        r"\b(?:is|are|was|were) (?:not )?minded\b",
        "'applies to'",
        "is not minded for those that were found already",
    ),
    Phrase(
        r"\b(?:is|are|was|were|it|them) (?:\w+ed )?no more\b(?! \w+s\b| than\b)"
        r"|\bno more(?: that|(?= ?[.,;:)])|$)",
        "'no longer', 'nothing more'",
        "`/readyz` says no more that it is ready",
    ),
    Phrase(r"\bmeans? (?:it )?ill\b", "'malicious'", "peers that mean ill"),
    Phrase(
        r"\bsomebody else\b|\bhave (?:somebody|anybody|others)\b",
        "the actor: 'another process'",
        "Have somebody else answer",
    ),
    Phrase(
        r"\bof whom\b|\b(?:told|tells?) of\b",
        "'describes', 'says who'",
        "what is told of whom",
    ),
    Phrase(r"\bwho (\w+) it \1\b", "a noun", "Who sees it sees everything"),
    Phrase(
        r"\bthose (?:that|who|which)\b",
        "the noun again: 'the lines that'",
        "for those that were found already",
    ),
    Phrase(
        r"\bwhat (?:is|are|was|were) to be\b",
        "the noun: 'the bytes to send'",
        "Return what is to be sent.",
    ),
    Phrase(r"\banew\b", "'again'", "It loads its certificates anew."),
    Phrase(r"\bone's own\b", "'your own'", "a server of one's own"),
    Phrase(
        r"(?<!there )\b(?:is|are|was|were) no (?=session|protocol|endpoint|reactor"
        r"|number|cursor|comparison|certificate|key\b|file|folder|test|part)",
        "'is not a'",
        "a connection that is no session yet",
    ),
    Phrase(r"\bfor want of\b", "'because ... is missing'", "for want of descriptors"),
    Phrase(r"\bcomes? to terms\b", "'agrees'", "must come to terms with the peer"),
    Phrase(r"\b(?:strikes?|struck)\b", "'expires'", "A deadline never strikes early."),
    Phrase(r"\bdearer\b", "'costs more'", "That is three times dearer."),
)

PLAIN = (
    "Shutdown is lossless.",
    "Test authors get a real server as a fixture.",
    "Read-only status view of a service.",
    "An HTTP server with connection and time limits.",
    "Restore the previous handler.",
    "It does not apply to lines that were already split.",
    "`/readyz` no longer reports ready.",
    "It protects the server against malicious peers.",
    "Call the failure handler.",
    "The kernel begins no more connections. It needs no more memory than before.",
    "Who may connect? The file says who has signed it.",
    "You have to close it. There is no session.",
)
"""
What is plain, some of it close to a phrase: no pattern may match it.
"""


def hits(text: str) -> list[str]:
    """
    The phrases in a paragraph, each with what to write instead.
    """
    return [
        f"{found[0]!r} in {text[max(0, found.start() - 40) : found.end() + 40]!r}:"
        f" write {phrase.instead}"
        for phrase in PHRASES
        for found in re.finditer(phrase.pattern, text, re.IGNORECASE)
    ]


def paragraphs(text: str) -> Iterator[str]:
    """
    The paragraphs, items of lists and cells of tables of a text, each in one line, with
    its code and the targets of its links left out.
    """
    for block in re.split(r"\n\s*\n|\n(?=\s*(?:[-*]|\d+\.|@\w+) )", text):
        is_table = block.lstrip().startswith("|")
        for part in re.split(r" \| |\|\n", block) if is_table else [block]:
            line = re.sub(r"`[^`]*`|\b[CL]\{[^}]*\}", "CODE", " ".join(part.split()))
            line = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", line)
            yield re.sub(r"^(?:[|-]|\d+\.|@\w+(?: \w+)?:?) *|\*+", "", line)


def sentences(paragraph: str) -> list[str]:
    return re.split(r"(?<=[.!?:])[)\"']*\s+", paragraph)


def pages() -> Iterator[tuple[str, str]]:
    """
    The paragraphs of all pages but the headings, each behind the page's name.
    """
    for page, text in PAGES.items():
        for paragraph in paragraphs(prose(text)):
            if not paragraph.startswith("#"):
                yield page, paragraph


def strings() -> Iterator[tuple[str, str]]:
    """
    The paragraphs of the docstrings and messages of the package and of the examples,
    each behind its place.
    """
    for folder in ("twisted_echo", "docs"):
        for path in sorted((PROJECT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if (
                    isinstance(node, ast.Constant)
                    and isinstance(node.value, str)
                    # Otherwise it is a name.
                    and " " in node.value
                ):
                    for paragraph in paragraphs(node.value):
                        place = f"{path.relative_to(PROJECT)}:{node.lineno}"
                        yield place, paragraph


def other_texts() -> Iterator[tuple[str, str]]:
    """
    The paragraphs of the status page and of the files that operators copy, comments
    included, each behind the name of the file.
    """
    for path in [
        *sorted((PROJECT / "twisted_echo").rglob("*.html")),
        *sorted((PROJECT / "docs" / "deploy").iterdir()),
    ]:
        text = re.sub(r"<[^>]*>|^ *(?:#|//|\*) ?", " ", path.read_text(), flags=re.M)
        for paragraph in paragraphs(text):
            yield str(path.relative_to(PROJECT)), paragraph


class PhraseTests(SynchronousTestCase):
    def test_examples(self) -> None:
        """
        Each pattern matches what it is for.
        """
        for phrase in PHRASES:
            (text,) = paragraphs(phrase.example)
            self.assertTrue(re.search(phrase.pattern, text, re.I), phrase.example)

    def test_plain(self) -> None:
        """
        None matches plain English.
        """
        for text in PLAIN:
            self.assertEqual(hits(text), [])

    def test_pages(self) -> None:
        found = [f"{page}: {hit}" for page, text in pages() for hit in hits(text)]
        self.assertEqual(found, [], "\n".join(found))

    def test_strings(self) -> None:
        found = [f"{place}: {hit}" for place, text in strings() for hit in hits(text)]
        self.assertEqual(found, [], "\n".join(found))

    def test_otherTexts(self) -> None:
        texts = list(other_texts())
        found = [f"{file}: {hit}" for file, text in texts for hit in hits(text)]
        self.assertEqual(found, [], "\n".join(found))
        self.assertTrue(any("Is it full?" in text for _, text in texts))


class SentenceTests(SynchronousTestCase):
    def test_length(self) -> None:
        """
        A sentence of a page can be read at once.
        """
        long = [
            f"{page}: {sentence}"
            for page, text in pages()
            for sentence in sentences(text)
            if len(re.findall(r"[\w'-]*\w[\w'-]*", sentence)) > LONGEST
        ]
        self.assertEqual(long, [], "\n".join(long))

    def test_counts(self) -> None:
        """
        Only a sentence that is too long is found, in a paragraph, an item or a cell.
        """
        words = " ".join(["word"] * 29)
        for text in (f"{words} `a b c`. {words} b.", f"- {words} a;\n- {words} b"):
            found = [each for part in paragraphs(text) for each in sentences(part)]
            self.assertEqual([len(each.split()) for each in found], [30, 30])
        (cell, other) = paragraphs("| short | it is: so |")
        self.assertEqual(
            [sentences(cell), sentences(other)], [["short"], ["it is:", "so |"]]
        )

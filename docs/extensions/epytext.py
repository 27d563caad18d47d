"""
Let Sphinx's autodoc read the package's docstrings, which are epytext.

Epytext is rewritten as reStructuredText: markup within a line, fields, and the
indentation of lists. What pydoctor warns of, such as a link that leads nowhere, is
looked for by pydoctor itself, which reads every docstring of the package.
"""

import re
import textwrap

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.util.typing import stringify_annotation

from twisted_echo import Answer

# Braces within it are in pairs.
MARKUP = re.compile(r"([A-Z])\{((?:[^{}]|\{[^{}]*\})*)\}")
FIELD = re.compile(r"^@(\w+)(?: +([^:]+))?:", re.M)
ITEM = re.compile(r" +(- |\d+\. )")

# What reStructuredText calls the fields that it has under another name.
FIELDS = {"raise": "raises", "cvar": "ivar"}


def rewrite(docstring: str) -> str:
    """
    A docstring as reStructuredText.
    """
    paragraphs, literal = [], False
    for paragraph in re.split(r"\n{2,}", docstring):
        literal = literal and paragraph.startswith(" ")
        if not literal:
            paragraph = _fields(_dedented(MARKUP.sub(_inline, paragraph)))
            literal = paragraph.endswith("::")
        paragraphs.append(paragraph)
    return "\n\n".join(paragraphs)


def _dedented(paragraph: str) -> str:
    """
    A list, which epytext indents, at the margin: an indented one would be a quotation.
    """
    return textwrap.dedent(paragraph) if ITEM.match(paragraph) else paragraph


def _fields(paragraph: str) -> str:
    return FIELD.sub(_field, paragraph)


def _field(found: re.Match[str]) -> str:
    name = FIELDS.get(found[1], found[1])
    return f":{name} {found[2]}:" if found[2] else f":{name}:"


def _inline(found: re.Match[str]) -> str:
    text = " ".join(found[2].split())
    match found[1]:
        case "C":
            markup = f"``{text}``"
        case "I":
            markup = f"*{text}*"
        case "L":
            markup = _link(text)
        case _:
            raise ValueError(f"no markup of epytext that is known here: {found[0]}")
    # A letter directly behind, as of a plural, would not end the markup.
    return markup + "\\ " * found.string[found.end() :][:1].isalnum()


def _link(text: str) -> str:
    """
    A link to a name, which may stand in angle brackets behind another text.
    """
    shown, _, target = text.removesuffix(">").partition("<")
    # Names are documented where they are imported from, and not where they are defined.
    name = re.sub(r"^[a-z_]+\.(?:\w+\.)*?(?=\w+$|[A-Z])", "", target or shown)
    return f":py:obj:`{shown} <.{name}>`"


def _process(app: Sphinx, what: str, name: str, obj: object, opts: object, doc) -> None:
    doc[:] = rewrite("\n".join(doc)).splitlines()


# What autodoc writes of an interface, which is not a type.
INTERFACE = re.compile(r"<InterfaceClass (?:\w+\.)*(\w+)>")
ANSWER = stringify_annotation(Answer, "smart")


def _shorten(
    app: Sphinx,
    what: str,
    name: str,
    obj: object,
    opts: object,
    signature: str | None,
    returns: str | None,
) -> tuple[str | None, str | None]:
    """
    Write names for what autodoc shows in full: interfaces, the union of all answers,
    and the defaults of dataclasses that a function makes.
    """
    return (
        signature and INTERFACE.sub(r"\1", signature).replace("<factory>", "..."),
        returns and INTERFACE.sub(r"\1", returns).replace(ANSWER, "Answer"),
    )


def _shorten_properties(app: Sphinx, doctree: nodes.document) -> None:
    """
    Likewise for the types of properties, for which autodoc calls nothing.
    """
    for signature in doctree.findall(addnodes.desc_signature):
        for text in list(signature.findall(nodes.Text)):
            text.parent.replace(text, nodes.Text(INTERFACE.sub(r"\1", text)))


def setup(app: Sphinx) -> dict[str, object]:
    app.setup_extension("sphinx.ext.autodoc")
    app.connect("autodoc-process-docstring", _process)
    app.connect("autodoc-process-signature", _shorten)
    app.connect("doctree-read", _shorten_properties)
    return {"parallel_read_safe": True}

"""
Link what the pages name of the package to its highlighted source.

The pages write C{stop.py: Stop.now} for a name and C{stop.py} for a module, in code
quotes, with paths as they are in C{twisted_echo/}. Here each becomes a link to the page
that C{sphinx.ext.viewcode} makes of that module.
"""

import posixpath
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.ext import viewcode
from sphinx.pycode import ModuleAnalyzer

import twisted_echo

PACKAGE = Path(twisted_echo.__file__).parent
NAMED = re.compile(r"([\w/]+)\.py(?:: ([\w.]+))?")


def link(app: Sphinx, doctree: nodes.document) -> None:
    """
    Replace the literals of one page that name a module of the package.
    """
    for literal in list(doctree.findall(nodes.literal)):
        named = NAMED.fullmatch(literal.astext())
        within_link = isinstance(literal.parent, nodes.reference)
        if named and not within_link and (PACKAGE / f"{named[1]}.py").exists():
            module = f"{PACKAGE.name}/{named[1]}".removesuffix("/__init__")
            fragment = record(app, module.replace("/", "."), named[2] or "")
            page = posixpath.join(viewcode.OUTPUT_DIRNAME, module)
            uri = app.builder.get_relative_uri(app.env.docname, page) + fragment
            reference = nodes.reference("", "", internal=True, refuri=uri)
            literal.replace_self(reference)
            reference += literal


def record(app: Sphinx, module: str, name: str) -> str:
    """
    Tell viewcode to make a page of the module, with an anchor for the name.

    @return: the fragment of the link: nothing if the name is neither a class nor a
        function, which have anchors.
    """
    modules = app.env._viewcode_modules
    if not modules.get(module):
        analyzer = ModuleAnalyzer.for_module(module)
        analyzer.find_tags()
        modules[module] = (analyzer.code, analyzer.tags, {}, module)
    vars(app.env).setdefault("named_modules", {})[module] = modules[module]
    _, tags, used, _ = modules[module]
    if name not in tags:
        return ""
    used.setdefault(name, app.env.docname)
    return f"#{name}"


def restore(app: Sphinx) -> Iterable[tuple[str, dict[str, Any], str]]:
    """
    Make pages of the modules of which no name is linked, too. viewcode forgets them
    when the next page is read.
    """
    for module, entry in vars(app.env).get("named_modules", {}).items():
        if not app.env._viewcode_modules.get(module):
            app.env._viewcode_modules[module] = entry
    return []


def setup(app: Sphinx) -> dict[str, object]:
    app.setup_extension("sphinx.ext.viewcode")
    # After viewcode, which makes its record when it is called first.
    app.connect("doctree-read", link, priority=600)
    # Before viewcode, which makes the pages.
    app.connect("html-collect-pages", restore, priority=400)
    return {"parallel_read_safe": True}

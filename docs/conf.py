"""
How the documentation is built: C{sphinx-build -W -b html docs build/html}.

The pages are Markdown; the reference is pydoctor's, from the docstrings. Nothing is
fetched, so names of Twisted's are no links. What pydoctor finds wrong, a docstring
that does not parse or a link to what is not there, is a warning of Sphinx's, and C{-W}
makes it an error.
"""

import sys
from importlib import metadata
from pathlib import Path

import twisted_echo

PACKAGE = Path(twisted_echo.__file__).parent

project = "twisted-echo"
copyright = "the authors of twisted-echo"
release = metadata.version("twisted-echo")

sys.path.insert(0, str(Path(__file__).parent / "extensions"))
extensions = [
    "myst_parser",
    "pydoctor.sphinx_ext.build_apidocs",
    "source_links",
]
myst_heading_anchors = 3

pydoctor_args = [
    "--docformat=epytext",
    f"--project-name={project}",
    f"--project-version={release}",
    "--project-url=../index.html",
    f"--project-base-dir={PACKAGE.parent}",
    "--theme=readthedocs",
    "--html-output={outdir}/api",
    str(PACKAGE),
]
# No page refers into the reference by a role of Sphinx's.
pydoctor_url_path = ""

html_theme = "furo"
html_title = f"{project} {release}"

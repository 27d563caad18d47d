"""
How the documentation is built: C{sphinx-build -W -b html docs build/html}.

The pages are Markdown. Those in C{api/} take the docstrings from the package. Nothing
is fetched, so names of Twisted's are no links. C{pydoctor} checks the docstrings of the
whole package, as pyproject.toml says.
"""

import sys
from importlib import metadata
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "extensions"))

project = "twisted-echo"
copyright = "the authors of twisted-echo"
release = metadata.version("twisted-echo")

extensions = ["myst_parser", "epytext", "source_links", "unbroken_names"]
myst_heading_anchors = 3
exclude_patterns = ["extensions"]

autoclass_content = "both"
autodoc_class_signature = "mixed"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
add_module_names = False
python_maximum_signature_line_length = 80
# Types and names that have no page here, as Twisted's; pydoctor checks those of ours.
nitpick_ignore_regex = [("py:.*", ".*")]

html_theme = "furo"
pygments_dark_style = "github-dark"
html_title = f"{project} {release}"
html_static_path = ["_static"]
html_css_files = ["pages.css"]

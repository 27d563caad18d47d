"""
C{tables}: what C{compare} has measured as Markdown, printed, or written into documents.
"""

import argparse
import re
from pathlib import Path

from twisted_echo.bench.comparison import Comparison
from twisted_echo.bench.errors import BadRequest
from twisted_echo.bench.tables import PARTS

EPILOG = f"""\
A document has two marks around the place of a part, each on a line of its own:

  <!-- compare: PART begins -->
  <!-- compare: PART ends -->

parts: {", ".join(PARTS)}

examples:
  tables result.json
  tables docs/benchmark.json README.md docs/benchmarks.md
"""

_MARKED = re.compile(
    r"^(<!-- compare: (?P<part>\S+) begins -->\n)"
    r".*?"
    r"^(<!-- compare: (?P=part) ends -->)",
    re.DOTALL | re.MULTILINE,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("file", metavar="FILE.json", help="what compare --json wrote")
    add(
        "documents",
        metavar="DOCUMENT.md",
        nargs="*",
        help="write into these documents, between their marks (print all)",
    )


def read_comparison(file: str) -> Comparison:
    """
    Read the result of C{compare} from a file.

    @raise BadRequest: if it cannot be read, or is not a comparison with runs.
    """
    try:
        comparison = Comparison.from_json(Path(file).read_text())
    except (OSError, UnicodeError) as error:
        raise BadRequest(f"{file}: {error}") from None
    except BadRequest as error:
        raise BadRequest(f"{file} {error}") from None
    if not comparison.runs:
        raise BadRequest(f"{file} holds no runs, so there is nothing to show")
    return comparison


def fill(text: str, comparison: Comparison) -> str:
    """
    Write the parts of a comparison between the marks of a document.

    @raise BadRequest: if it has no marks, or one for a part that there is not.
    """

    def part(found: re.Match[str]) -> str:
        if found["part"] not in PARTS:
            raise BadRequest(
                f"has a mark for {found['part']!r}; the parts are {', '.join(PARTS)}"
            )
        return f"{found[1]}\n{PARTS[found['part']](comparison)}\n\n{found[3]}"

    filled, count = _MARKED.subn(part, text)
    if not count:
        raise BadRequest("has no marks such as <!-- compare: summary begins -->")
    return filled


def run(options: argparse.Namespace) -> int:
    comparison = read_comparison(options.file)
    if not options.documents:
        print("\n\n".join(part(comparison) for part in PARTS.values()))
    filled = {}
    for document in map(Path, options.documents):
        try:
            filled[document] = fill(document.read_text(), comparison)
        except (OSError, UnicodeError) as error:
            raise BadRequest(f"{document}: {error}") from None
        except BadRequest as error:
            raise BadRequest(f"{document} {error}") from None
    for document, text in filled.items():
        document.write_text(text)
    return 0

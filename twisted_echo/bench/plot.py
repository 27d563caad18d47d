"""
C{plot}: a picture of what C{compare} has measured.
"""

import argparse
from pathlib import Path

from twisted_echo.bench.comparison import Comparison
from twisted_echo.bench.errors import BadRequest, need
from twisted_echo.bench.picture import Picture

FORMATS = (".png", ".svg")
EPILOG = """\
example:
  compare --json result.json && plot result.json -o result.png
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE.json", help="what compare --json wrote")
    parser.add_argument(
        "-o",
        "--output",
        required=True,
        metavar="FILE.png|FILE.svg",
        help="the picture; its name says which kind",
    )


def run(options: argparse.Namespace) -> int:
    need("plot", ["matplotlib.figure"])
    output = Path(options.output)
    if output.suffix.lower() not in FORMATS:
        raise BadRequest(
            f"--output: the name must end in {' or '.join(FORMATS)}, got {output.name}"
        )
    try:
        text = Path(options.file).read_text()
    except (OSError, UnicodeError) as error:
        raise BadRequest(f"{options.file}: {error}") from None
    try:
        figure = Picture(Comparison.from_json(text)).draw()
    except BadRequest as error:
        raise BadRequest(f"{options.file} {error}") from None
    try:
        # No date in it: the same data give the same picture.
        dated = output.suffix.lower() == ".svg"
        figure.savefig(output, metadata={"Date": None} if dated else None)
    except OSError as error:
        raise BadRequest(f"--output {output}: {error.strerror}") from None
    return 0

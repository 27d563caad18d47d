"""
C{plot}: a picture of what C{compare} has measured.
"""

import argparse
import hashlib
from pathlib import Path

from twisted_echo.bench.drawing import DARK, LIGHT
from twisted_echo.bench.errors import BadRequest, need
from twisted_echo.bench.picture import Picture
from twisted_echo.bench.tables_command import read_comparison

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
    parser.add_argument("--dark", action="store_true", help="for dark pages")


def source_of(file: str) -> str:
    """
    What a picture says of the file that it was made from.
    """
    return f"SHA-256 {hashlib.sha256(Path(file).read_bytes()).hexdigest()}"


def run(options: argparse.Namespace) -> int:
    (matplotlib,) = need("plot", ["matplotlib"])
    output = Path(options.output)
    if output.suffix.lower() not in FORMATS:
        raise BadRequest(
            f"--output: the name must end in {' or '.join(FORMATS)}, got {output.name}"
        )
    theme = DARK if options.dark else LIGHT
    comparison = read_comparison(options.file)
    # No date in it: the same data give the same picture. It says which data.
    metadata: dict[str, str | None] = {"Source": source_of(options.file)}
    if output.suffix.lower() == ".svg":
        metadata["Date"] = None
    with matplotlib.rc_context(theme.settings()):
        figure = Picture(comparison, theme).draw()
        try:
            figure.savefig(output, metadata=metadata)
        except OSError as error:
            raise BadRequest(f"--output {output}: {error.strerror}") from None
    return 0

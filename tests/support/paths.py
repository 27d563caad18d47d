"""
Where the project and its documents are.
"""

from pathlib import Path

__all__ = ["DOCS", "EXAMPLES", "PROJECT"]

PROJECT = Path(__file__).resolve().parents[2]
DOCS = PROJECT / "docs"
EXAMPLES = DOCS / "examples"

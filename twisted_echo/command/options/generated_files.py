"""
Write the files that are made of the table of options, into the folder C{share} of a
checkout::

    python -m twisted_echo.command.options.generated_files share
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from twisted_echo.command.options.bash_completion import bashCompletion
from twisted_echo.command.options.man_page import ALIASES, NAME, manPage

__all__ = ["generatedFiles", "main"]


def generatedFiles() -> dict[str, str]:
    """
    Make the texts of the files.

    @return: by their paths, relative to C{share}.
    """
    manuals = "man/man1"
    completions = "bash-completion/completions"
    return {
        f"{manuals}/{NAME}.1": manPage(),
        **{f"{manuals}/{each}.1": f".so man1/{NAME}.1\n" for each in ALIASES},
        f"{completions}/twistd": bashCompletion(),
        # bash-completion looks for a file by the name of the command.
        f"{completions}/twist": '. "${BASH_SOURCE[0]%/*}/twistd"\n',
    }


def main(arguments: Sequence[str]) -> None:
    """
    Write the files into a folder.
    """
    if len(arguments) != 1:
        raise SystemExit("it takes one folder, such as share")
    for name, text in generatedFiles().items():
        path = Path(arguments[0], name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])

"""
C{python -m twisted_echo.bench COMMAND}.
"""

import sys

from twisted_echo.bench import split

COMMANDS = {"split": split.main}


def main() -> None:
    command = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if command in COMMANDS:
        COMMANDS[command](sys.argv[2:])
        return
    names = ", ".join(COMMANDS)
    usage = f"usage: python -m twisted_echo.bench COMMAND [--help], one of: {names}"
    if command in ("-h", "--help"):
        print(usage)
    else:
        sys.exit(f"{usage}\nunknown command: {command}")


if __name__ == "__main__":
    main()

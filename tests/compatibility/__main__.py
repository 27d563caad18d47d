"""
Entry point of C{python -m tests.compatibility}.
"""

import signal
import sys

from tests.compatibility.command import main

if __name__ == "__main__":
    # So that the suite that runs is ended, too.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    sys.exit(main())

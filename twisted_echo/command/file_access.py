"""
Which files this process may use, by its effective user.
"""

import os

__all__ = ["unreadable", "unusable"]


def unreadable(files: list[str]) -> list[str]:
    """
    The files that this process may not read.
    """
    return unusable(files, os.R_OK)


def unusable(files: list[str], mode: int) -> list[str]:
    """
    List the files that this process may not access, in a mode of C{os.access}.
    """
    # By its effective user, which `os.access` does not ask for unless told to.
    effective = os.access in os.supports_effective_ids
    return [
        each for each in files if not os.access(each, mode, effective_ids=effective)
    ]

"""
Everything of L{tests.compatibility}, for C{pytest -m compatibility}.
"""

import pytest

from tests.compatibility.command import main


@pytest.mark.compatibility
def test_other_packages() -> None:
    """
    Nothing ends differently on the eager reactors but what is expected to.
    """
    assert main([]) == 0

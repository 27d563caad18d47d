"""
L{twisted_echo.tls.stage}: a connection only goes on.
"""

import pytest

from twisted_echo.tls.stage import Stage, Staged


@pytest.mark.parametrize("before", Stage)
@pytest.mark.parametrize("stage", Stage)
def test_enter(before: Stage, stage: Stage) -> None:
    """
    Stages may be skipped; an earlier one is never entered again.
    """
    connection = Staged()
    assert connection.stage is Stage.HELLO
    connection.enter(before)
    assert connection.stage is before
    connection.enter(stage)
    assert connection.stage is max(before, stage)

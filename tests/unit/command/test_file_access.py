"""
L{twisted_echo.command.file_access}.
"""

import os
from unittest import skipIf

from tests.support.clients import ServedTestCase
from twisted_echo.command.file_access import unreadable


class UnreadableTests(ServedTestCase):
    """
    L{unreadable}.
    """

    def test_missing(self) -> None:
        path = self.mktemp()
        self.assertEqual(unreadable([__file__, path]), [path])

    @skipIf(os.getuid() != 0, "only root can become another user")
    def test_effectiveUser(self) -> None:
        """
        It is the effective user that reads, as after C{twistd --uid --euid}.
        """
        path = self.mktemp()
        os.chmod(os.path.dirname(path), 0o755)
        with open(path, "w"):
            os.chmod(path, 0o600)
        self.assertEqual(unreadable([path]), [])
        os.seteuid(65534)
        self.addCleanup(os.seteuid, 0)
        self.assertEqual(unreadable([path]), [path])

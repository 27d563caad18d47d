"""
A base for tests that load TLS settings from the options of endpoint strings.
"""

import ssl
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import TestCase

from tests.support.authority import Authority
from twisted_echo.tls.certificates import Certificates
from twisted_echo.tls.options import certificates_of

__all__ = ["VERSIONS", "TLSOptionsTestCase"]

VERSIONS = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)


class TLSOptionsTestCase(TestCase):
    """
    A folder with an authority's C{cert.pem} and C{key.pem} for C{a.example}.
    """

    def setUp(self) -> None:
        # (Trial knows no C{setUpClass}.)
        self.authority = Authority()
        self.identity = self.authority.issue("a", "a.example")
        folder = TemporaryDirectory(prefix="echo-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.write("key.pem", self.identity.key)
        self.write("cert.pem", self.identity.pem)

    def write(self, name: str, content: bytes) -> str:
        file = self.folder / name
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(content)
        return str(file)

    def options(self, **options: str) -> dict[str, str]:
        """
        Those of C{ssl:}, with the files that are there.
        """
        return {
            "privateKey": str(self.folder / "key.pem"),
            "certKey": str(self.folder / "cert.pem"),
        } | options

    def loaded(self, **options: str) -> Certificates:
        return certificates_of(self.options(**options))

    def refused(self, options: dict[str, str], kind: type[Exception], why: str) -> None:
        """
        Loading C{options} raises a C{kind} whose whole message is C{why}.
        """
        with self.assertRaises(kind) as raised:
            certificates_of(options)
        self.assertEqual(str(raised.exception).replace(f"{self.folder}/", ""), why)

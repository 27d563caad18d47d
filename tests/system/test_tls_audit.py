"""
What an audit of TLS finds, by C{sslscan}.
"""

import shutil
import subprocess
from unittest import SkipTest
from xml.etree import ElementTree

from twisted.trial.unittest import SynchronousTestCase

from tests.support.certificates import make_certificate
from tests.support.marks import slow
from tests.support.processes import DEADLINE, Server, environment, new_folder


@slow
class AuditTests(SynchronousTestCase):
    """
    (All of it is what the server does on the wire: sslscan does not go by the options
    that it has.)
    """

    def scanned(self, words: str) -> ElementTree.Element:
        """
        What a scan of a server finds.

        @param words: of its C{ssl:} string, after those of its files.
        """
        program = shutil.which("sslscan")
        if program is None:
            raise SkipTest("sslscan is not installed")
        folder = new_folder(self)
        make_certificate(folder)
        listen = f"ssl:0:key.pem:cert.pem:interface=127.0.0.1{words}"
        server = Server.start(self, listen=[listen], folder=folder)
        file = folder / "scan.xml"
        host, port = server.address
        run = subprocess.run(
            [program, f"--xml={file}", "--no-colour", f"{host}:{port}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=4 * DEADLINE,
            env=environment(),
            check=False,
        )
        self.assertEqual(run.returncode, 0, run.stdout)
        found = ElementTree.parse(file).find("ssltest")
        assert found is not None, run.stdout
        return found

    def assert_sound(self, found: ElementTree.Element, versions: set[str]) -> None:
        spoken = {
            each.get("type", "") + each.get("version", "")
            for each in found.iter("protocol")
            if each.get("enabled") == "1"
        }
        self.assertEqual(spoken, versions)
        # It has looked at these, and at older ones.
        self.assertEqual(len(list(found.iter("protocol"))), 6)
        (renegotiation,) = found.iter("renegotiation")
        self.assertEqual(renegotiation.get("supported"), "0")
        # (It says nothing of it if it cannot compress itself.)
        for each in found.iter("compression"):
            self.assertEqual(each.get("supported"), "0")
        for each in found.iter("heartbleed"):
            self.assertEqual(each.get("vulnerable"), "0")
        ciphers = list(found.iter("cipher"))
        self.assertEqual(
            {f"tls{each.get('sslversion', '')[-3:]}" for each in ciphers}, versions
        )
        for each in ciphers:
            # Sound, and with a key that is of no use later.
            self.assertIn(each.get("strength"), ("strong", "acceptable"), each.attrib)
            self.assertRegex(each.get("cipher", ""), "^(TLS_|ECDHE-)")

    def test_defaults(self) -> None:
        """
        TLS 1.2 and 1.3, no renegotiation, no compression, no weak cipher.
        """
        self.assert_sound(self.scanned(""), {"tls1.2", "tls1.3"})

    def test_newest(self) -> None:
        """
        With C{minVersion=1.3} there is nothing else.
        """
        self.assert_sound(self.scanned(":minVersion=1.3"), {"tls1.3"})

    def test_words(self) -> None:
        """
        What the words say is what is found.
        """
        found = self.scanned(
            ":maxVersion=1.2:ciphers=ECDHE+AESGCM:curve=secp384r1:minVersion=1.2"
        )
        self.assert_sound(found, {"tls1.2"})
        self.assertEqual(
            {each.get("cipher") for each in found.iter("cipher")},
            {"ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384"},
        )
        self.assertEqual(
            {each.get("curve") for each in found.iter("cipher")}, {"P-384"}
        )

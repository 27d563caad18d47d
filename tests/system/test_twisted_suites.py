"""
Twisted's own tests, with our receivers in the place of Twisted's.

The receivers are put there before anything else is imported, and so in a
process of their own.
"""

import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from typing import NamedTuple

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.support.marks import slow

# Seconds. All suites together take a tenth of it.
TIMEOUT = 300

CHILD = """
import sys
from importlib import import_module
from twisted.protocols import basic

ours, *modules = sys.argv[1:]
NAMES = (
    "LineReceiver", "LineOnlyReceiver",
    "Int8StringReceiver", "Int16StringReceiver", "Int32StringReceiver",
)
stock = [getattr(basic, each) for each in NAMES]
if ours == "ours":
    from twisted_echo.framing import line_receiver as receiver
    from twisted_echo.framing import string_receiver as frames

    for each in NAMES:
        home = receiver if each.startswith("Line") else frames
        setattr(basic, each, getattr(home, "Fast" + each))
used = tuple(getattr(basic, each) for each in NAMES)

def descendants(cls):
    for each in cls.__subclasses__():
        yield each
        yield from descendants(each)

for module in modules:
    import_module(module)
if ours == "ours":
    standing_in = [each for base in used for each in descendants(base)]
    aside = {
        each for base in stock for each in descendants(base)
        if not issubclass(each, used)
    }
    if aside:
        sys.exit(f"SUBSTITUTION FAILED for {aside}")
    for each in standing_in:
        print("substituted:", f"{each.__module__}.{each.__qualname__}")
    sys.stdout.flush()

from twisted.scripts.trial import run

sys.argv = ["trial", "--reporter=text", *modules]
run()
"""


class Outcome(NamedTuple):
    """
    How the suites went in a child.
    """

    passed: bool
    ran: int
    substituted: list[str]
    failing: list[str]
    output: str


def run_suites(whose: str, modules: list[str]) -> Outcome:
    """
    Run the modules' tests with C{"ours"} or the C{"stock"} receivers.
    """
    directory = tempfile.mkdtemp()
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, whose, *modules],
        cwd=directory,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        # To be able to end whatever it started, too.
        start_new_session=True,
    )
    try:
        output, _ = child.communicate(timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        output, _ = child.communicate()
        output += f"\nended after {TIMEOUT} s"
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    ran = re.search(r"^Ran (\d+) tests", output, re.MULTILINE)
    return Outcome(
        passed=child.returncode == 0
        and re.search(r"^PASSED", output, re.MULTILINE) is not None,
        ran=int(ran[1]) if ran else 0,
        substituted=re.findall(r"^substituted: (\S+)$", output, re.MULTILINE),
        failing=sorted(set(re.findall(r"^(twisted\.[\w.]+)$", output, re.MULTILINE))),
        output=output,
    )


class TwistedSuitesTests(SynchronousTestCase):
    """
    What passes with Twisted's receivers passes with ours.
    """

    def check(self, modules: list[str], least: int, protocols: list[str]) -> None:
        """
        Run the modules' tests. Where they fail with Twisted's receivers as they
        do with ours, they say nothing about ours.

        @param least: how many tests there are at least.
        @param protocols: some classes that must stand on our receivers.
        """
        ours = run_suites("ours", modules)
        if not ours.passed:
            stock = run_suites("stock", modules)
            if ours.failing and (ours.ran, ours.failing) == (stock.ran, stock.failing):
                raise SkipTest(f"with Twisted's own, too, these fail: {ours.failing}")
            self.fail(
                f"with our receivers:\n{ours.output}\n"
                f"with Twisted's: {stock.output[-2000:]}"
            )
        self.assertGreaterEqual(ours.ran, least)
        for protocol in protocols:
            self.assertIn(protocol, ours.substituted)

    def test_basic(self) -> None:
        self.check(
            ["twisted.protocols.test.test_basic"],
            least=80,
            protocols=[
                "twisted.protocols.test.test_basic.LineTester",
                "twisted.protocols.test.test_basic.LineOnlyTester",
                "twisted.protocols.test.test_basic.TestInt8",
                "twisted.protocols.test.test_basic.TestInt16",
                "twisted.protocols.test.test_basic.TestInt32",
            ],
        )

    def test_names(self) -> None:
        self.check(
            [
                f"twisted.names.test.test_{each}"
                for each in (
                    "cache",
                    "client",
                    "common",
                    "dns",
                    "examples",
                    "hosts",
                    "names",
                    "resolve",
                    "rfc1982",
                    "rootresolve",
                    "server",
                    "srvconnect",
                    "tap",
                    "util",
                )
            ],
            least=500,
            protocols=["twisted.names.dns.DNSProtocol"],
        )

    def test_amp(self) -> None:
        """
        Frames whose limit changes from one to the next.
        """
        self.check(
            ["twisted.test.test_amp"],
            least=130,
            protocols=[
                "twisted.protocols.amp.BinaryBoxProtocol",
                "twisted.protocols.amp.AMP",
            ],
        )

    def test_mail(self) -> None:
        self.check(
            [
                "twisted.mail.test.test_imap",
                "twisted.mail.test.test_pop3",
                "twisted.mail.test.test_pop3client",
                "twisted.mail.test.test_smtp",
            ],
            least=550,
            protocols=[
                "twisted.mail.imap4.IMAP4Server",
                "twisted.mail.imap4.IMAP4Client",
                "twisted.mail.pop3.POP3",
                "twisted.mail._pop3client.POP3Client",
                "twisted.mail.smtp.SMTP",
                "twisted.mail.smtp.SMTPClient",
            ],
        )

    def test_web(self) -> None:
        self.check(
            ["twisted.web.test.test_http", "twisted.web.test.test_newclient"],
            least=350,
            protocols=[
                "twisted.web.http.HTTPChannel",
                "twisted.web.http.HTTPClient",
                "twisted.web._newclient.HTTPParser",
            ],
        )

    if importlib.util.find_spec("hamcrest") is None:
        test_web.skip = (  # type: ignore[attr-defined]
            "twisted.web.test.test_http needs PyHamcrest"
        )

    @slow
    def test_others(self) -> None:
        self.check(
            [
                "twisted.conch.test.test_telnet",
                "twisted.positioning.test.test_base",
                "twisted.positioning.test.test_nmea",
                "twisted.positioning.test.test_sentence",
                "twisted.test.test_finger",
                "twisted.test.test_ftp",
                "twisted.test.test_ident",
                "twisted.test.test_memcache",
                "twisted.test.test_postfix",
                "twisted.test.test_sip",
                "twisted.words.test.test_irc",
            ],
            least=700,
            protocols=[
                "twisted.conch.telnet.StatefulTelnetProtocol",
                "twisted.positioning.nmea.NMEAProtocol",
                "twisted.protocols.finger.Finger",
                "twisted.protocols.ftp.FTP",
                "twisted.protocols.ident.IdentServer",
                "twisted.protocols.memcache.MemCacheProtocol",
                "twisted.protocols.postfix.PostfixTCPMapServer",
                "twisted.protocols.sip.MessagesParser",
                "twisted.words.protocols.irc.IRCClient",
            ],
        )

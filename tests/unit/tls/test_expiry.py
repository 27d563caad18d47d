"""
L{twisted_echo.tls.expiry}: nobody is surprised by a certificate that has expired.
"""

import ssl
from datetime import UTC, datetime
from typing import Any
from weakref import ref

from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.task import Clock
from twisted.logger import Logger, LogLevel, capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from tests.support.clients import ServedTestCase
from tests.support.der_certificates import (
    NOW,
    CertificateFiles,
    expiring,
    server_context,
)
from twisted_echo import EchoConfig, EchoFactory, SessionService
from twisted_echo.endpoints.layered_endpoint import LayeredEndpoint
from twisted_echo.endpoints.tls_layer import TLSFactory
from twisted_echo.tls.certificates import Certificates
from twisted_echo.tls.expiry import WARNS_BEFORE, ExpiryWatch, notAfter

DAY, HOUR = 86400.0, 3600.0


class NotAfterTests(SynchronousTestCase):
    def test_files(self) -> None:
        """
        Of each file its first to expire.
        """
        one = CertificateFiles(a=expiring(3), b=expiring(90))
        other = CertificateFiles(b=expiring(50), c=expiring(-1))
        bare = Certificates(server_context)
        found = notAfter([one.certificates, other.certificates, bare])
        now = NOW.timestamp()
        self.assertEqual(
            found, {"a": now + 3 * DAY, "b": now + 50 * DAY, "c": now - DAY}
        )
        self.assertEqual(notAfter([]), {})


class WatchTests(SynchronousTestCase):
    """
    By a clock of its own.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.events: list[Any] = []
        logger = Logger(observer=self.events.append)  # type: ignore[arg-type]
        self.patch(ExpiryWatch, "_log", logger)

    def watch(self, *files: CertificateFiles) -> ExpiryWatch:
        watch = ExpiryWatch(
            lambda: [each.certificates for each in files],
            self.clock,
            lambda: NOW.timestamp() + self.clock.seconds(),
        )
        watch.start()
        return watch

    def told(self) -> list[str]:
        events, self.events[:] = list(self.events), []
        return [str(formatEvent(event)) for event in events]

    def advance(self, seconds: float) -> None:
        """
        Let time pass, an hour at a time.
        """
        end = self.clock.seconds() + seconds
        while self.clock.seconds() < end:
            self.clock.advance(min(HOUR, end - self.clock.seconds()))

    def test_atOnce(self) -> None:
        """
        At the start there is a warning of a certificate that is about to expire, and of
        no other one.
        """
        self.watch(CertificateFiles(soon=expiring(13.5, "soon\n"), late=expiring(15)))
        (event,) = self.events
        fields = {
            "event": "certificate-expires",
            "log_level": LogLevel.warn,
            "file": "soon",
            "subject": r"CN=soon\0A",
            "notAfter": "2026-12-12T00:00:00Z",
            "seconds": 13.5 * DAY,
        }
        self.assertEqual({each: event[each] for each in fields}, fields)
        self.assertEqual(
            self.told(),
            [
                r"the certificate of CN=soon\0A in soon expires in 13d12h, at"
                " 2026-12-12T00:00:00Z"
            ],
        )

    def test_fourteenDays(self) -> None:
        """
        The warning comes within an hour after that, and never before.
        """
        self.watch(CertificateFiles(a=expiring(WARNS_BEFORE / DAY + 1)))
        self.advance(DAY - 1)
        self.assertEqual(self.told(), [])
        self.advance(HOUR)
        self.assertEqual(len(self.told()), 1)

    def test_onceADay(self) -> None:
        """
        Each of them, until it has expired, and after that.
        """
        self.watch(CertificateFiles(a=expiring(2.5), b=expiring(2.5, "other")))
        for left in ("2d12h", "1d12h", "12h"):
            for text in self.told():
                self.assertIn(f"expires in {left}", text)
            self.advance(DAY - 1)
            if left != "12h":
                self.assertEqual(self.told(), [])
                self.advance(1)
        # It has expired meanwhile, and half a day after the last warning is none too
        # soon for that.
        texts = self.told()
        self.assertEqual(len(texts), 2)
        for text in texts:
            self.assertIn("expired 1h ago", text)
        self.advance(DAY)
        for event in self.events:
            self.assertEqual(event["event"], "certificate-expired")
            self.assertIs(event["log_level"], LogLevel.error)
        self.assertEqual(len(self.told()), 2)

    def test_atTheEnd(self) -> None:
        """
        It is valid in its last second, and has expired in the next.
        """
        for left, event in (0, "certificate-expires"), (-1, "certificate-expired"):
            self.watch(CertificateFiles(a=expiring(left / DAY)))
            self.assertEqual([each["event"] for each in self.events], [event])
            self.events.clear()

    def test_reload(self) -> None:
        """
        A new one is looked at as soon as it is loaded. The old one is forgotten, and
        one that stays is not told of again.
        """
        files = CertificateFiles(a=expiring(1, "first"), b=expiring(1, "stays"))
        self.watch(files)
        self.assertEqual(len(self.told()), 2)
        files.chains["a"] = expiring(3, "second")
        files.certificates.reload()
        (text,) = self.told()
        self.assertIn("CN=second", text)
        files.chains["a"] = expiring(90, "third")
        files.certificates.reload()
        self.advance(2 * DAY)
        for text in self.told():
            self.assertIn("CN=stays", text)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)

    def test_same(self) -> None:
        """
        If several listeners load one file, there is one warning.
        """
        der = expiring(1)
        self.watch(CertificateFiles(a=der), CertificateFiles(a=der))
        self.assertEqual(len(self.told()), 1)

    def test_stop(self) -> None:
        """
        After that nothing is scheduled, nor told of at a reload. It can start again.
        """
        files = CertificateFiles(a=expiring(1))
        watch = self.watch(files)
        self.told()
        watch.stop()
        watch.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(files.certificates.watchers, set())
        files.chains["a"] = expiring(2)
        files.certificates.reload()
        self.assertEqual(self.told(), [])
        watch.start()
        self.assertEqual(len(self.told()), 1)

    def test_none(self) -> None:
        """
        Without certificates nothing is scheduled, until there are some.
        """
        files = CertificateFiles()
        self.watch(files)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        files.chains["a"] = expiring(1)
        files.certificates.reload()
        self.assertEqual(len(self.told()), 1)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)


class ServiceTests(ServedTestCase):
    """
    A service that listens warns, and its numbers have the end of its certificates.
    """

    def service(self, files: CertificateFiles) -> SessionService:
        endpoint = LayeredEndpoint(
            TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1"),
            lambda factory: TLSFactory(factory, files.certificates),
        )
        return SessionService(endpoint, EchoFactory(EchoConfig()))

    async def test_service(self) -> None:
        files = CertificateFiles(a=expiring(10, now=datetime.now(UTC)))
        service = self.service(files)
        self.assertEqual(service.snapshot().certificates, {})
        with capturedLogs() as events:
            service.startService()
            self.assertEqual(
                service.snapshot().certificates, notAfter([files.certificates])
            )
            (leaf,) = files.certificates.settings.chains
            self.assertEqual(service.snapshot().certificates, {"a": leaf[1].notAfter})
            self.assertEqual(len(files.certificates.watchers), 1)
            await service.stopService()
        expiries = [e for e in events if e.get("event") == "certificate-expires"]
        self.assertEqual([each["file"] for each in expiries], ["a"])
        self.assertEqual(files.certificates.watchers, set())

    async def test_later(self) -> None:
        """
        It warns of those that it finds in use later, and keeps none that nobody uses.
        """
        files = CertificateFiles(a=expiring(10, now=datetime.now(UTC)))
        service = self.serve(EchoFactory(EchoConfig()))
        gone = Certificates(server_context)
        service.factory.useTLS(gone)
        reference = ref(gone)
        del gone
        self.assertIsNone(reference())
        with capturedLogs() as events:
            for _ in range(2):
                service.factory.useTLS(files.certificates)
        (event,) = events
        self.assertEqual(event["event"], "certificate-expires")
        await service.stopService()
        self.assertEqual(files.certificates.watchers, set())
        with capturedLogs() as events:
            service.factory.useTLS(CertificateFiles(a=expiring(-1)).certificates)
        self.assertEqual(events, [])

    async def test_silent(self) -> None:
        """
        One of many processes leaves it to another.
        """
        files = CertificateFiles(a=expiring(10, now=datetime.now(UTC)))
        service = self.service(files)
        service.warnsOfExpiry = False
        with capturedLogs() as events:
            service.startService()
            self.assertEqual(set(service.snapshot().certificates), {"a"})
            await service.stopService()
        self.assertNotIn("certificate-expires", [e.get("event") for e in events])

    async def test_bareContext(self) -> None:
        """
        Of a context of an embedder's own nothing is known.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        endpoint = LayeredEndpoint(
            TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1"),
            lambda factory: TLSFactory(factory, context),
        )
        service = self.serve(EchoFactory(EchoConfig()), endpoint)
        self.assertEqual(service.snapshot().certificates, {})

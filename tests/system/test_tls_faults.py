"""
What only a client of TLS can do wrong, against a real C{twistd echo}.
"""

import signal
import socket
import ssl
import warnings

from tests.support.certificates import make_certificate
from tests.support.fault_clients import (
    Background,
    Stopwatch,
    exchange,
    is_cut_off,
)
from tests.support.faults import (
    EAGER_ASYNCIO,
    EPOLL,
    FaultTestCase,
    numbered,
    only,
)
from tests.support.marks import slow
from tests.support.processes import wait_until


class TLSFaultTests(FaultTestCase):
    """
    What only a client of TLS can do.
    """

    tls = True

    def test_olderTLSThenEnd(self) -> None:
        """
        In TLS 1.2 too, every byte comes back after C{close_notify}.
        """
        server = self.serve()
        context = self.context()
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        for size in (1, 15_000, 3_000_000):
            with self.client(server, context=context) as client:
                received = exchange(client, [numbered(size)])
            self.assertTrue(received == numbered(size), (size, len(received)))
        self.assertEqual(self.books(server).ended, {"peer-closed": 3})

    def test_endWithoutFarewell(self) -> None:
        """
        A client that ends TCP and not TLS takes nobody along.
        """
        server = self.serve()
        client = self.client(server)
        self.assertEqual(client.round_trip(b"hello\n"), b"hello\n")
        client.socket.shutdown(socket.SHUT_WR)
        try:
            client.read_to_end()
        except OSError as error:
            self.assertNotIsInstance(error, TimeoutError)
        client.close()
        self.wait_for_no_one()
        self.assertEqual(self.books(server).served, 1)

    def test_unfinishedHandshake(self) -> None:
        """
        Silence, half a C{ClientHello}, and one that comes a byte at a time all
        have a deadline.
        """
        server = self.serve(*only("handshake-timeout", 0.5))
        began = Stopwatch()
        silent, half, drip = (self.client(server, handshake=False) for _ in range(3))
        hello = half.hello()
        half.socket.sendall(hello[: len(hello) // 2])
        ends = [
            Background(lambda client=client: (is_cut_off(client), began()))
            for client in (silent, half, drip)
        ]
        for place in range(len(hello) - 1):
            try:
                drip.socket.sendall(hello[place : place + 1])
            except OSError:
                break
            if not ends[2].is_alive():
                break
            ends[2].join(0.05)
        for end in ends:
            cut, took = end.result()
            self.assertTrue(cut)
            self.assert_on_time(took, 0.5)
        self.wait_for_no_one()
        with self.client(server) as client:
            self.assertEqual(exchange(client, [b"hello"]), b"hello")
        books = self.books(server)
        self.assertEqual(books.ended, {"peer-closed": 1})
        self.assertEqual(books.refusals, {"handshake-timeout": 3})

    def test_noTLS(self) -> None:
        """
        A client that does not speak TLS is disconnected and counted.
        """
        server = self.serve()
        garbage = (b"GET / HTTP/1.0\r\n\r\n", b"\n" * 100, b"\x16\x03\x01" * 200)
        for each in garbage:
            client = self.raw(server)
            client.send(each, finish=True)
            try:
                while client.receive():
                    # The alert that says so.
                    pass
            except TimeoutError:
                raise
            except OSError:
                pass
            client.close()
        books = self.books(server)
        self.assertEqual(books.refusals, {"handshake-failed": len(garbage)})

    def test_oldTLS(self) -> None:
        """
        TLS 1.1 is refused, by the server.
        """
        server = self.serve()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(self.folder / "cert.pem")
        context.set_ciphers("ALL:@SECLEVEL=0")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            context.minimum_version = ssl.TLSVersion.TLSv1
            context.maximum_version = ssl.TLSVersion.TLSv1_1
        with self.assertRaises(ssl.SSLError) as caught:
            self.client(server, context=context)
        self.assertEqual(caught.exception.reason, "TLSV1_ALERT_PROTOCOL_VERSION")
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        with self.client(server, context=context) as client:
            self.assertEqual(exchange(client, [b"hello"]), b"hello")
        books = self.books(server)
        self.assertEqual(books.refusals, {"handshake-failed": 1})

    def test_renewedCertificate(self) -> None:
        """
        SIGHUP: new connections get the new certificate, old ones go on. If a file
        is broken, the log says so once, and the old certificate stays.
        """
        server = self.serve()
        cert, key = self.folder / "cert.pem", self.folder / "key.pem"
        anyone = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        anyone.check_hostname = False
        anyone.verify_mode = ssl.CERT_NONE

        def shown() -> bytes:
            with self.client(server, context=anyone) as client:
                self.assertEqual(exchange(client, [b"hello"]), b"hello")
                return client.certificate

        old = self.client(server)
        first = shown()
        make_certificate(self.folder)
        self.assertEqual(shown(), first)
        server.process.send_signal(signal.SIGHUP)
        wait_until(lambda: shown() != first)
        second, good = shown(), (cert.read_bytes(), key.read_bytes())
        self.assertEqual(ssl.PEM_cert_to_DER_cert(good[0].decode()), second)
        self.assertEqual(old.round_trip(b"still\n"), b"still\n")

        make_certificate(self.folder)
        other = key.read_bytes()
        for number, (certificate, secret) in enumerate(
            ((b"FAKE\n", good[1]), (good[0], b""), (good[0], other)), 1
        ):
            cert.write_bytes(certificate)
            key.write_bytes(secret)
            server.process.send_signal(signal.SIGHUP)
            wait_until(lambda told=number: server.stdout.count("#warn") >= told)
            self.assertEqual(shown(), second)
            self.assertEqual(server.stdout.count("#warn"), number)

        make_certificate(self.folder)
        server.process.send_signal(signal.SIGHUP)
        wait_until(lambda: shown() not in (first, second))
        self.assertEqual(old.round_trip(b"still\n"), b"still\n")
        old.close()
        self.assertEqual(self.books(server).refused, 0)


@slow
class EPollTLSFaultTests(TLSFaultTests):
    """
    By Twisted's epoll reactor.
    """

    reactor = EPOLL


@slow
class EagerAsyncioTLSFaultTests(TLSFaultTests):
    """
    By the eager reactor on asyncio's loop.
    """

    reactor = EAGER_ASYNCIO

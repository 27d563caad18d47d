"""
What can be wrong with the header of the PROXY protocol, against a real C{twistd
echo}.
"""

import contextlib
import socket

from tests.support.fault_clients import (
    Background,
    Stopwatch,
    exchange,
    is_cut_off,
)
from tests.support.faults import (
    EAGER_ASYNCIO,
    EPOLL,
    HEADER_V1,
    HEADER_V2,
    SLACK,
    FaultTestCase,
    numbered,
    only,
)
from tests.support.marks import slow
from tests.support.processes import Server, wait_until


class ProxyFaultTests(FaultTestCase):
    """
    What can be wrong with the header of the PROXY protocol.
    """

    def test_announcedPeer(self) -> None:
        """
        The log names the client that the header announces. The header may come in any
        pieces.
        """
        server = self.serve("--max-length=10", proxy=True)
        for number, header in enumerate((HEADER_V1, HEADER_V2), 1):
            client = self.client(server, header=header)
            client.send(b"a\n" + b"x" * 20 + b"\n")
            self.assertEqual(client.read_to_end(), b"a\n")
            client.close()
            wait_until(
                lambda number=number: len(self.told_of(server, "192.0.2.1")) == number
            )
        for line in self.told_of(server, "192.0.2.1"):
            self.assertIn("40000", line)
            self.assertIn("line-too-long", line)
        self.assertEqual(self.books(server).ended, {"line-too-long": 2})

    def told_of(self, server: Server, peer: str) -> list[str]:
        """
        The lines of the log that name a peer and its session's end.
        """
        return [
            line
            for line in server.stdout.splitlines()
            if peer in line and " ended: " in line
        ]

    def test_headerCutAnywhere(self) -> None:
        """
        A header, cut at any byte, is a header; without its rest, it is none.
        """
        server = self.serve(proxy=True)
        complete = cut = 0
        for header in (HEADER_V1, HEADER_V2):
            for place in range(1, len(header)):
                client = self.client(server, header=header[:place], handshake=False)
                # Not before the first part has been read: the second one would
                # only be the end of the first. Another client's turn is that.
                self.assert_echoes(server)
                client.socket.sendall(header[place:])
                client.handshake()
                client.send(b"hello", finish=True)
                self.assertEqual(client.read_to_end(), b"hello")
                client.close()
                complete += 2
                short = self.client(server, header=header[:place], handshake=False)
                short.socket.shutdown(socket.SHUT_WR)
                self.assertTrue(is_cut_off(short))
                short.close()
                cut += 1
        books = self.books(server)
        self.assertEqual(books.ended, {"peer-closed": complete})
        self.assertEqual(books.refusals, {"bad-proxy-header": cut})

    def assert_echoes(self, server: Server) -> None:
        with self.client(server, header=HEADER_V1) as client:
            client.send(b"hello", finish=True)
            self.assertEqual(client.read_to_end(), b"hello")

    def test_headerAndAllElseAtOnce(self) -> None:
        """
        What follows the header in the same segment is not lost, nor is the
        end-of-file.
        """
        server = self.serve(proxy=True)
        unknown = b"PROXY UNKNOWN\r\n"
        local = HEADER_V2[:12] + b"\x20\x00\x00\x00"
        for header in (HEADER_V1, HEADER_V2, unknown, local):
            for size in (0, 1, 15_000, 3_000_000):
                client = self.client(server, handshake=False)
                if self.tls:
                    client.socket.sendall(header + client.hello())
                    client.handshake()
                    received = exchange(client, [numbered(size)])
                else:
                    received = exchange(client, [header + numbered(size)])
                self.assertTrue(received == numbered(size), (header, len(received)))
                client.close()
        self.assertEqual(self.books(server).ended, {"peer-closed": 16})

    def test_garbageForHeader(self) -> None:
        """
        It ends its connection, is counted, and nothing of it gets into the log
        that would look like a line of it.
        """
        v2 = HEADER_V2[:12]
        garbage = [
            b"\r\n",
            b"\n" * 200,
            b"GET / HTTP/1.0\r\n\r\n",
            b"hello, this is no header\n",
            b"\x00" * 300,
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x55" * 300,
            bytes(range(256)),
            b"PROXY\r\n",
            b"PROXY \r\n",
            b"PROXY TCP4\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 40000\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 40000 7 8\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 x 7\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 -1 7\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 65536 7\r\n",
            b"PROXY TCP4 a\nFAKE 192.0.2.2 40000 7\r\n",
            b"PROXY TCP4 a\nFAKE\x1b[31m 40000 7\r\n",
            b"PROXY TCP4 192.0.2.1\nFAKE 192.0.2.2 40000 7\r\n",
            b"PROXY TCP4 999.0.2.1 192.0.2.2 40000 7\r\n",
            b"PROXY TCP4 ::1 ::1 40000 7\r\n",
            b"PROXY TCP6 192.0.2.1 192.0.2.2 40000 7\r\n",
            b"PROXY TCP6 \xff\xfe \xff 40000 7\r\n",
            b"PROXY \xff\xfe 192.0.2.1 192.0.2.2 40000 7\r\n",
            b"PROXY TCP5 192.0.2.1 192.0.2.2 40000 7\r\n",
            b"PROXY TCP4 " + b"1" * 60_000,
            b"PROXY UNKNOWN " + b"x" * 60_000 + b"\r\n",
            # A version that is not 2, a command and a family that do not exist, an
            # address that is too short for its family.
            v2 + b"\x11" + HEADER_V2[13:],
            v2 + b"\x2f" + HEADER_V2[13:],
            v2 + b"\x21\x4f" + HEADER_V2[14:],
            v2 + b"\x21\x11\x00\x04abcd",
            v2 + b"\x21\x21\x00\x0c" + b"\n" * 12,
        ]
        server = self.serve(*only("handshake-timeout", 5), proxy=True)
        for each in garbage:
            client = self.client(server, header=each, handshake=False)
            # If the server waits for more of the header, it sees that there is none.
            with contextlib.suppress(OSError):
                client.socket.shutdown(socket.SHUT_WR)
            self.assertTrue(is_cut_off(client), each)
            client.close()
        self.assert_echoes(server)
        books = self.books(server)
        self.assertEqual(books.ended, {"peer-closed": 1})
        self.assertEqual(books.refusals, {"bad-proxy-header": len(garbage)})
        for line in server.stdout.splitlines():
            self.assertNotRegex(line, r"\AFAKE|\x1b")
        # A few lines for a few reasons, not one for each.
        self.assertLess(server.stdout.count("bad-proxy-header"), 15)

    def test_hugeHeader(self) -> None:
        """
        One that says it is 64 KiB long, and takes its time, is not kept.
        """
        server = self.serve(*only("handshake-timeout", 0.8), proxy=True)
        client = self.client(
            server, header=HEADER_V2[:14] + b"\xff\xff" + b"x" * 100, handshake=False
        )
        began = Stopwatch()
        self.assertTrue(is_cut_off(client))
        self.assertLess(began(), 1 + SLACK)
        client.close()
        self.assertEqual(self.books(server).refused, 1)

    def test_delayedHeader(self) -> None:
        """
        A header that does not come, or not to its end, or a byte at a time, has
        a deadline.
        """
        server = self.serve(*only("handshake-timeout", 0.5), proxy=True)
        began = Stopwatch()
        silent = self.client(server, handshake=False)
        half = self.client(server, header=HEADER_V1[:20], handshake=False)
        drip = self.client(server, handshake=False)
        ends = [
            Background(lambda client=client: (is_cut_off(client), began()))
            for client in (silent, half, drip)
        ]
        for place in range(len(HEADER_V1) - 2):
            if not ends[2].is_alive():
                break
            try:
                drip.socket.sendall(HEADER_V1[place : place + 1])
            except OSError:
                break
            ends[2].join(0.05)
        for end in ends:
            cut, took = end.result()
            self.assertTrue(cut)
            self.assert_on_time(took, 0.5)
        books = self.books(server)
        self.assertEqual(books.refusals, {"handshake-timeout": 3})

    def test_proxyThatMayNot(self) -> None:
        """
        A header is believed only of those who may send one.
        """
        server = self.serve(
            "--proxy-from=192.0.2.0/24", "--proxy-from=127.0.0.2/32", proxy=True
        )
        client = self.client(server, header=HEADER_V1, handshake=False)
        self.assertTrue(is_cut_off(client))
        client.close()
        server.wait_for("refused: refused-proxy")
        trusted = self.client(server, header=HEADER_V1, source="127.0.0.2")
        self.assertEqual(trusted.round_trip(b"hello\n"), b"hello\n")
        trusted.close()
        books = self.books(server)
        self.assertEqual((books.served, books.refusals), (1, {"refused-proxy": 1}))

    def test_fullForOnePeerBehindProxy(self) -> None:
        """
        The peer that is announced is the one that counts.
        """
        server = self.serve("--max-sessions-per-peer=1", proxy=True)
        old = self.client(server, header=HEADER_V1)
        self.assertEqual(old.round_trip(b"hello\n"), b"hello\n")
        client = self.client(server, header=HEADER_V2, handshake=False)
        self.assertTrue(is_cut_off(client))
        client.close()
        other = self.client(server, header=HEADER_V1.replace(b"2.1 ", b"2.9 ", 1))
        self.assertEqual(other.round_trip(b"hello\n"), b"hello\n")
        for client in (old, other):
            client.close()
        books = self.books(server)
        self.assertEqual((books.served, books.refusals), (2, {"refused-peer": 1}))

    def test_fullRefusesBehindProxy(self) -> None:
        server = self.serve("--max-sessions=1", "--when-full=refuse", proxy=True)
        old = self.client(server, header=HEADER_V1)
        self.assertEqual(old.round_trip(b"hello\n"), b"hello\n")
        for header in (HEADER_V1, HEADER_V2):
            client = self.client(server, handshake=False)
            client.socket.sendall(header)
            self.assertTrue(is_cut_off(client))
            client.close()
        self.assertEqual(old.round_trip(b"still\n"), b"still\n")
        old.close()
        books = self.books(server)
        self.assertEqual((books.served, books.refusals), (1, {"refused-full": 2}))


class TLSProxyFaultTests(ProxyFaultTests):
    """
    With TLS.
    """

    tls = True


@slow
class EPollProxyFaultTests(ProxyFaultTests):
    """
    By Twisted's epoll reactor.
    """

    reactor = EPOLL


@slow
class EPollTLSProxyFaultTests(ProxyFaultTests):
    """
    With TLS, by Twisted's epoll reactor.
    """

    tls = True
    reactor = EPOLL


@slow
class EagerAsyncioProxyFaultTests(ProxyFaultTests):
    """
    By the eager reactor on asyncio's loop.
    """

    reactor = EAGER_ASYNCIO

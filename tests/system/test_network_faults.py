"""
What networks do to connections, by the fault proxy that users have, too.
"""

import contextlib
import socket

from tests.support.fault_clients import (
    Background,
    exchange,
)
from tests.support.faults import (
    MIB,
    FaultTestCase,
    numbered,
    only,
)
from tests.support.processes import wait_until


class NetworkFaultTests(FaultTestCase):
    """
    What networks do, by the fault proxy that users have, too.
    """

    def test_cutAtEveryByte(self) -> None:
        """
        Wherever a connection is cut, in either direction, by an end or by a reset: what
        came before is the beginning of the answers, and nothing is left of it.
        """
        server = self.serve("--log-sessions=none")
        proxy = self.proxy(server)
        sent = b"one\ntwo\n"
        # Of TLS, its handshake and its records: every so many bytes of them.
        cuts = range(1, 2500, 97) if self.tls else range(len(sent) + 1)
        for flow in (proxy.to_server, proxy.to_client):
            for by in ("end", "reset"):
                flow.cut_by = by
                for cut in cuts:
                    flow.cut_after = cut
                    got = b""
                    # (A reset may even come before it has connected.)
                    with (
                        contextlib.suppress(OSError, EOFError),
                        self.client(server, through=proxy, handshake=False) as client,
                    ):
                        if self.tls:
                            client.handshake()
                        client.send(sent, finish=True)
                        while data := client.receive():
                            got += data
                    self.assertTrue(sent.startswith(got), (flow, by, cut, got))
                    if not self.tls and by == "end":
                        self.assertEqual(len(got), cut)
            flow.cut_after = None
        whole = self.client(server, through=proxy)
        self.assertEqual(exchange(whole, [sent]), sent)
        whole.close()
        self.books(server)

    def test_stalled(self) -> None:
        """
        Whatever waits on the way meanwhile, nothing is lost when it moves again.
        """
        server = self.serve()
        proxy = self.proxy(server)
        client = self.client(server, through=proxy)
        self.assertEqual(client.round_trip(b"before\n"), b"before\n")
        sent = numbered(4 * MIB)
        proxy.to_client.stall()
        echo = Background(lambda: exchange(client, [sent]))
        before = proxy.to_client.forwarded
        wait_until(lambda: proxy.to_server.forwarded > 1 << 16)
        self.assertEqual(proxy.to_client.forwarded, before)
        proxy.to_client.release()
        self.assertEqual(echo.result(), sent)
        client.close()
        self.books(server)

    def test_piecesWithDelays(self) -> None:
        """
        Every byte by itself, and some of them late.
        """
        server = self.serve()
        proxy = self.proxy(server)
        for flow in (proxy.to_server, proxy.to_client):
            flow.pieces, flow.delay = 1, 0.0001
        client = self.client(server, through=proxy)
        sent = b"".join(b"%d\n" % each for each in range(50))
        self.assertEqual(exchange(client, [sent]), sent)
        client.close()
        self.books(server)

    def test_resetOnTheWay(self) -> None:
        """
        A reset in mid-answer ends that session, and no other.
        """
        server = self.serve()
        proxy = self.proxy(server)
        other = self.client(server)
        clients = [self.client(server, through=proxy) for _ in range(5)]
        for client in clients:
            self.assertEqual(client.round_trip(b"x\n"), b"x\n")
            client.send(b"y\n")
        proxy.reset()
        for client in clients:
            with self.assertRaises(OSError):
                while client.receive():
                    pass
                raise ConnectionError("it is an end, not a reset")
            client.close()
        self.assertEqual(other.round_trip(b"still\n"), b"still\n")
        other.leave()
        self.books(server)

    def test_endThatNeverArrives(self) -> None:
        """
        A server whose peer's end-of-file is lost has a deadline for it.
        """
        server = self.serve(*only("idle-timeout", 0.5), "--abort-after=0.5")
        proxy = self.proxy(server)
        proxy.to_server.drop_fin = True
        client = self.client(server, through=proxy)
        self.assertEqual(client.round_trip(b"x\n"), b"x\n")
        client.socket.shutdown(socket.SHUT_WR)
        server.wait_for("session of [^\n]* ended: idle")
        self.wait_for_no_one()
        client.close()
        self.books(server)


class TLSNetworkFaultTests(NetworkFaultTests):
    """
    With TLS.
    """

    tls = True

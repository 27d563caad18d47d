"""
L{twisted_echo.session.input_pause}: what pauses the input, and when it goes on.
"""

from twisted.trial.unittest import SynchronousTestCase

from tests.support.clients import (
    ServedTestCase,
    collect,
    in_thread,
    tls,
    tls_endpoint,
)
from tests.support.sessions import (
    FastOnlyUpper,
    OnlyUpper,
    Plain,
    StockUpper,
    Upper,
    made,
)
from twisted_echo import (
    EchoFactory,
)
from twisted_echo.net.transport_queries import bottomTransport
from twisted_echo.testing.clocks import elapse


class BackpressureTests(SynchronousTestCase):
    """
    A full transport stops a session's input, and nothing is lost by it.
    """

    protocols = (Upper, StockUpper)

    def test_midChunk(self) -> None:
        """
        A line protocol gets no more lines once the transport is full, though
        they were received; it gets them, in order, as the transport empties.
        """
        for protocol in self.protocols:
            session = made(protocol)
            transport = session.transport
            session.dataReceived(b"".join(b"line%d\n" % n for n in range(10)))
            self.assertEqual(len(session.lines), 2, protocol)
            self.assertEqual(transport.producerState, "paused")
            transport.drain()
            self.assertEqual(len(session.lines), 4, protocol)
            self.assertEqual(transport.producerState, "paused")
            while len(session.lines) < 10:
                transport.drain()
            transport.drain()
            self.assertEqual(session.lines, [b"line%d" % n for n in range(10)])
            self.assertEqual(transport.producerState, "producing")

    def test_protocolsPauseStays(self) -> None:
        """
        An empty transport does not undo the pause that the protocol asked for.
        """
        for protocol in self.protocols:
            session = made(protocol)
            transport = session.transport
            session.dataReceived(b"long enough to fill it\npause\nmore\n")
            self.assertEqual(len(session.lines), 1)
            transport.drain()
            self.assertEqual(session.lines[1:], [b"pause"])
            transport.producer.pauseProducing()
            transport.drain()
            self.assertEqual(session.lines[1:], [b"pause"])
            self.assertEqual(transport.producerState, "paused")
            session.resumeProducing()
            self.assertEqual(session.lines[1:], [b"pause", b"more"])
            self.assertEqual(transport.producerState, "producing")

    def test_transportsPauseStays(self) -> None:
        """
        A protocol that resumes does not overrun a full transport.
        """
        for protocol in self.protocols:
            session = made(protocol)
            transport = session.transport
            session.dataReceived(b"long enough to fill it\nmore\n")
            session.pauseProducing()
            session.resumeProducing()
            self.assertEqual(len(session.lines), 1)
            self.assertEqual(transport.producerState, "paused")
            transport.drain()
            self.assertEqual(session.lines[1:], [b"more"])
            self.assertEqual(transport.producerState, "producing")

    def test_otherProtocols(self) -> None:
        """
        A protocol that cannot pause in mid-chunk has its transport paused.
        """
        for protocol in (OnlyUpper, FastOnlyUpper, Plain):
            session = made(protocol)
            transport = session.transport
            session.dataReceived(b"long enough to fill it\nmore\n")
            self.assertEqual(transport.producerState, "paused")
            self.assertIn(b"MORE\n", transport.value())
            transport.drain()
            self.assertEqual(transport.producerState, "producing")

    def test_off(self) -> None:
        """
        C{backpressure = False}: nothing is registered.
        """

        class Own(Upper):
            backpressure = False

        session = made(Own)
        self.assertIs(session.transport.producer, None)

    def test_stopProducing(self) -> None:
        """
        C{stopProducing} takes no more input, and closes.
        """
        for protocol in self.protocols:
            session = made(protocol)
            session.stopProducing()
            # Which closes, as `ITransport` has it.
            self.assertEqual(session.transport.producerState, "stopped", protocol)
        session = made(Plain)
        session.stopProducing()
        self.assertTrue(session.transport.disconnecting)

    def test_closedWhileChoked(self) -> None:
        """
        C{close} on a choked session: what was received is answered as the
        transport empties, and only then the end-of-file goes out.
        """
        for protocol in self.protocols:
            session = made(protocol)
            transport = session.transport
            session.dataReceived(b"".join(b"line%d\n" % n for n in range(6)))
            session.close()
            while len(session.lines) < 6:
                self.assertFalse(transport.halfClosed, protocol)
                transport.drain()
            transport.drain()
            elapse(session.factory.clock, 0)
            self.assertEqual(session.lines, [b"line%d" % n for n in range(6)])
            self.assertTrue(transport.halfClosed, protocol)

    def test_endOfFileWhileChoked(self) -> None:
        """
        The peer's end-of-file likewise waits for the answers before it.
        """
        session = made(Upper)
        transport = session.transport
        session.dataReceived(b"".join(b"line%d\n" % n for n in range(4)))
        session.readConnectionLost()
        self.assertFalse(transport.disconnecting)
        transport.drain()
        transport.drain()
        self.assertEqual(len(session.lines), 4)
        self.assertTrue(transport.disconnecting)


class TLSBackpressureTests(ServedTestCase):
    """
    Backpressure over TLS.
    """

    async def test_choked(self) -> None:
        """
        A TLS client that sends and does not read is not read from; when it
        reads, everything is there.
        """
        factory = EchoFactory()
        session, client = await self.session(self.serve(factory, tls_endpoint()))
        client = await in_thread(tls, client)
        self.addCleanup(client.close)
        client.settimeout(0.5)
        data = b"0123456789abcde\n" * 1_000_000

        def fill() -> int:
            sent = 0
            try:
                while sent < len(data):
                    sent += client.send(data[sent : sent + 16384])
            except TimeoutError:
                pass
            return sent

        sent = await in_thread(fill)
        self.assertTrue(session.paused)
        self.assertLess(session.bytesReceived, len(data))
        bottom = bottomTransport(session.transport)
        held = len(bottom.dataBuffer) + bottom._tempDataLen
        self.assertLess(held, 4 * 65536)
        client.settimeout(20)
        # What was cut off by the time-out was not sent, or is sent by OpenSSL.
        whole = sent - sent % 16384
        got = await in_thread(collect, client, whole)
        self.assertEqual(got, data[:whole])

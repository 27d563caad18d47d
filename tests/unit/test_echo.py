"""
L{twisted_echo.echo}: what clients get back, byte for byte.
"""

import socket
from functools import partial
from typing import Any

from twisted.application.service import IService
from twisted.internet import reactor
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.support.clients import (
    TCP,
    FakeEndpoint,
    FullTransport,
    ServedTestCase,
    collect,
    connect,
    in_thread,
    pump,
    read_to_end,
    stick,
    tls,
    tls_endpoint,
    until,
)
from twisted_echo import (
    EchoConfig,
    EchoFactory,
    EchoProtocol,
    EchoService,
    EndReason,
    KeepAlive,
)
from twisted_echo.framing.line_receiver import FastLineOnlyReceiver
from twisted_echo.session.overlong import RefusesOverlong
from twisted_echo.validation.checks import InvalidSetting

PEER = IPv4Address("TCP", "192.0.2.1", 54321)
LINES = b"".join(b"line %d\r\n" % n for n in range(100_000))


class Writes(FullTransport):
    """
    A transport that counts the writes.
    """

    bufferSize = 1 << 20

    def __init__(self) -> None:
        super().__init__(peerAddress=PEER)
        self.writes: list[bytes] = []

    def write(self, data: bytes) -> None:
        super().write(data)
        if data:
            self.writes.append(data)


class ConfigTests(SynchronousTestCase):
    """
    L{EchoConfig} is legal, or is not made.
    """

    def refused(self, message: str, **config: Any) -> None:
        error = self.assertRaises(InvalidSetting, EchoConfig, **config)
        self.assertEqual(str(error), message)
        self.assertEqual(error.field, message.partition(" ")[0])
        self.assertEqual(f"{error.field} {error.problem}", message)

    def test_defaults(self) -> None:
        """
        The defaults reach this machine only, wait for nobody at a stop, and
        abort after five seconds.
        """
        config = EchoConfig()
        self.assertEqual(config.listen, ("tcp:7007:interface=127.0.0.1",))
        self.assertEqual((config.delimiter, config.maxLength), (b"\n", 65536))
        self.assertEqual((config.drain, config.abortAfter), (0, 5))
        self.assertEqual(config.keepAlive, KeepAlive())

    def test_frozen(self) -> None:
        """
        What was validated stays as it is.
        """
        self.assertRaises(AttributeError, setattr, EchoConfig(), "maxLength", 0)

    def test_listen(self) -> None:
        for listen in ("tcp:7007", "", (), []):
            self.refused(
                "listen must be one or more endpoint strings, such as"
                f" ['tcp:7007'], got {listen!r}",
                listen=listen,
            )
        EchoConfig(listen=["tcp:1", "tcp:2"])

    def test_delimiter(self) -> None:
        for delimiter in (b"", "\n", None):
            self.refused(
                f"delimiter must be bytes, one or more, got {delimiter!r}",
                delimiter=delimiter,
            )
        EchoConfig(delimiter=b"\r\n\0")

    def test_maxLength(self) -> None:
        for length in (0, -1, 1.5, "10", None):
            self.refused(
                f"maxLength must be a whole number from 1 up, got {length!r}",
                maxLength=length,
            )
        EchoConfig(maxLength=1)

    def test_drain(self) -> None:
        for seconds in (-1, -0.1, float("inf"), float("nan"), "1", None):
            self.refused(
                f"drain must be a number of seconds, 0 or more, got {seconds!r}",
                drain=seconds,
            )
        EchoConfig(drain=0)
        EchoConfig(drain=0.5)

    def test_abortAfter(self) -> None:
        for seconds in (0, -1, float("inf"), float("nan"), "1", None):
            error = self.assertRaises(ValueError, EchoConfig, abortAfter=seconds)
            self.assertTrue(
                str(error).startswith(
                    "abortAfter must be a number of seconds, more than 0"
                )
            )
            self.assertTrue(str(error).endswith(f", got {seconds!r}"))
        EchoConfig(abortAfter=0.001)

    def test_factory(self) -> None:
        """
        The factory and its sessions are as configured.
        """
        config = EchoConfig(
            delimiter=b"\r\n",
            maxLength=10,
            abortAfter=3,
            keepAlive=None,
        )
        factory = EchoFactory(config, clock=Clock())
        session = factory.buildProtocol(PEER)
        self.assertEqual((session.delimiter, session.MAX_LENGTH), (b"\r\n", 10))
        self.assertEqual((factory.abortAfter, factory.keepAlive), (3, None))
        self.assertIs(factory.config, config)
        self.assertEqual(EchoFactory().config, EchoConfig())

    def test_refusingFactory(self) -> None:
        """
        A factory that is told to build nothing refuses a connection, as
        Twisted's do.
        """

        class Refusing(EchoProtocol):
            def __new__(cls) -> Any:
                return None

        class Factory(EchoFactory):
            def buildProtocol(self, addr: Any) -> Any:
                return super().buildProtocol(addr) if addr else None

        self.assertIs(Factory().buildProtocol(None), None)

    def test_newFraming(self) -> None:
        """
        A receiver that the factory does not know gets the limit of the configuration,
        too.
        """

        class Lines(RefusesOverlong, FastLineOnlyReceiver):
            pass

        class Factory(EchoFactory):
            protocol = Lines

        session: Any = Factory(EchoConfig(maxLength=10)).buildProtocol(PEER)
        self.assertEqual((type(session), session.MAX_LENGTH), (Lines, 10))

    def test_service(self) -> None:
        """
        The service takes endpoints and times from its configuration; the global
        reactor is the default.
        """
        config = EchoConfig(listen=["tcp:7007", "unix:/nowhere"], drain=3.0)
        service = EchoService(config)
        verifyObject(IService, service)
        self.assertEqual(len(service._listeners), 2)
        self.assertEqual(service.grace, 3.0)
        self.assertIs(service.factory.clock, reactor)
        clock, endpoint = Clock(), FakeEndpoint()
        service = EchoService(reactor=clock, endpoints=[endpoint])
        self.assertEqual(len(service._listeners), 1)
        self.assertIs(service.factory.clock, clock)


class EchoTests(SynchronousTestCase):
    """
    L{EchoProtocol} on a fake transport.
    """

    def session(self, **config: Any) -> Any:
        self.clock = Clock()
        self.factory = EchoFactory(EchoConfig(**config), clock=self.clock)
        session = self.factory.buildProtocol(PEER)
        session.makeConnection(Writes())
        return session

    def test_exact(self) -> None:
        """
        Every byte comes back as it came.
        """
        data = b"lf\ncrlf\r\n\n\r\n\0nul\0\n\xff\xfe\n" + bytes(range(256)) + b"\n"
        session = self.session()
        session.dataReceived(data)
        self.assertEqual(session.transport.value(), data)

    def test_everyCut(self) -> None:
        """
        However it is cut; and never more than whole lines.
        """
        data = b"ab\r\n\0\n\xff\n\ncd\n"
        for cut in range(len(data)):
            session = self.session()
            for piece in (data[:cut], data[cut:]):
                session.dataReceived(piece)
                value = session.transport.value()
                self.assertTrue(data.startswith(value))
                self.assertTrue(not value or value.endswith(b"\n"))
            self.assertEqual(session.transport.value(), data)

    def test_oneWrite(self) -> None:
        """
        There is one write for each chunk, however many lines it holds.
        """
        session = self.session()
        session.dataReceived(b"a\n" * 1000)
        session.dataReceived(b"b\n" * 1000 + b"par")
        session.dataReceived(b"tial\nc\n")
        session.dataReceived(b"no line")
        self.assertEqual(
            session.transport.writes,
            [b"a\n" * 1000, b"b\n" * 1000, b"partial\nc\n"],
        )

    def test_rest(self) -> None:
        """
        At end-of-file the unterminated rest comes back too, then end-of-file.
        """
        session = self.session()
        session.dataReceived(b"a\nrest")
        session.readConnectionLost()
        self.assertEqual(session.transport.value(), b"a\nrest")
        self.assertTrue(session.transport.disconnecting)

    def test_restNotTold(self) -> None:
        """
        So it does if a subclass does not tell what it holds.
        """

        class Untold(EchoProtocol):
            def heldInput(self) -> Any:
                return None

        factory = EchoFactory(clock=Clock())
        factory.protocol = Untold
        session: Any = factory.buildProtocol(PEER)
        session.makeConnection(Writes())
        session.dataReceived(b"a\nrest")
        session.readConnectionLost()
        self.assertEqual(session.transport.value(), b"a\nrest")
        self.assertTrue(session.transport.disconnecting)

    def test_delimiters(self) -> None:
        """
        Any delimiter will do.
        """
        for delimiter in (b"\r\n", b"\0", b"aa", b"END"):
            session = self.session(delimiter=delimiter)
            session.dataReceived(b"one" + delimiter + b"t" + delimiter + b"rest")
            self.assertEqual(
                session.transport.value(), b"one" + delimiter + b"t" + delimiter
            )

    def overlong(
        self, *pieces: bytes, sameTurn: bool = False, **config: Any
    ) -> tuple[Any, list[Any]]:
        session = self.session(**config)
        with capturedLogs() as events:
            for piece in pieces:
                session.dataReceived(piece)
                if not sameTurn:
                    self.clock.advance(0)
            self.clock.advance(0)
            if session.transport.halfClosed:
                session.connectionLost(Failure(ConnectionDone()))
        return session, [event for event in events if "reason" in event]

    def assertTold(self, events: list[Any], length: int, orMore: bool) -> None:
        (event,) = events
        more = " or more" if orMore else ""
        self.assertEqual(event["peer"], f"{PEER.host}:{PEER.port}")
        self.assertEqual(event["reason"], "line-too-long")
        self.assertEqual(
            event["detail"],
            f"a line of {length} bytes{more} is over the limit of 10",
        )
        self.assertEqual(event["log_level"], LogLevel.warn)
        self.assertEqual(
            event["log_namespace"], "twisted_echo.session.session_log.SessionLog"
        )

    def test_limit(self) -> None:
        """
        A line of the limit's length and one below it are legal, one above it is
        not; also if the delimiter is split.
        """
        for delimiter in (b"\n", b"\r\n"):
            for length in (9, 10, 11):
                line = b"x" * length + delimiter
                for cut in range(len(line) + 1):
                    session, events = self.overlong(
                        line[:cut], line[cut:], maxLength=10, delimiter=delimiter
                    )
                    legal = length <= 10
                    self.assertEqual(session.transport.value(), line if legal else b"")
                    self.assertEqual(len(events), not legal, (length, cut))
                    self.assertEqual(session.transport.halfClosed, not legal)

    def test_overlongWhole(self) -> None:
        """
        A whole line over the limit: the lines before it are answered, those
        after it not; one event tells who, how long and what the limit is; and
        nothing of it is kept.
        """
        session, events = self.overlong(
            b"ok\nfine\n" + b"x" * 25 + b"\nafter\n", maxLength=10
        )
        self.assertTold(events, 25, orMore=False)
        self.assertEqual(session.transport.value(), b"ok\nfine\n")
        self.assertTrue(session.transport.halfClosed)
        self.assertEqual(session.clearLineBuffer(), b"")

    def test_overlongPartial(self) -> None:
        """
        Likewise for one whose end has not come yet.
        """
        session, events = self.overlong(b"ok\n" + b"x" * 25, maxLength=10)
        self.assertTold(events, 25, orMore=True)
        self.assertEqual(session.transport.value(), b"ok\n")
        self.assertTrue(session.transport.halfClosed)
        self.assertEqual(session.clearLineBuffer(), b"")

    def test_overlongSlowly(self) -> None:
        """
        Likewise for one that comes byte by byte: it is over with the first byte
        that makes it too long.
        """
        pieces = [b"x"] * 11
        _, events = self.overlong(*pieces, maxLength=10)
        self.assertTold(events, 11, orMore=True)
        _, events = self.overlong(*pieces[:-1], maxLength=10)
        self.assertEqual(events, [])

    def test_overlongGoesOn(self) -> None:
        """
        What the client still sends is neither kept nor answered, nor logged.
        """
        session, _ = self.overlong(b"x" * 25, maxLength=10)
        with capturedLogs() as events:
            for _ in range(3):
                session.dataReceived(b"y" * 25 + b"\nafter\n")
        self.assertEqual(events, [])
        self.assertEqual(session.transport.value(), b"")
        self.assertEqual(session.clearLineBuffer(), b"")

    def test_overlongSameTurn(self) -> None:
        """
        Nor what is delivered in the same turn of the reactor, as TLS does with
        the records of one segment.
        """
        session, events = self.overlong(
            b"ok\n", b"x" * 25, b"y" * 25, b"\nafter\n", sameTurn=True, maxLength=10
        )
        self.assertTold(events, 25, orMore=True)
        self.assertEqual(session.transport.value(), b"ok\n")
        self.assertEqual(session.clearLineBuffer(), b"")

    def test_overlongThenEndOfFile(self) -> None:
        """
        End-of-file after an overlong line brings nothing of it back.
        """
        session, _ = self.overlong(b"ok\n" + b"x" * 25, maxLength=10)
        session.readConnectionLost()
        self.assertEqual(session.transport.value(), b"ok\n")
        session.connectionLost(Failure(ConnectionDone()))
        self.assertIs(session.end.reason, EndReason.LINE_TOO_LONG)


class RealEchoTests(ServedTestCase):
    """
    The echo over real connections.
    """

    def echo(self, *endpoints, **config):
        return self.serve(EchoFactory(EchoConfig(**config)), *endpoints)

    async def test_unterminated(self) -> None:
        """
        C{printf hello | nc -N} prints C{hello}.
        """
        client = self.client(self.echo())
        self.assertEqual(await in_thread(pump, client, b"hello"), b"hello")

    async def test_nothing(self) -> None:
        """
        End-of-file alone is answered by end-of-file.
        """
        client = self.client(self.echo())
        client.shutdown(socket.SHUT_WR)
        self.assertEqual(await in_thread(read_to_end, client), b"")

    async def test_small(self) -> None:
        """
        A few bytes and end-of-file in one segment: always complete.
        """
        service = self.echo()

        def many() -> list[bytes]:
            return [
                pump(connect(service.addresses[0]), b"a\nb\nrest") for _ in range(50)
            ]

        self.assertEqual(await in_thread(many), [b"a\nb\nrest"] * 50)

    async def test_large(self) -> None:
        """
        50 MB, end-of-file at once, and a client that starts reading late: all
        comes back.
        """
        data = b"".join(b"%015d\n" % n for n in range(50_000_000 // 16)) + b"rest"
        client = self.client(self.echo())

        def late() -> bytes:
            sent = stick(client, data)
            assert sent < len(data), "the server took all, though nobody read"
            return pump(client, data[sent:])

        got = await in_thread(late)
        # Not `assertEqual`, whose message would be as long.
        self.assertTrue(got == data, f"{len(got)} of {len(data)} bytes")

    async def test_lateButSmall(self) -> None:
        """
        Data and end-of-file both wait in the server's socket before it reads.
        """
        service = self.echo()
        client = self.client(service)
        client.sendall(LINES[:50_000])
        client.shutdown(socket.SHUT_WR)
        got = await in_thread(read_to_end, client)
        self.assertTrue(got == LINES[:50_000], len(got))

    async def test_unix(self) -> None:
        client = self.client(self.echo(f"unix:{self.mktemp()}"))
        got = await in_thread(pump, client, LINES + b"rest")
        self.assertTrue(got == LINES + b"rest", len(got))

    async def test_service(self) -> None:
        """
        L{EchoService}, of its configuration alone, over TCP and UNIX.
        """
        config = EchoConfig(listen=[TCP, f"unix:{self.mktemp()}"], delimiter=b"\r\n")
        service = EchoService(config)
        self.addCleanup(self.end, service)
        service.startService()
        for address in service.addresses:
            got = await in_thread(pump, connect(address), b"a\r\nb\n\r\nrest")
            self.assertEqual(got, b"a\r\nb\n\r\nrest")

    async def test_overlong(self) -> None:
        """
        A client that goes on sending long after its overlong line gets the
        answers to the lines before it, and end-of-file, not a reset.
        """
        service = self.echo(maxLength=1000)
        session, client = await self.session(service)
        data = LINES + b"x" * 20_000_000
        got = await in_thread(partial(pump, client, data, shut=False))
        self.assertTrue(got == LINES, f"{len(got)} of {len(LINES)} bytes")
        await until(lambda: session.end)
        self.assertIs(session.end.reason, EndReason.LINE_TOO_LONG)

    async def test_overlongTLS(self) -> None:
        """
        Over TLS, where one segment is delivered record by record: one event, and
        nothing of the overlong line or of what follows it comes back.
        """
        service = self.echo(tls_endpoint(), maxLength=10)
        session, client = await self.session(service)
        client = await in_thread(tls, client)
        self.addCleanup(client.close)
        with capturedLogs() as events:
            session.transport.transport.pauseProducing()
            for record in (b"ok\n", b"x" * 25, b"y" * 25, b"\nafter\n"):
                client.sendall(record)
            session.transport.transport.resumeProducing()
            got = await in_thread(read_to_end, client)
            await until(lambda: session.end)
        self.assertEqual(got, b"ok\n")
        self.assertEqual(
            [event["reason"] for event in events if "reason" in event],
            ["line-too-long"],
        )


class BoundTests(ServedTestCase):
    """
    What is held for a peer that does not read is bounded.
    """

    # What Twisted's transport takes before it stops its producer, what it reads
    # at once, and a line that is not whole yet.
    BOUND = 65536 + 65536 + (65536 + 1)

    async def test_bound(self) -> None:
        """
        20 MB are sent and not read: what is held stays below the bound, others
        are served meanwhile, and then everything is there.
        """
        peak = 0

        class Measured(EchoProtocol):
            def dataReceived(self, data: bytes) -> Any:
                nonlocal peak
                why = super().dataReceived(data)
                transport = self.transport
                held = 0 if self._held is None else len(self._held)
                sending = len(transport.dataBuffer) - transport.offset
                peak = max(peak, held + sending + transport._tempDataLen)
                return why

        factory = EchoFactory()
        factory.protocol = Measured
        service = self.serve(factory)
        line = bytes(range(32, 127)) * 100 + b"\n"
        data = line * (20_000_000 // len(line))
        client = self.client(service, receive_buffer=65536)
        sent = await in_thread(stick, client, data)
        self.assertLess(sent, len(data))
        (session,) = factory.sessions
        self.assertTrue(session.paused)
        other = connect(service.addresses[0])
        got = await in_thread(pump, other, LINES)
        self.assertTrue(got == LINES, len(got))
        self.assertTrue(session.paused)
        self.assertGreater(peak, 65536)
        self.assertLessEqual(peak, self.BOUND)
        rest = await in_thread(pump, client, data[sent:])
        self.assertTrue(rest == data, f"{len(rest)} of {len(data)} bytes")
        self.assertLessEqual(peak, self.BOUND)

    async def test_slowLine(self) -> None:
        """
        A line that never ends is held up to the limit, and no further.
        """
        session, client = await self.session(self.serve(EchoFactory()))
        client.sendall(b"x" * 65536)
        await until(lambda: session.bytesReceived == 65536)
        self.assertEqual(len(session._held), 65536)
        client.sendall(b"x")
        self.assertEqual(await in_thread(read_to_end, client), b"")
        self.assertIs(session._held, None)

    async def test_collect(self) -> None:
        """
        An interactive client has each answer before it sends the next line.
        """
        _, client = await self.session(self.serve(EchoFactory()))

        def talk() -> None:
            for number in range(100):
                line = b"%d\n" % number
                client.sendall(line)
                assert collect(client, len(line)) == line

        await in_thread(talk)

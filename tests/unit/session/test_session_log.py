"""
L{twisted_echo.session.session_log}: a log that cannot be used against the service.
"""

from dataclasses import dataclass
from typing import Any

from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.task import Clock
from twisted.logger import Logger, LogLevel, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from twisted_echo import EndReason, LogSessions, SessionEnd
from twisted_echo.session.ends.end_reason import EXPECTED_ENDS
from twisted_echo.session.session_log import SessionLog
from twisted_echo.tls.x509 import LONGEST

PEER = IPv4Address("TCP", "192.0.2.1", 7)


@dataclass
class Told:
    """
    A session, as far as the log looks at it.
    """

    peer: Any
    peerSubject: str | None


class SessionLogTests(SynchronousTestCase):
    """
    L{SessionLog}, with an observer of the test's.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.events: list[Any] = []
        logger = Logger(observer=self.events.append)  # type: ignore[arg-type]
        self.patch(SessionLog, "_log", logger)
        self.sessionLog = SessionLog()

    def ended(
        self,
        reason: EndReason,
        detail: str = "",
        peer: Any = PEER,
        subject: str | None = None,
    ) -> None:
        session = Told(peer, subject)
        self.sessionLog.ended(session, SessionEnd(reason, 5, 1.5, detail), self.clock)

    def refused(self, reason: EndReason, detail: str = "", peer: Any = PEER) -> None:
        self.sessionLog.refused(peer, reason, detail, self.clock)

    def told(self) -> list[str]:
        events, self.events[:] = list(self.events), []
        return [str(formatEvent(event)) for event in events]

    def test_ended(self) -> None:
        """
        Who, why, how much and how long; as structured fields too, of which none
        keeps an object.
        """
        self.ended(EndReason.LINE_TOO_LONG, "a line of 7 bytes")
        (event,) = self.events
        fields = {
            "peer": "192.0.2.1:7",
            "reason": "line-too-long",
            "event": "session-ended",
            "detail": "a line of 7 bytes",
            "bytesReceived": 5,
            "bytesSent": None,
            "lines": 0,
            "seconds": 1.5,
            "sampleRate": 1.0,
        }
        self.assertEqual({each: event[each] for each in fields}, fields)
        self.assertEqual(
            self.told(),
            [
                "session of 192.0.2.1:7 ended:"
                " line-too-long (a line of 7 bytes), 5 bytes received,"
                " after 1.5s"
            ],
        )

    def test_subject(self) -> None:
        """
        Whose certificate a client has shown; of others there is nothing.
        """
        self.ended(EndReason.IDLE, subject=r"CN=anna\0A")
        self.ended(EndReason.IDLE, subject="CN=" + "a" * LONGEST)
        self.ended(EndReason.IDLE)
        one, long, without = self.events
        self.assertEqual(one["peerSubject"], r"CN=anna\0A")
        self.assertEqual(len(long["peerSubject"]), LONGEST)
        self.assertNotIn("peerSubject", without)
        told, _, without = self.told()
        self.assertIn(r"session of 192.0.2.1:7 (CN=anna\0A) ended: idle", told)
        self.assertIn("session of 192.0.2.1:7 ended: idle", without)

    def test_subjectUnasked(self) -> None:
        """
        What is not logged is not asked for.
        """
        # (What is asked for what it has not would raise an AttributeError.)
        end = SessionEnd(EndReason.PEER_CLOSED, 5, 1.5)
        self.sessionLog.ended(object(), end, self.clock)  # type: ignore[arg-type]
        self.assertEqual(self.events, [])

    def test_refused(self) -> None:
        self.refused(EndReason.HANDSHAKE_TIMEOUT, "over 10 s")
        self.refused(EndReason.REFUSED_FULL)
        self.assertEqual(
            [event["log_level"] for event in self.events], [LogLevel.warn] * 2
        )
        peer = "192.0.2.1:7"
        self.assertEqual(
            self.told(),
            [
                f"connection from {peer} refused: handshake-timeout (over 10 s)",
                f"connection from {peer} refused: refused-full",
            ],
        )

    def test_levels(self) -> None:
        """
        An offence or a fault is a warning, any other end an information.
        """
        self.sessionLog.sessions = LogSessions.ALL
        for reason in EndReason:
            self.ended(reason)
            (event,) = self.events
            expected = reason in EXPECTED_ENDS
            level = LogLevel.info if expected else LogLevel.warn
            self.assertIs(event["log_level"], level)
            self.events.clear()

    def test_switch(self) -> None:
        """
        All, those with problems, or none; with none no refusals either.
        """
        for sessions, some in (
            (LogSessions.ALL, [1, 1, 1]),
            (LogSessions.PROBLEMS, [0, 1, 1]),
            (LogSessions.NONE, [0, 0, 0]),
        ):
            self.sessionLog = SessionLog(sessions)
            seen = []
            for act in (
                lambda: self.ended(EndReason.PEER_CLOSED),
                lambda: self.ended(EndReason.IDLE),
                lambda: self.refused(EndReason.REFUSED_PEER),
            ):
                act()
                seen.append(len(self.told()))
            self.assertEqual(seen, some)
            self.sessionLog.flush()
            self.assertEqual(self.told(), [])

    def test_fewPerMinute(self) -> None:
        """
        Five of a kind in a minute; the next minute begins with how many more there
        were.
        """
        for act, reason in (
            (self.refused, EndReason.REFUSED_FULL),
            (self.ended, EndReason.IDLE),
        ):
            for _ in range(30):
                act(reason)
                self.clock.advance(1.99)
            self.assertEqual(len(self.told()), 5)
            self.clock.advance(0.31)
            act(reason)
            more, one = self.told()
            self.assertEqual(more, f"{reason.value}: 25 more, not logged one by one")
            self.assertIn(f": {reason.value}", one)

    def test_eachKind(self) -> None:
        """
        Many of one kind do not keep another from the log.
        """
        for _ in range(100):
            self.refused(EndReason.REFUSED_FULL)
        self.told()
        self.refused(EndReason.REFUSED_PEER)
        self.assertEqual(len(self.told()), 1)

    def test_exactlyFive(self) -> None:
        """
        Where nothing was left out, nothing is said of it.
        """
        for _ in range(5):
            self.refused(EndReason.REFUSED_FULL)
        self.assertEqual(len(self.told()), 5)
        self.clock.advance(60)
        self.refused(EndReason.REFUSED_FULL)
        self.assertEqual(len(self.told()), 1)
        self.sessionLog.flush()
        self.assertEqual(self.told(), [])

    def test_allMeansAll(self) -> None:
        """
        Whoever wants every session gets every session, but not every refusal.
        """
        self.sessionLog.sessions = LogSessions.ALL
        for _ in range(20):
            self.ended(EndReason.IDLE)
        self.assertEqual(len(self.told()), 20)
        for _ in range(20):
            self.refused(EndReason.REFUSED_FULL)
        self.assertEqual(len(self.told()), 5)

    def sampled(self, sample: float, *drawn: float) -> SessionLog:
        draw = iter(drawn).__next__
        return SessionLog(LogSessions.ALL, sample, draw)

    def test_sample(self) -> None:
        """
        Of the sessions that end without a problem a share is logged, and each event
        says which.
        """
        self.sessionLog = self.sampled(0.25, 0.0, 0.2499, 0.25, 0.9999, 0.1)
        seen = []
        for _ in range(5):
            self.ended(EndReason.PEER_CLOSED)
            seen.append(len(self.events))
        self.assertEqual(seen, [1, 2, 2, 2, 3])
        self.assertEqual([each["sampleRate"] for each in self.events], [0.25] * 3)
        for line in self.told():
            self.assertTrue(line.endswith(", after 1.5s, sample rate 0.25"), line)

    def test_sampleOfAll(self) -> None:
        """
        With the whole as the sample, nothing is left to chance.
        """
        self.sessionLog = self.sampled(1.0)
        self.ended(EndReason.PEER_CLOSED)
        self.assertEqual([each["sampleRate"] for each in self.events], [1.0])
        self.assertNotIn("sample", self.told()[0])

    def test_alwaysLogged(self) -> None:
        """
        An offence, a fault and an abort are logged whatever the share, and every event
        stands for itself.
        """
        self.sessionLog = self.sampled(0.001, *[0.5] * 5)
        for reason in EndReason:
            self.ended(reason)
        self.assertEqual({each["sampleRate"] for each in self.events}, {1.0})
        told = {each["reason"] for each in self.events}
        self.assertEqual(
            {each.value for each in EndReason} - told,
            {
                *("peer-closed", "half-closed", "local-closed", "stopped"),
                "connection-lost",
            },
        )

    def test_sampleCostsNothing(self) -> None:
        """
        Where no sample is wanted, none is drawn.
        """
        for sessions in LogSessions:
            self.sessionLog = SessionLog(sessions, draw=self.fail)  # type: ignore
            for reason in EndReason:
                self.ended(reason)

    def test_lines(self) -> None:
        """
        How many lines there were, where they were counted.
        """
        end = SessionEnd(EndReason.IDLE, 5, 1.5, bytesSent=4, lines=3)
        self.sessionLog.ended(Told(PEER, None), end, self.clock)
        (line,) = self.told()
        self.assertIn(": idle, 5 bytes received, 4 sent, 3 lines, after 1.5s", line)

    def test_flush(self) -> None:
        """
        What has not been told is, once.
        """
        for _ in range(8):
            self.refused(EndReason.REFUSED_FULL)
        for _ in range(7):
            self.ended(EndReason.IDLE)
        self.told()
        self.sessionLog.flush()
        self.assertEqual(
            self.told(),
            [
                "refused-full: 3 more, not logged one by one",
                "idle: 2 more, not logged one by one",
            ],
        )
        self.sessionLog.flush()
        self.assertEqual(self.told(), [])

    def test_escaped(self) -> None:
        """
        Nothing that a peer may have chosen reaches the log as it is: no newline,
        no control byte, nothing but ASCII, and no format.
        """
        evil = "x\nFAKE \x1b[31m\u202e\x7f{log_system} é"
        peers = [
            IPv4Address("TCP", evil, 7),
            UNIXAddress(evil.encode()),
        ]
        for peer in peers:
            self.ended(EndReason.IDLE, evil, peer)
            self.refused(EndReason.REFUSED_FULL, evil, peer)
        lines = self.told()
        self.assertEqual(len(lines), 4)
        for line in lines:
            self.assertTrue(line.isascii() and line.isprintable(), ascii(line))
            self.assertIn("{log_system}", line)

    def test_cut(self) -> None:
        """
        A path that a peer announces is not told to its end.
        """
        self.refused(EndReason.REFUSED_FULL, peer=UNIXAddress(b"\xff" * 108))
        (line,) = self.told()
        self.assertLess(len(line), 170)

    def test_noPeer(self) -> None:
        self.refused(EndReason.REFUSED_FULL, peer=None)
        self.assertEqual(self.told(), ["connection from None refused: refused-full"])

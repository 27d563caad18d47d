"""
L{twisted_echo.admin.status_page.answers}: what an operator asks first.
"""

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.support.snapshots import filled, observed, seen_worker
from twisted_echo.admin.status_page.answers import (
    Answer,
    Level,
    faults,
    fullest,
    latenessText,
    statusAnswers,
)
from twisted_echo.lifecycle import State
from twisted_echo.metrics import LATENESS_BOUNDS, Histogram, Snapshot

NOW = 1_800_000_000.0


def waits(waited: float, waitsFor: str = "client", peer: str = "192.0.2.1:7") -> Any:
    return {"peer": peer, "waitsFor": waitsFor, "waited": waited, "pending": 2048}


class AnswerTestCase(SynchronousTestCase):
    def answer(
        self, name: str, total: Snapshot | None = None, waiting: Any = (), **more: Any
    ) -> Answer:
        seen = observed(Snapshot() if total is None else total, **more)
        return statusAnswers(seen, waiting, NOW)[name]


class HealthyTests(AnswerTestCase):
    def test_states(self) -> None:
        """
        It is healthy while it listens; each other state has its sentence.
        """
        texts = set()
        for state in State:
            found = self.answer("healthy", state=state.value)
            isListening = state is State.LISTENING
            self.assertEqual(found.word, "Yes" if isListening else "No", state)
            self.assertIs(found.level, Level.GOOD if isListening else Level.BAD)
            texts.add(found.text)
        self.assertEqual(len(texts), len(State))

    def test_draining(self) -> None:
        """
        A stop says how many it waits for.
        """
        found = self.answer("healthy", Snapshot(sessions=1234), state="draining")
        self.assertIn("its sessions end. 1,234 sessions are left.", found.text)

    def test_faults(self) -> None:
        """
        Faults since the start are counted, but do not make the answer worse.
        """
        total = Snapshot(ended={"error": 1200, "idle": 3}, acceptErrors=2)
        workers = {"0": seen_worker(total)}
        found = self.answer("healthy", total, workers=workers)
        self.assertEqual(
            found.text,
            "It listens for connections. Since the start: errors of the program: 1,200,"
            " connections that could not be accepted: 2, restarts of workers: 2.",
        )
        self.assertIs(found.level, Level.GOOD)
        self.assertIn("No faults since the start.", self.answer("healthy").text)

    def test_drainedWorkers(self) -> None:
        """
        A worker that was replaced because somebody asked for it is no fault.
        """
        worker = seen_worker(Snapshot(), restarts={"drained": 4, "killed": 1})
        found = faults(observed(Snapshot(), workers={"0": worker}))
        self.assertEqual(found["restarts of workers"], 1)

    def test_problems(self) -> None:
        """
        A worker that does not listen, and a certificate that ends soon, are.
        """
        workers = {"0": seen_worker(Snapshot()), "1": seen_worker(None)}
        certificates = {
            "old.pem": int(NOW) - 1,
            "soon.pem": int(NOW) + 2 * 86400,
            "fine.pem": int(NOW) + 15 * 86400,
        }
        total = Snapshot(certificates=certificates)
        found = self.answer("healthy", total, workers=workers)
        self.assertEqual(
            found,
            (
                Level.ATTENTION,
                "Partly",
                "It listens for connections. Worker 1 is gone."
                " The certificate in old.pem has expired."
                " The certificate in soon.pem expires in 2d.",
            ),
        )


class FullTests(AnswerTestCase):
    def test_levels(self) -> None:
        for sessions, word, level in (
            (0, "No", Level.GOOD),
            (799, "No", Level.GOOD),
            (800, "Nearly", Level.ATTENTION),
            (1000, "Yes", Level.BAD),
        ):
            found = self.answer("full", Snapshot(sessions=sessions, maxSessions=1000))
            self.assertEqual((found.word, found.level), (word, level), sessions)

    def test_nearest(self) -> None:
        """
        The nearest limit counts, and that of a worker may be nearer than the sum.
        """
        one = Snapshot(maxSessions=10, sessions=9, maxPendingBytes=4096)
        other = Snapshot(maxSessions=10, maxPendingBytes=4096)
        workers = {"0": seen_worker(other), "1": seen_worker(one)}
        found = self.answer("full", one + other, workers=workers)
        self.assertEqual(
            found.text,
            "The nearest limit, sessions and handshakes of worker 1, is used to 90 %:"
            " 9 of 10.",
        )
        usage = fullest(observed(one + other, workers=workers))
        assert usage is not None
        self.assertEqual(usage.share, 0.9)

    def test_refused(self) -> None:
        """
        That it was full before is told, too.
        """
        total = Snapshot(sessions=1, maxSessions=10, refused={"refused-full": 7})
        found = self.answer("full", total)
        self.assertTrue(found.text.endswith("refused because it was full: 7."))
        self.assertEqual(found.word, "No")

    def test_noLimit(self) -> None:
        found = self.answer("full", Snapshot(sessions=5, maxSessions=0))
        self.assertEqual(found, (Level.GOOD, "No", "It has no limit."))


class SlowTests(AnswerTestCase):
    def test_nobody(self) -> None:
        found = self.answer("slow", waiting=[waits(0.9)])
        self.assertEqual((found.word, found.level), ("Nobody", Level.GOOD))

    def test_one(self) -> None:
        for waitsFor, text in (
            ("client", "has not caught up with its answers for 7.5s"),
            ("answer", "has waited 7.5s for an answer of the program"),
            ("input", "has not finished a message for 7.5s"),
        ):
            found = self.answer("slow", waiting=[waits(7.5, waitsFor), waits(0.1)])
            self.assertEqual(found.word, "192.0.2.1:7")
            self.assertTrue(
                found.text.startswith(f"192.0.2.1:7 {text}; 2.0 KiB are held for it.")
            )
            self.assertIs(found.level, Level.ATTENTION)

    def test_many(self) -> None:
        self.assertEqual(self.answer("slow", waiting=[waits(2)] * 9).word, "9 sessions")
        found = self.answer("slow", waiting=[waits(2)] * 10)
        self.assertEqual(found.word, "10 or more sessions")

    def test_lateness(self) -> None:
        for histogram, text in (
            (None, "is not measured yet"),
            (Histogram(LATENESS_BOUNDS), "is not measured yet"),
            (filled(LATENESS_BOUNDS, 0.0), "at most 1ms late 99 % of the time"),
            (
                filled(LATENESS_BOUNDS, *[0.0] * 99, 3.0),
                "at most 1ms late 99 % of the time",
            ),
            (filled(LATENESS_BOUNDS, *[0.0] * 98, 3.0), "at most 5s late 99 %"),
            (filled(LATENESS_BOUNDS, 9.0), "over 5s late more than 1 % of the time"),
        ):
            self.assertIn(text, latenessText(histogram))
            total = Snapshot(lateness=histogram)
            self.assertIn(text, self.answer("slow", total).text)


class EndsTests(AnswerTestCase):
    def test_none(self) -> None:
        self.assertEqual(self.answer("ends").word, "None ended")

    def test_most(self) -> None:
        """
        The most frequent reasons, and at how many ends nothing was cut off.
        """
        ended = {"peer-closed": 940, "idle": 20, "half-closed": 15, "stopped": 5}
        ended |= {"connection-lost": 10, "aborted": 5, "aborted-in-drain": 5}
        found = self.answer("ends", Snapshot(opened=1000, ended=ended))
        self.assertEqual(
            found,
            (
                Level.GOOD,
                "96 % in order",
                "1,000 have ended since the start: peer-closed 94 %, idle 2 %,"
                " half-closed 2 %.",
            ),
        )

    def test_error(self) -> None:
        """
        The program's own faults want to be looked at.
        """
        found = self.answer("ends", Snapshot(opened=1, ended={"error": 1}))
        self.assertEqual((found.level, found.word), (Level.ATTENTION, "0 % in order"))

    def test_workerDied(self) -> None:
        """
        Sessions that a worker had open when it died have no reason, and are counted.
        """
        lost = Snapshot(opened=12, sessions=7)
        found = self.answer("ends", lost)
        self.assertEqual(
            found,
            (Level.ATTENTION, "A worker died", "5 ended with a worker that died."),
        )
        found = self.answer("ends", lost + Snapshot(opened=2, ended={"idle": 2}))
        self.assertEqual(found.word, "0 % in order")
        self.assertIn(": idle 100 %. 5 ended with a worker that died.", found.text)

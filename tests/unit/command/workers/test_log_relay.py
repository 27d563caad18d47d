"""
What a worker logs, on its way to its parent.
"""

import json
from threading import Thread
from typing import Any

from twisted.logger import (
    Logger,
    LogLevel,
    formatEvent,
    formatEventAsClassicLogText,
    globalLogPublisher,
)
from twisted.python import log as legacy
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from twisted_echo.command.workers.log_relay import MOST_PENDING, LogSender, relay


class Unspeakable:
    def __str__(self) -> str:
        raise RuntimeError("no")

    def __repr__(self) -> str:
        raise RuntimeError("no")


class SenderTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.sent: list[str] = []
        self.later: list[Any] = []
        self.sender = LogSender(self.later.append)
        self.log = Logger("worker.part", observer=self.sender)

    def texts(self) -> list[str]:
        return [json.loads(each)["log_text"] for each in self.sent]

    def test_beforeItIsOpen(self) -> None:
        """
        What is logged before there is a channel is sent when there is one.
        """
        self.log.info("one {n}", n=1)
        self.assertEqual(self.sent, [])
        sent = self.sender.whenSent()
        self.assertNoResult(sent)
        self.sender.begin(self.sent.append)
        self.log.info("two {n:.3f}", n=2)
        self.assertEqual(self.texts(), ["one 1", "two 2.000"])
        self.successResultOf(sent)
        self.successResultOf(self.sender.whenSent())

    def test_paused(self) -> None:
        """
        While the channel is full, events wait, in order.
        """
        self.sender.begin(self.sent.append)
        self.sender.pauseProducing()
        for n in range(10):
            self.log.info("{n}", n=n)
        self.assertEqual(self.sent, [])
        self.sender.resumeProducing()
        self.assertEqual(self.texts(), [str(n) for n in range(10)])

    def test_bounded(self) -> None:
        """
        What waits is bounded; what is over is counted, and told when there is room.
        """
        self.sender.begin(self.sent.append)
        self.sender.pauseProducing()
        size = 10_000
        for _ in range(300):
            self.log.info("{text}", text="x" * size)
        dropped = self.sender.dropped
        # Each is there twice: as worded, and as a field.
        self.assertTrue(300 - MOST_PENDING // size < dropped < 300, dropped)
        told: list[Any] = []
        globalLogPublisher.addObserver(told.append)  # type: ignore[arg-type]
        self.addCleanup(globalLogPublisher.removeObserver, told.append)  # type: ignore[arg-type]
        self.sender.resumeProducing()
        self.assertEqual(len(self.sent), 300 - dropped)
        self.assertLess(sum(map(len, self.sent)), MOST_PENDING)
        self.assertEqual(
            [formatEvent(each) for each in told],
            [
                f"{dropped} events were dropped, because they came faster than they can"
                " be logged"
            ],
        )
        self.assertEqual(self.sender.dropped, 0)

    def test_otherThread(self) -> None:
        """
        Another thread does not send: it has the reactor's do it.
        """
        self.sender.begin(self.sent.append)
        thread = Thread(target=lambda: self.log.info("from a thread"))
        thread.start()
        thread.join()
        self.assertEqual(self.sent, [])
        for call in self.later:
            call()
        self.assertEqual(self.texts(), ["from a thread"])

    def test_logsWhileSending(self) -> None:
        """
        What is logged in the course of sending follows.
        """

        def send(text: str) -> None:
            self.sent.append(text)
            if len(self.sent) < 3:
                self.log.info("{n}", n=len(self.sent))

        self.sender.begin(send)
        self.log.info("0")
        self.assertEqual(self.texts(), ["0", "1", "2"])


class RelayTests(SynchronousTestCase):
    """
    An event in the parent's log.
    """

    def setUp(self) -> None:
        self.sent: list[str] = []
        sender = LogSender(lambda call: call())
        sender.begin(self.sent.append)
        self.sender = sender
        self.log = Logger("worker.part", observer=sender)

    def relayed(self) -> dict[str, Any]:
        events: list[Any] = []
        globalLogPublisher.addObserver(events.append)  # type: ignore[arg-type]
        try:
            for text in self.sent:
                relay(3, text)
        finally:
            globalLogPublisher.removeObserver(events.append)  # type: ignore[arg-type]
        (event,) = events
        return dict(event)

    def test_event(self) -> None:
        """
        Level, namespace, time and fields are what they were; the text tells the
        worker, and has the format that it had.
        """
        before: list[Any] = []
        self.log.observer = lambda event: (before.append(event), self.sender(event))  # type: ignore[func-returns-value]
        self.log.warn("{count} for {seconds:.2f} s", count=3, seconds=1.0, more=["x"])
        event = self.relayed()
        self.assertEqual(event["log_level"], LogLevel.warn)
        self.assertEqual(event["log_namespace"], "worker.part")
        self.assertEqual(event["log_time"], before[0]["log_time"])
        self.assertEqual((event["count"], event["more"]), (3, ["x"]))
        self.assertEqual(event["worker"], 3)
        self.assertEqual(formatEvent(event), "[worker 3] 3 for 1.00 s")

    def test_braces(self) -> None:
        """
        What looks like a field, in what was logged, is none.
        """
        self.log.info("{text}", text="{worker} {nothing}")
        event = self.relayed()
        self.assertEqual(formatEvent(event), "[worker 3] {worker} {nothing}")

    def test_failure(self) -> None:
        """
        With its traceback.
        """
        try:
            raise ValueError("broken")
        except ValueError:
            self.log.failure("cannot", failure=Failure())
        event = self.relayed()
        text = formatEventAsClassicLogText(event) or ""
        self.assertIn("[worker.part#critical] [worker 3] cannot", text)
        self.assertIn("ValueError: broken", text)
        # It is logged here, too, as trial sees it.
        self.assertEqual(len(self.flushLoggedErrors()), 1)

    def test_legacy(self) -> None:
        """
        What code of old times logs has its text, too.
        """
        publisher = legacy.LogPublisher(publishPublisher=self.sender)
        publisher.msg("old", "style", system="there")
        event = self.relayed()
        text = formatEventAsClassicLogText(event) or ""
        self.assertIn("[there] [worker 3] old style\n", text)

    def test_notForJSON(self) -> None:
        """
        A field that is no plain value is there as text.
        """
        self.log.info("{a}", a={1}, b=b"\xff", c=Unspeakable())
        event = self.relayed()
        self.assertEqual((event["a"], event["b"]), ("{1}", "\xff"))
        self.assertIn("Unspeakable", event["c"])

    def test_circular(self) -> None:
        """
        A value that cannot be written at all costs the fields, not the event.
        """
        circular: list[Any] = []
        circular.append(circular)
        self.log.error("it is {what}", what=circular, other=1)
        event = self.relayed()
        self.assertEqual(formatEvent(event), "[worker 3] it is [[...]]")
        self.assertEqual(event["log_level"], LogLevel.error)
        self.assertEqual(event["log_namespace"], "worker.part")

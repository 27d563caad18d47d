"""
What a worker and its parent say to each other.
"""

import pickle
import socket
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IReactorSocket

from tests.support.clients import ServedTestCase, until
from twisted_echo.command.workers.channel import (
    Channel,
    GetSessions,
    GetSnapshot,
    Log,
    Reload,
    SetState,
    WorkerSettings,
)
from twisted_echo.echo import EchoConfig


class End(Channel):
    """
    One that remembers what it heard.
    """

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[Any] = []
        self.answer: Any = None
        self.isLost = False

    @GetSnapshot.responder
    def snapshot(self) -> dict[str, Any]:
        return {"snapshot": self.answer}

    @GetSessions.responder
    def sessions(self, after: int, limit: int) -> dict[str, Any]:
        raise RuntimeError(f"no sessions after {after}")

    @Log.responder
    def log(self, event: str) -> dict[str, Any]:
        self.heard.append(event)
        return {}

    @SetState.responder
    def state(self, state: str) -> dict[str, Any]:
        self.heard.append(state)
        return {}

    def lost(self) -> None:
        self.isLost = True


class ChannelTests(ServedTestCase):
    def setUp(self) -> None:
        self.one, self.other = End(), End()
        for end, half in zip((self.one, self.other), socket.socketpair(), strict=True):
            end.open(IReactorSocket(reactor), half)
        self.addCleanup(self._close)

    async def _close(self) -> None:
        self.one.close()
        self.other.close()
        await until(lambda: self.one.isLost and self.other.isLost)

    async def test_anyLength(self) -> None:
        """
        What is longer than AMP's longest value goes over, too.
        """
        for text in ("", "short", "x" * 65535, "y" * 65536, "ä\ud800" * 500_000):
            await self.one.ask(Log, event=text)
            self.other.answer = {"text": text, "number": 1.5, "nothing": None}
            answer = await self.one.ask(GetSnapshot)
            self.assertEqual(answer["snapshot"], self.other.answer)
            self.assertEqual(self.other.heard.pop(), text)

    async def test_order(self) -> None:
        """
        What is said first is heard first.
        """
        for n in range(100):
            await self.one.ask(SetState, state=str(n))
        await self.one.ask(GetSnapshot)
        self.assertEqual(self.other.heard, [str(n) for n in range(100)])

    async def test_failure(self) -> None:
        """
        A request that fails, or that the other end does not know, ends nothing.
        """
        for command, arguments in (
            (GetSessions, {"after": 1, "limit": 2}),
            (Reload, {}),
        ):
            asked: Deferred[Any] = maybeDeferred(self.one.ask, command, **arguments)
            await self.assertFailure(asked, Exception)
        self.other.answer = "still there"
        answer = await self.one.ask(GetSnapshot)
        self.assertEqual(answer, {"snapshot": "still there"})
        self.flushLoggedErrors()

    async def test_lost(self) -> None:
        """
        The other process is gone: what was asked fails, and what is asked.
        """
        self.other.close()
        asked = self.one.ask(GetSnapshot)
        self.one.ask(Log, event="nobody hears it")
        await self.assertFailure(asked, Exception)
        await until(lambda: self.one.isLost)
        await self.assertFailure(self.one.ask(GetSnapshot), Exception)
        self.one.ask(Log, event="nobody hears it")
        self.one.close()

    def test_neverOpened(self) -> None:
        """
        What is asked by a channel that is not open fails, and raises nothing.
        """
        self.failureResultOf(Channel().ask(GetSnapshot), ConnectionDone)

    def test_settings(self) -> None:
        """
        A worker reads what its parent has written.
        """
        settings = WorkerSettings(
            number=1,
            config=EchoConfig(),
            proxyFrom=(),
            isOurs=[True],
            sockets=[2],
            reactor="x",
        )
        self.assertEqual(pickle.loads(pickle.dumps(settings)), settings)

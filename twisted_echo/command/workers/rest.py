"""
The back-logs that no worker deals with when all of them stop.

What must hold: a client that is connected there is served, and its session ended, by
the same rules as one of a worker.
"""

from collections.abc import Container, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from twisted_echo.command.workers.adopted import AdoptedEndpoint
from twisted_echo.command.workers.binding import Bound
from twisted_echo.echo import EchoConfig, EchoService
from twisted_echo.listen import Listening

__all__ = ["Rest"]

_log = Logger()


class Rest(EchoService):
    """
    The service itself, in the parent, which stops as soon as it has started.
    """

    # That it listens and stops for a moment would only confuse.
    _log = Logger(observer=lambda event: None)  # type: ignore[arg-type]

    def __init__(
        self,
        config: EchoConfig,
        reactor: Any,
        listening: Sequence[Listening],
        bound: Sequence[Bound],
        owned: Container[int] | None,
    ) -> None:
        """
        @param listening: the endpoints, for what is above their sockets.
        @param bound: the sockets. Workers that hang may have them still.
        @param owned: the shares that workers deal with; None if no worker deals with
            any, nor with what all of them accept from.
        """
        endpoints = [
            each.over(AdoptedEndpoint(reactor, socket, isOwned=True))
            for each, own in zip(listening, bound, strict=True)
            if own.isOurs
            for share, socket in enumerate(own.sockets)
            if owned is None or (len(own.sockets) > 1 and share not in owned)
        ]
        self._bound = bound
        super().__init__(config, reactor=reactor, endpoints=endpoints)

    def serve(self) -> "Deferred[Any]":
        """
        Accept what waits, end it in order, and close the sockets.

        @return: fires when all of it has ended.
        """
        try:
            self.startService()
        except Exception:
            _log.failure(
                "cannot serve what is left in the back-logs", event="rest-failed"
            )
        stopped = self.stopService()
        # What is not ours, systemd has served by whoever comes next.
        for each in self._bound:
            each.close()
        return stopped

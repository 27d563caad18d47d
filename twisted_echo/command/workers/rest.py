"""
What many processes leave in the back-logs when they stop.

Used by: L{twisted_echo.command.workers.supervisor} alone.

What must hold: who was told that he is connected sees an end-of-file, not a reset.
"""

from collections.abc import Sequence
from dataclasses import replace
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
    The service itself, in the parent, for the moment that its stop takes.
    """

    # That it listens and stops for a moment would only confuse.
    _log = Logger(observer=lambda event: None)  # type: ignore[arg-type]

    def __init__(
        self,
        config: EchoConfig,
        reactor: Any,
        listening: Sequence[Listening],
        bound: Sequence[Bound],
    ) -> None:
        """
        @param listening: the endpoints, for what is above their sockets.
        @param bound: the sockets, which belong to nobody else but to workers that
            accept no more.
        """
        endpoints = [
            each.over(AdoptedEndpoint(reactor, socket, isOwned=True))
            for each, own in zip(listening, bound, strict=True)
            if own.isOurs
            for socket in own.sockets
        ]
        self._bound = bound
        config = replace(config, drain=0.0)
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

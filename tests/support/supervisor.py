"""
A L{Supervisor} on the reactor of the tests, with real workers.
"""

import socket
from typing import Any

from twisted.internet import reactor

from tests.support.clients import (
    ServedTestCase,
    connect,
    in_thread,
)
from twisted_echo import EchoConfig
from twisted_echo.command.workers.hang_detector import HUNG_AFTER
from twisted_echo.command.workers.supervisor import Supervisor
from twisted_echo.endpoints.strings import parseEndpoint

TCP = "tcp:0:interface=127.0.0.1"


class SupervisorTestCase(ServedTestCase):
    def supervisor(
        self,
        *listen: str,
        workers: int = 2,
        hungAfter: float = HUNG_AFTER,
        **more: Any,
    ) -> Supervisor:
        listen = listen or (TCP,)
        config = EchoConfig(listen=listen, abortAfter=1.0, **more)
        listening = [parseEndpoint(reactor, each) for each in listen]
        running: Any = reactor
        supervisor = Supervisor(
            config, running, listening, workers, hungAfter=hungAfter
        )
        self.addCleanup(self.endOf, supervisor)
        return supervisor

    async def endOf(self, supervisor: Supervisor) -> None:
        stopped = supervisor.stopService()
        supervisor.stopNow()
        await stopped

    async def clients(self, supervisor: Supervisor, count: int) -> list[socket.socket]:
        """
        So many clients that are being served.
        """
        clients = []
        for _ in range(count):
            client = connect(supervisor.addresses[0])
            self.addCleanup(client.close)
            clients.append(client)
            client.sendall(b"hello\n")
            self.assertEqual(await in_thread(client.recv, 6), b"hello\n")
        return clients

"""
The echo service in an application of your own, beside other services.

    twistd -ny embed_echo.py

    printf 'hello\\n' | nc -N 127.0.0.1 7008

`EchoService` is a service of Twisted's: it starts and stops with its parent. The parent
waits until every session has ended. The program logs the numbers of the service once a
minute, without any exporter.
"""

from twisted.application.internet import TimerService
from twisted.application.service import Application
from twisted.logger import Logger

from twisted_echo import Deadlines, EchoConfig, EchoService, Limits

log = Logger()


echo = EchoService(
    EchoConfig(
        listen=["tcp:7008:interface=127.0.0.1"],
        maxLength=1024,
        deadlines=Deadlines(idle=30),
        limits=Limits(sessions=1000, sessionsPerPeer=100),
        drain=2,
    )
)


def report() -> None:
    now = echo.snapshot()
    log.info(
        "{sessions} sessions open, {opened} so far, {received} bytes received",
        sessions=now.sessions,
        opened=now.opened,
        received=now.bytesReceived,
    )


# (Twisted's own services are not annotated.)
application = Application("reporting echo")
reports = TimerService(60, report)
reports.setServiceParent(application)
echo.setServiceParent(application)

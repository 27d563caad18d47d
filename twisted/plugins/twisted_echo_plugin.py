"""
Tells C{twistd} and C{twist} of C{echo}.
"""

from twisted.application.reactors import Reactor
from twisted.application.service import ServiceMaker

echo = ServiceMaker(
    "twisted-echo",
    "twisted_echo.tap",
    "Send every line back: a fast echo service that stops without losing a byte.",
    "echo",
)

eager = Reactor(
    "eager",
    "twisted_echo.reactor",
    "epoll(7) with connections that send once in a turn: less work for each message.",
)

eager_asyncio = Reactor(
    "eager-asyncio",
    "twisted_echo.asyncio_reactor",
    "The same connections on asyncio's loop, for programs that use asyncio, too.",
)

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
    "epoll(7) with connections that send at once: less work for each message.",
)

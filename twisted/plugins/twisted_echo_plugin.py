"""
Tells C{twistd} and C{twist} of C{echo}.
"""

from twisted.application.service import ServiceMaker

echo = ServiceMaker(
    "twisted-echo",
    "twisted_echo.tap",
    "Send every line back: a fast echo service that stops without losing a byte.",
    "echo",
)

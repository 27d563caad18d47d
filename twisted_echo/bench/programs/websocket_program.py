"""
WebSocket, with autobahn: a message there, and the same message back.
"""

import importlib
import re
from collections.abc import Sequence
from typing import Any

from twisted_echo.bench.programs.dialogue import DialogueProgram, DialogueStep
from twisted_echo.bench.programs.kind import HOST

MESSAGE = b"a message of some words"
FINAL_TEXT, MASKED = 0x81, 0x80
MASK = b"\x01\x02\x03\x04"

HANDSHAKE = f"""\
GET / HTTP/1.1
Host: {HOST}
Upgrade: websocket
Connection: Upgrade
Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==
Sec-WebSocket-Version: 13

""".replace("\n", "\r\n").encode()
"""
The example of RFC 6455, section 1.3, and its answer.
"""

ACCEPTED = re.compile(
    rb"HTTP/1\.1 101 [^\r]+\r\n(?:[^\r]+\r\n)*"
    rb"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK\+xOo=\r\n(?:[^\r]+\r\n)*\r\n"
)


class WebSocketProgram(DialogueProgram):
    opening = (DialogueStep(HANDSHAKE, ACCEPTED),)

    @property
    def operation(self) -> Sequence[DialogueStep]:
        masked = bytes(
            byte ^ MASK[index % len(MASK)] for index, byte in enumerate(MESSAGE)
        )
        sent = bytes((FINAL_TEXT, MASKED | len(MESSAGE))) + MASK + masked
        return (DialogueStep(sent, bytes((FINAL_TEXT, len(MESSAGE))) + MESSAGE),)

    def factory(self) -> Any:
        # Types are checked without it, too, where no class can have it as its base.
        websocket = importlib.import_module("autobahn.twisted.websocket")

        def echo(self: Any, payload: bytes, isBinary: bool) -> None:
            self.sendMessage(payload, isBinary)

        factory = websocket.WebSocketServerFactory()
        factory.protocol = type(
            "EchoWebSocket", (websocket.WebSocketServerProtocol,), {"onMessage": echo}
        )
        return factory


program = WebSocketProgram()

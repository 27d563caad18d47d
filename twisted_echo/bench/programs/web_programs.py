"""
HTTP with twisted.web: a page in one piece, and one in twenty.
"""

import re
from collections.abc import Sequence

from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from twisted_echo.bench.programs.dialogue import DialogueProgram, DialogueStep
from twisted_echo.bench.programs.kind import HOST

PIECE = b"a piece of the page "
PIECES = 20
PAGE = PIECE * PIECES
CHUNKS = b"%x\r\n%b\r\n" % (len(PIECE), PIECE) * PIECES + b"0\r\n\r\n"
"""
The page in pieces, as chunks of HTTP.
"""

REQUEST = f"GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()


class InOnePiece(Resource):
    isLeaf = True

    def render_GET(self, request: Request) -> bytes:
        return PAGE


class InPieces(Resource):
    """
    Writes the page with one C{request.write} for each piece, in a later turn of the
    reactor, as a page does that waited for something.
    """

    isLeaf = True

    def render_GET(self, request: Request) -> int:
        from twisted.internet import reactor

        reactor.callLater(0, self._write, request)
        return NOT_DONE_YET

    def _write(self, request: Request) -> None:
        for _ in range(PIECES):
            request.write(PIECE)
        request.finish()


class WebProgram(DialogueProgram):
    def __init__(self, resource: type[Resource], body: bytes) -> None:
        self._resource = resource
        self._reply = re.compile(
            rb"HTTP/1\.1 200 OK\r\n(?:[^\r]+\r\n)*\r\n" + re.escape(body)
        )

    @property
    def operation(self) -> Sequence[DialogueStep]:
        return (DialogueStep(REQUEST, self._reply),)

    def factory(self) -> Site:
        return Site(self._resource(), timeout=None)


one_piece = WebProgram(InOnePiece, PAGE)
pieces = WebProgram(InPieces, CHUNKS)

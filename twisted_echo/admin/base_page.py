"""
What the pages of the admin port share: methods, headers, and answers that come later.
"""

from collections.abc import Callable
from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from twisted_echo.admin.status_view import StatusSource

__all__ = ["DeferredPage", "Page", "answerText"]

_HEADERS = {
    "cache-control": "no-store",
    # No page of another site may load what this one shows.
    "cross-origin-resource-policy": "same-origin",
    "x-content-type-options": "nosniff",
}

_log = Logger()

_T = TypeVar("_T")


class Page(Resource):
    """
    A page that answers C{GET} and C{HEAD} only.
    """

    isLeaf = True

    def render(self, request: Request) -> bytes | int:
        for name, value in _HEADERS.items():
            request.setHeader(name, value)
        if request.postpath:
            return answerText(request, 404, "there is nothing below this")
        if request.method not in (b"GET", b"HEAD"):
            request.setHeader(b"allow", b"GET, HEAD")
            return answerText(
                request, 405, "nothing can be done here but to look: GET, HEAD"
            )
        rendered: bytes | int = super().render(request)
        return rendered


def answerText(request: Request, code: int, text: str) -> bytes:
    """
    Answer with one line of text.
    """
    request.setResponseCode(code)
    request.setHeader(b"content-type", b"text/plain; charset=utf-8")
    body = f"{text}\n".encode()
    if request.method == b"HEAD":
        # Twisted would tell the log that it drops a body.
        request.setHeader(b"content-length", b"%d" % len(body))
        return b""
    return body


class DeferredPage(Page):
    """
    A page whose answer comes later.
    """

    def __init__(self, source: StatusSource) -> None:
        super().__init__()
        self._source = source

    def answer(
        self, request: Request, found: "Deferred[_T]", show: Callable[[_T], bytes]
    ) -> int:
        """
        Answer when a value is there, unless the client is gone by then.

        @param show: makes the body of the value.
        """
        gone: list[object] = []
        request.notifyFinish().addBoth(gone.append)

        def failed(failure: Failure) -> bytes:
            _log.failure(
                "cannot show {path}",
                failure,
                event="admin-page-failed",
                path=request.path.decode("ascii", "replace"),
            )
            return answerText(request, 500, "it cannot be shown; the log says why")

        def finish(body: bytes) -> None:
            if not gone:
                request.setHeader(b"content-length", b"%d" % len(body))
                request.write(body)
                request.finish()

        found.addCallback(show).addErrback(failed).addCallback(finish)
        return int(NOT_DONE_YET)

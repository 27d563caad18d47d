"""
The status page for people, and the figures that its script asks for.

  - C{/}: one HTML file with today's figures in it, which needs no JavaScript;
  - C{/status}: the same figures as JSON, for the script of that page alone.

What must hold: nothing is kept here between two requests, so it costs nothing while
it is not open; all that a peer can choose is escaped; the browser runs and loads
nothing but what the file has.
"""

import json
import re
from base64 import b64encode
from collections.abc import Iterable
from functools import cache
from hashlib import sha256
from html import escape
from importlib.resources import files
from typing import Any

from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.web.server import Request

from twisted_echo.admin.base_page import DeferredPage
from twisted_echo.admin.status_page.answers import MOST_WAITING
from twisted_echo.admin.status_page.figures import (
    Detailed,
    Row,
    Share,
    StatusFigures,
    statusFigures,
)
from twisted_echo.admin.status_view import StatusSource

__all__ = ["StatusJSON", "StatusPage"]

_PLACE = re.compile("<!--([a-z]+):([a-z-]+)-->")
"""
Where a figure belongs in the file: its kind, and its name.
"""


@cache
def _file() -> str:
    return (
        files("twisted_echo.admin.status_page").joinpath("page.html").read_text("utf-8")
    )


@cache
def _revision() -> str:
    """
    Tell one version of the file from another.
    """
    return sha256(_file().encode()).hexdigest()[:16]


@cache
def _securityPolicy() -> str:
    """
    Allow the style and the script of the file, its icon, and questions to this server.
    """
    hashes = {}
    for element in "style", "script":
        (text,) = re.findall(f"<{element}>(.*?)</{element}>", _file(), re.DOTALL)
        digest = b64encode(sha256(text.encode()).digest()).decode()
        hashes[element] = f"'sha256-{digest}'"
    return "; ".join(
        (
            "default-src 'none'",
            f"style-src {hashes['style']}",
            f"script-src {hashes['script']}",
            "img-src data:",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        )
    )


def _render(figures: StatusFigures) -> str:
    """
    Put figures into the file.
    """

    def value(place: re.Match[str]) -> str:
        kind, name = place.groups()
        if kind == "text":
            return escape(figures["texts"][name])
        if kind == "level":
            return escape(figures["levels"][name])
        return _rows(figures["tables"][name])

    return _PLACE.sub(value, _file())


def _rows(rows: Iterable[Row]) -> str:
    return "".join(map(_row, rows))


def _row(row: Row) -> str:
    heading, *cells = map(_content, row["cells"])
    if not cells:
        return f'<tr class="none"><th scope="row" colspan="9">{heading}</th></tr>'
    return (
        f'<tr data-key="{escape(row["key"])}"><th scope="row">{heading}</th>'
        + "".join(f"<td>{cell}</td>" for cell in cells)
        + "</tr>"
    )


def _content(cell: str | Share | Detailed) -> str:
    if isinstance(cell, str):
        return escape(cell)
    text = escape(cell["text"])
    if "detail" in cell:
        return f"<span>{text}</span><small>{escape(cell['detail'])}</small>"
    bar = f'<rect width="{cell["share"]:.2%}"/>'
    return f'<svg class="bar" aria-hidden="true">{bar}</svg><span>{text}</span>'


class _Status(DeferredPage):
    def __init__(self, source: StatusSource, clock: IReactorTime) -> None:
        super().__init__(source)
        self._clock = clock

    def figures(self) -> "Deferred[StatusFigures]":
        """
        Look at the service.
        """
        source = self._source

        async def found() -> StatusFigures:
            # Both at once: each waits up to two seconds for a worker that hangs.
            questions: list[Deferred[Any]] = [
                maybeDeferred(source.observe),
                maybeDeferred(source.waitingSessions, MOST_WAITING),
            ]
            answers: list[Any] = []
            for succeeded, answer in await DeferredList(questions, consumeErrors=True):
                if not succeeded:
                    answer.raiseException()
                answers.append(answer)
            seen, waiting = answers
            now = self._clock.seconds()
            figures = statusFigures(seen, waiting[:MOST_WAITING], now)
            figures["texts"]["revision"] = _revision()
            return figures

        return Deferred.fromCoroutine(found())


class StatusPage(_Status):
    """
    The page.
    """

    def render_GET(self, request: Request) -> int:
        def show(figures: StatusFigures) -> bytes:
            request.setHeader("content-type", "text/html; charset=utf-8")
            request.setHeader("content-security-policy", _securityPolicy())
            request.setHeader("cross-origin-opener-policy", "same-origin")
            request.setHeader("referrer-policy", "no-referrer")
            return _render(figures).encode()

        return self.answer(request, self.figures(), show)


class StatusJSON(_Status):
    """
    Its figures.
    """

    def render_GET(self, request: Request) -> int:
        def show(figures: StatusFigures) -> bytes:
            request.setHeader("content-type", "application/json")
            return json.dumps(figures).encode() + b"\n"

        return self.answer(request, self.figures(), show)

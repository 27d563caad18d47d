"""
The panels of a picture of C{plot}.

One for each case, with the processor time of each server on a logarithmic axis, the
least at the top; and one of latency, for the case in which lines are due at a rate.
"""

from typing import TYPE_CHECKING

from twisted_echo.bench.cases import BY_LINE, Case, servers_of
from twisted_echo.bench.comparison import Comparison
from twisted_echo.bench.drawing import (
    LARGE,
    SMALL,
    Line,
    Panel,
    Point,
    Theme,
    draw_lines,
    draw_points,
)
from twisted_echo.bench.latency import PERCENTILES
from twisted_echo.bench.tables import absence, figure, versions

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Picture"]

WIDTH, ROW = 12.5, 0.27
LABELS, BETWEEN, HEAD = 2.95, 1.2, 1.0
"""
Inches: of the picture, and of a server; for the labels of servers, between two panels,
and above all.
"""

TITLES = {
    "ping-pong": "One line in flight",
    "pipelined": "64 lines in flight",
    BY_LINE: "64 lines in flight, answered line by line",
    "many": "2,000 connections",
    "large": "Lines of 8 KiB",
    "churn": "A connection for each line",
    "steady": "A server that is mostly idle",
}

FEW = ("echo", "line-receiver", "asyncio-raw", "uvloop-raw", "rloop-raw")
"""
The servers whose latency is drawn.
"""


class Picture:
    """
    The panels that a comparison has the data for.
    """

    def __init__(self, comparison: Comparison, theme: Theme) -> None:
        self._comparison = comparison
        self._theme = theme
        self._cases = [
            case
            for case in comparison.cases
            if any(comparison.of(each, case) for each in comparison.labels)
        ]

    def _points(self, case: Case) -> list[Point]:
        comparison = self._comparison
        points = []
        for server in comparison.servers(case):
            value = comparison.cpu(server, case)
            note = absence(comparison, server, case)
            if value is not None:
                note = f"{figure(value.median)} µs"
            label = comparison.labels[server]
            is_ours = server == servers_of(case)[0]
            points.append(Point(server, label, value, note, is_ours))

        def rank(point: Point) -> float:
            return point.value.median if point.value else float("inf")

        return sorted(points, key=rank)

    def _case_panel(self, case: Case) -> Panel:
        def draw(axes: "Axes") -> None:
            draw_points(axes, self._points(case), self._theme)
            self._title(axes, TITLES.get(case.name, case.name), case)
            axes.set_xlabel(
                f"← less is better      µs per {case.unit}",
                loc="left",
                fontsize=SMALL,
            )

        return draw

    def _latency_panel(self, case: Case) -> Panel:
        names = [each for each in PERCENTILES if each != "max"]

        def draw(axes: "Axes") -> None:
            lines = []
            for server in FEW:
                found = [self._comparison.latency(server, case, each) for each in names]
                values = [each.median for each in found if each]
                if values:
                    label = self._comparison.labels[server].partition(" (")[0]
                    is_ours = server == servers_of(case)[0]
                    lines.append(Line(server, label, values, is_ours))
            draw_lines(axes, names, lines, self._theme)
            self._title(axes, "Latency of that server", case)
            axes.set_xlabel(
                "↓ less is better      µs from due until back",
                loc="left",
                fontsize=SMALL,
            )

        return draw

    def _title(self, axes: "Axes", title: str, case: Case) -> None:
        axes.set_title(title, loc="left", fontsize=LARGE, weight="bold", pad=22)
        axes.text(
            0,
            1,
            str(case).partition(": ")[2],
            transform=axes.transAxes,
            va="bottom",
            color=self._theme.quiet,
            fontsize=SMALL,
        )

    def _panels(self) -> list[Panel]:
        panels = [self._case_panel(case) for case in self._cases]
        return panels + [self._latency_panel(case) for case in self._cases if case.rate]

    def draw(self) -> "Figure":
        from matplotlib.figure import Figure

        panels = self._panels()
        rows = (len(panels) + 1) // 2
        most = max(len(self._comparison.servers(case)) for case in self._cases)
        panel_height = most * ROW
        height = rows * (panel_height + BETWEEN) + HEAD
        figure = Figure(figsize=(WIDTH, height), dpi=110)
        grid = figure.add_gridspec(
            rows,
            2,
            left=LABELS / WIDTH,
            right=1 - 0.25 / WIDTH,
            wspace=LABELS / (WIDTH / 2 - LABELS),
            top=1 - (HEAD + 0.6) / height,
            bottom=0.6 / height,
            hspace=BETWEEN / panel_height,
        )
        for at, panel in enumerate(panels):
            row, column = divmod(at, 2)
            panel(figure.add_subplot(grid[row, column]))
        figure.text(
            0.02,
            1 - 0.2 / height,
            "How much processor time an echo server needs",
            va="top",
            fontsize=17,
            weight="bold",
        )
        figure.text(
            0.02,
            1 - 0.58 / height,
            self._facts(),
            va="top",
            color=self._theme.quiet,
            fontsize=SMALL,
            linespacing=1.4,
        )
        return figure

    def _facts(self) -> str:
        made = self._comparison.made
        return (
            f"{versions(self._comparison)}; {made['date']}. Medians of"
            f" {made['rounds']} rounds, with 95 % intervals; all axes are"
            " logarithmic.\nIn orange: ours, on the eager reactor. Raw servers send"
            " back what they get, and know nothing of lines."
        )

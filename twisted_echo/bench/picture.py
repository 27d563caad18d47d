"""
The panels of a picture of C{plot}.

One for each depth, of the processor time per line by size, or as bars if there is
one size only; one of latency percentiles; and one of how the time per line grows
with connections. Points are medians of the rounds.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from twisted_echo.bench.comparison import (
    USUAL_SIZE,
    Case,
    Comparison,
    Run,
    ratio,
    spread,
)
from twisted_echo.bench.drawing import (
    draw_bars,
    draw_lines,
    log_axis,
    number_label,
    size_label,
    ticks,
)
from twisted_echo.bench.errors import BadRequest
from twisted_echo.bench.latency import PERCENTILES
from twisted_echo.bench.servers import OURS, PER_LINE

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Panel = Callable[["Axes"], None]


class Picture:
    """
    The panels that a comparison has the data for.
    """

    def __init__(self, comparison: Comparison) -> None:
        self._comparison = comparison
        cases = comparison.cases
        if not cases:
            raise BadRequest("holds no runs, so there is nothing to draw")
        self._connections = cases[0].connections
        self._size = min(
            (case.size for case in cases), key=lambda size: abs(size - USUAL_SIZE)
        )
        # Ours last, on top of the others.
        labels = comparison.labels
        names = sorted(labels, key=lambda name: (name == OURS, name == PER_LINE))
        self._labels = {name: labels[name] for name in names}

    def panels(self) -> list[Panel]:
        cases = self._comparison.cases
        here = [case for case in cases if case.connections == self._connections]
        depths: dict[int, list[Case]] = {}
        for size in sorted({case.size for case in here}):
            # The most in flight are fewer for long lines, and belong together still.
            ranked = sorted(case for case in here if case.size == size)
            for rank, case in enumerate(ranked):
                depths.setdefault(rank, []).append(case)
        panels: list[Panel] = [
            self._by_size(group) if len(group) > 1 else self._bars(group)
            for group in depths.values()
        ]
        usual = min(case for case in here if case.size == self._size)
        panels.append(self._latencies(usual))
        scaling = [case for case in cases if case[1:] == usual[1:]]
        if len(scaling) > 1:
            panels.append(self._scaling(sorted(scaling)))
        return panels

    def _runs(self, server: str, case: Case) -> list[Run]:
        return self._comparison.of(server, case)

    def _lines(
        self,
        axes: "Axes",
        xs: Sequence[float],
        values: Callable[[str, int], Sequence[float]],
    ) -> None:
        draw_lines(axes, self._labels, xs, values)
        log_axis(axes.yaxis, number_label)

    def _by_size(self, group: list[Case]) -> Panel:
        def draw(axes: "Axes") -> None:
            sizes: list[float] = [case.size for case in group]
            axes.set(xscale="log", yscale="log")
            self._lines(
                axes,
                sizes,
                lambda server, at: [
                    run.cpu_us for run in self._runs(server, group[at])
                ],
            )
            ticks(axes, sizes, size_label)
            axes.set_xlabel("bytes a line")
            axes.set_ylabel("server's processor time, µs a line")
            least, most = group[-1].depth, group[0].depth
            depth = f"{most}" if least == most else f"{most} to {least} (long lines)"
            axes.set_title(f"Processor time by size: {depth} in flight")

        return draw

    def _bars(self, group: list[Case]) -> Panel:
        (case,) = group

        def draw(axes: "Axes") -> None:
            ours = self._runs(OURS, case)
            bars = []
            for server, label in self._labels.items():
                runs = self._runs(server, case)
                value = spread(run.cpu_us for run in runs)
                if value is None:
                    continue
                note = f"{value.median:.3g}"
                against = ratio(ours, runs, lambda run: run.cpu_us)
                if against is not None and server != OURS:
                    note += f"   ours/this {against.median:.2f}"
                bars.append((server, label, value, note))
            draw_bars(axes, bars)
            axes.set_xlabel("server's processor time, µs a line")
            axes.set_title(
                f"Processor time: {size_label(case.size)} a line,"
                f" {case.depth} in flight"
            )

        return draw

    def _latencies(self, case: Case) -> Panel:
        def draw(axes: "Axes") -> None:
            names = list(PERCENTILES)
            places: list[float] = list(range(len(names)))
            axes.set(yscale="log")
            self._lines(
                axes,
                places,
                lambda server, at: [
                    run.latency_us[names[at]] for run in self._runs(server, case)
                ],
            )
            axes.set_xticks(places, names)
            axes.set_ylabel("µs from sent to back")
            axes.set_title(
                f"Latency: {case.connections:,} connections,"
                f" {size_label(case.size)} a line, {case.depth} in flight"
            )

        return draw

    def _scaling(self, group: list[Case]) -> Panel:
        def draw(axes: "Axes") -> None:
            counts: list[float] = [case.connections for case in group]
            axes.set(xscale="log", yscale="log")
            self._lines(
                axes,
                counts,
                lambda server, at: [
                    run.cpu_us for run in self._runs(server, group[at])
                ],
            )
            ticks(axes, counts, number_label)
            axes.set_xlabel("connections")
            axes.set_ylabel("server's processor time, µs a line")
            axes.set_title(
                f"Scaling: {size_label(group[0].size)} a line,"
                f" {group[0].depth} in flight"
            )

        return draw

    def draw(self) -> "Figure":
        from matplotlib.figure import Figure

        panels = self.panels()
        rows = (len(panels) + 1) // 2
        figure = Figure(figsize=(13, 1.6 + 4.6 * rows), dpi=110, layout="constrained")
        grid = figure.add_gridspec(rows, 2)
        handles: dict[str, Artist] = {}
        for at, panel in enumerate(panels):
            row, column = divmod(at, 2)
            is_alone = at == len(panels) - 1 and column == 0
            axes = figure.add_subplot(grid[row, :] if is_alone else grid[row, column])
            panel(axes)
            drawn, labels = axes.get_legend_handles_labels()
            handles |= dict(zip(labels, drawn, strict=True))
        order = [each for each in self._comparison.labels.values() if each in handles]
        figure.legend(
            [handles[each] for each in order],
            order,
            loc="outside lower center",
            ncols=5,
            frameon=False,
        )
        figure.suptitle(f"Echo servers side by side\n{self._facts()}", fontsize=12)
        return figure

    def _facts(self) -> str:
        made = self._comparison.made
        return (
            f"{made.get('python')}, Twisted {made.get('twisted')}, uvloop"
            f" {made.get('uvloop')}, {made.get('date')}; medians of"
            f" {made.get('rounds')} rounds of {made.get('seconds')} s, with the"
            " least and the most"
        )

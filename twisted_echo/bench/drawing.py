"""
How a picture of C{plot} looks: points, lines, axes, colours.

Colours are those of Okabe and Ito, which colour-blind people can tell apart, and none
is needed to read a picture: each point and each line is labelled. Ours are bold.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from twisted_echo.bench.spreads import Spread

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

__all__ = ["DARK", "LIGHT", "Line", "Point", "Theme", "draw_lines", "draw_points"]

SMALL, NORMAL, LARGE = 9.5, 10.5, 13


class Theme(NamedTuple):
    """
    Colours for one kind of background.
    """

    background: str
    text: str
    quiet: str
    grid: str
    ours: str
    twisted: str
    asyncio: str
    uvloop: str
    others: str

    def of(self, server: str) -> str:
        """
        The colour of a server, by its name.
        """
        family = server.partition("-")[0]
        known = {
            "line": self.twisted,
            "asyncio": self.asyncio,
            "uvloop": self.uvloop,
            "rloop": self.others,
            "aiofastnet": self.others,
        }
        return known.get(family, self.ours)

    def settings(self) -> dict[str, object]:
        """
        What matplotlib is told.
        """
        quiet = ("xtick.color", "axes.edgecolor", "axes.labelcolor")
        return {
            "figure.facecolor": self.background,
            "axes.facecolor": self.background,
            "savefig.facecolor": self.background,
            "text.color": self.text,
            "ytick.color": self.text,
            "grid.color": self.grid,
            "font.size": NORMAL,
            "xtick.labelsize": SMALL,
            "ytick.labelsize": SMALL,
            **dict.fromkeys(quiet, self.quiet),
        }


LIGHT = Theme(
    background="#ffffff",
    text="#1a1a1a",
    quiet="#595959",
    grid="#e4e4e4",
    ours="#c04a00",
    twisted="#0072b2",
    asyncio="#00805e",
    uvloop="#a8558a",
    others="#6b6b6b",
)
DARK = Theme(
    background="#0d1117",
    text="#e6edf3",
    quiet="#9aa4af",
    grid="#252c35",
    ours="#ff9b45",
    twisted="#56b4e9",
    asyncio="#2fc79a",
    uvloop="#e29ac6",
    others="#b9c1ca",
)


class Point(NamedTuple):
    """
    One point of a picture, or the reason why it is missing.

    @ivar value: None, if there is none.
    @ivar note: what is written beside it.
    """

    server: str
    label: str
    value: Spread | None
    note: str
    is_ours: bool


class Line(NamedTuple):
    server: str
    label: str
    values: list[float]
    is_ours: bool


def figure_label(value: float, _: object = None) -> str:
    return f"{value:,.10g}"


def log_axis(axis: "Axis") -> None:
    """
    Label a logarithmic axis with plain numbers.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=12))
    axis.set_major_formatter(FuncFormatter(figure_label))
    axis.set_minor_formatter(NullFormatter())
    axis.set_tick_params(which="both", length=0)


def bare(axes: "Axes") -> None:
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.set_axisbelow(True)


def draw_points(axes: "Axes", points: Sequence[Point], theme: Theme) -> None:
    """
    Draw a point for each server on a logarithmic axis, with its interval, the first at
    the top.
    """
    values = [each.value for each in points if each.value]
    least = min(each.least for each in values)
    most = max(each.most for each in values)
    axes.set_xscale("log")
    # At least a factor of three, so that small differences look small; and room for the
    # notes.
    span = max(most / least, 3.0)
    left = least / span**0.08
    axes.set_xlim(left, left * span**1.38)
    for at, each in enumerate(points):
        color = theme.of(each.server)
        if each.value is None:
            axes.text(left, at, f"  {each.note}", va="center", color=theme.quiet)
            continue
        low, middle, high = each.value.least, each.value.median, each.value.most
        axes.hlines(at, left, middle, color=theme.grid, linewidth=2.2, zorder=1)
        axes.hlines(at, low, high, color=color, linewidth=2.4, zorder=2)
        size = 95 if each.is_ours else 48
        axes.scatter(middle, at, s=size, color=color, zorder=3, linewidth=0)
        weight = "bold" if each.is_ours else "normal"
        axes.annotate(
            each.note,
            (high, at),
            xytext=(8, 0),
            textcoords="offset points",
            va="center",
            weight=weight,
            color=color if each.is_ours else theme.text,
        )
    axes.set_yticks(range(len(points)), [each.label for each in points])
    for text, each in zip(axes.get_yticklabels(), points, strict=True):
        if each.is_ours:
            text.set(weight="bold", color=theme.ours)
    axes.set_ylim(len(points) - 0.4, -0.6)
    log_axis(axes.xaxis)
    axes.grid(axis="x", linewidth=0.8)
    bare(axes)


def draw_lines(
    axes: "Axes", places: Sequence[str], lines: Sequence[Line], theme: Theme
) -> None:
    """
    Draw a line for each server, labelled at its end, on a logarithmic axis.
    """
    axes.set_yscale("log")
    at = range(len(places))
    for each in lines:
        axes.plot(
            at,
            each.values,
            color=theme.of(each.server),
            marker="o",
            linewidth=3.2 if each.is_ours else 1.6,
            markersize=8 if each.is_ours else 5,
            zorder=3 if each.is_ours else 2,
        )
    log_axis(axes.yaxis)
    axes.set_xticks(at, places)
    # Room for the labels.
    axes.set_xlim(-0.15, (len(places) - 1) * 1.95)
    axes.grid(axis="y", linewidth=0.8)
    bare(axes)
    _label_ends(axes, lines, theme)


def _label_ends(axes: "Axes", lines: Sequence[Line], theme: Theme) -> None:
    """
    Write each line's label beside its end, below the one above.
    """
    low, high = axes.get_ylim()
    height = (high / low) ** 0.085
    limit = high
    for each in sorted(lines, key=lambda line: -line.values[-1]):
        wanted = min(each.values[-1], limit / height)
        limit = wanted
        axes.annotate(
            each.label,
            (len(each.values) - 1, wanted),
            xytext=(12, 0),
            textcoords="offset points",
            va="center",
            color=theme.of(each.server),
            weight="bold" if each.is_ours else "normal",
        )


Panel = Callable[["Axes"], None]

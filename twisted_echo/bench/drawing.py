"""
How a picture of C{plot} looks: lines, bars, axes, colours.

Colours are those of Okabe and Ito, which colour-blind people can tell apart; what
shares a colour differs by marker and dashes. Ours are thick and on top.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from twisted_echo.bench.comparison import Spread, spread
from twisted_echo.bench.servers import OURS, PER_LINE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis


class Style(NamedTuple):
    color: str
    marker: str
    dashes: str


STYLES = {
    OURS: Style("#D55E00", "o", "-"),
    PER_LINE: Style("#E69F00", "s", "-"),
    "line-receiver": Style("#0072B2", "s", "--"),
    "line-only-receiver": Style("#56B4E9", "D", "--"),
    "asyncio-raw": Style("#009E73", "o", "-"),
    "asyncio-lines": Style("#009E73", "s", "--"),
    "asyncio-streams": Style("#009E73", "^", ":"),
    "uvloop-raw": Style("#CC79A7", "o", "-"),
    "uvloop-lines": Style("#CC79A7", "s", "--"),
    "uvloop-streams": Style("#CC79A7", "^", ":"),
}
OTHER = Style("#555555", "x", "-.")


def size_label(size: float, _: object = None) -> str:
    """
    Write a size as people do: 64 B, 8 KiB.
    """
    if size >= 1024 and size % 1024 == 0:
        return f"{size / 1024:g} KiB"
    return f"{size:g} B"


def number_label(value: float, _: object = None) -> str:
    return f"{value:,.10g}"


def draw_lines(
    axes: "Axes",
    labels: Mapping[str, str],
    xs: Sequence[float],
    values: Callable[[str, int], Sequence[float]],
) -> None:
    """
    Draw a line for each server, with how far its rounds spread.

    @param labels: the servers, those last that are to be on top.
    @param values: of a server at an index of C{xs}, one for each round.
    """
    for server, label in labels.items():
        spreads = [spread(values(server, index)) for index in range(len(xs))]
        points = [
            (x, each) for x, each in zip(xs, spreads, strict=True) if each is not None
        ]
        if not points:
            continue
        draw_line(axes, server, label, points)
    axes.grid(True, which="major", color="#dddddd", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)


def draw_line(
    axes: "Axes", server: str, label: str, points: Sequence[tuple[float, Spread]]
) -> None:
    style = STYLES.get(server, OTHER)
    ours = server in (OURS, PER_LINE)
    at = [x for x, _ in points]
    axes.plot(
        at,
        [each.median for _, each in points],
        label=label,
        color=style.color,
        marker=style.marker,
        linestyle=style.dashes,
        linewidth=3.2 if server == OURS else 2.2 if ours else 1.3,
        markersize=8 if server == OURS else 6 if ours else 4.5,
        zorder=4 if server == OURS else 3 if ours else 2,
    )
    least = [each.least for _, each in points]
    most = [each.most for _, each in points]
    if ours:
        axes.fill_between(at, least, most, color=style.color, alpha=0.2, linewidth=0)
    else:
        axes.vlines(at, least, most, color=style.color, alpha=0.6)


def draw_bars(axes: "Axes", bars: Sequence[tuple[str, str, Spread, str]]) -> None:
    """
    Draw a bar for each server: its name, its label, its value, and a note on it.
    """
    for at, (server, _, value, note) in enumerate(bars):
        axes.barh(
            at,
            value.median,
            xerr=[[value.median - value.least], [value.most - value.median]],
            color=STYLES.get(server, OTHER).color,
            alpha=1.0 if server in (OURS, PER_LINE) else 0.6,
            ecolor="#333333",
            capsize=2,
        )
        axes.text(value.most, at, f" {note}", va="center", fontsize=8)
    axes.set_yticks(range(len(bars)), [label for _, label, _, _ in bars])
    for text, bar in zip(axes.get_yticklabels(), bars, strict=True):
        text.set_fontweight("bold" if bar[0] == OURS else "normal")
    # Room for the notes.
    axes.set_xlim(0, max(value.most for _, _, value, _ in bars) * 1.45)
    axes.spines[["top", "right"]].set_visible(False)


def log_axis(axis: "Axis", label: Callable[[float, object], str]) -> None:
    """
    Make an axis logarithmic, with labels in plain numbers.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=12))
    axis.set_major_formatter(FuncFormatter(label))
    axis.set_minor_formatter(NullFormatter())


def ticks(axes: "Axes", at: Sequence[float], label: Callable[[float], str]) -> None:
    axes.set_xticks(at, [label(each) for each in at])
    axes.tick_params(axis="x", which="minor", bottom=False, labelbottom=False)

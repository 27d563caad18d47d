"""
The output for people: a progress bar on standard error, tables on standard output.
"""

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

WIDTH = 250

Show = Callable[[float, str], None]
"""
Takes the share that is done, from 0 to 1, and a few words on it.
"""


@contextlib.contextmanager
def progress_bar(what: str, wanted: bool | None) -> Iterator[Show]:
    """
    Show a progress bar while the block runs.

    @param wanted: C{None} for: on a terminal only.
    """
    if wanted is None:
        wanted = sys.stderr.isatty()
    if not wanted:
        yield lambda share, words: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[words]}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(what, total=1.0, words="")
        yield lambda share, words: progress.update(
            task, completed=min(share, 1.0), words=words
        )
        progress.update(task, completed=1.0)


def print_table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]
) -> None:
    """
    Print a table whose first column is text and whose others are numbers.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for index, column in enumerate(columns):
        justify: Literal["left", "right"] = "right" if index else "left"
        table.add_column(column, justify=justify, no_wrap=True)
    for row in rows:
        table.add_row(*row)
    # As wide as it needs, be the terminal as it may: a number cut short is none.
    console = Console(width=WIDTH, color_system=None, highlight=False)
    with console.capture() as capture:
        console.print(table)
    lines = [line.rstrip() for line in capture.get().splitlines()]
    print(title, *filter(None, lines), "", sep="\n")


def print_markdown(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]
) -> None:
    """
    Print the same as Markdown.
    """
    rule = ["---", *("--:" for _ in columns[1:])]
    lines = [f"| {' | '.join(each)} |" for each in (columns, rule, *rows)]
    print(f"{title}:", "", *lines, "", sep="\n")


def microseconds(value: float | None) -> str:
    """
    Write a time so that its three first digits can be read.
    """
    if value is None:
        return "-"
    for unit, size in (("s", 1e6), ("ms", 1e3)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.3g} µs"

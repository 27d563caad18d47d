"""
The tables of what C{compare} has measured.

Pure. All documents that quote a comparison get their figures from here, by the command
C{tables}, so that they are those of one run.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from twisted_echo.bench.cases import BY_LINE, CASES, Case, servers_of
from twisted_echo.bench.comparison import Comparison
from twisted_echo.bench.spreads import Spread

__all__ = ["PARTS", "Table", "case_tables"]

PERCENTILES = ("p50", "p99", "p99.9")


class Table(NamedTuple):
    """
    One column of text, and others of numbers.
    """

    title: str
    columns: list[str]
    rows: list[list[str]]

    def __str__(self) -> str:
        """
        Write it as Markdown, without its title.
        """
        rule = ["---", *("--:" for _ in self.columns[1:])]
        lines = (self.columns, rule, *self.rows)
        return "\n".join(f"| {' | '.join(each)} |" for each in lines)


def figure(value: float) -> str:
    """
    Write a number so that its first three digits can be read.
    """
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.{1 if value >= 10 else 2 if value >= 1 else 3}f}"


def ratio_figure(value: float) -> str:
    return f"{value:.{2 if value >= 0.1 else 3}f}"


def with_interval(spread: Spread | None, show: Callable[[float], str]) -> str:
    if spread is None:
        return ""
    least, most = show(spread.least), show(spread.most)
    if least == most:
        return show(spread.median)
    return f"{show(spread.median)} ({least}-{most})"


def absence(comparison: Comparison, server: str, case: Case) -> str:
    """
    A word on why a server has no figure.
    """
    if comparison.has_failed(server, case):
        return "fails"
    return "not measured"


def _row(comparison: Comparison, server: str, case: Case) -> list[str]:
    cpu = comparison.cpu(server, case)
    label = comparison.labels[server]
    if cpu is None:
        why = absence(comparison, server, case)
        return [label, why, "", *("" for _ in _percentiles(case))]
    is_ours = server == servers_of(case)[0]
    ratio = None if is_ours else comparison.ratio(server, case)
    latencies = [comparison.latency(server, case, each) for each in _percentiles(case)]
    return [
        label,
        figure(cpu.median),
        with_interval(ratio, ratio_figure),
        *(figure(each.median) if each else "" for each in latencies),
    ]


def _percentiles(case: Case) -> tuple[str, ...]:
    return PERCENTILES if case.rate else ()


def case_table(comparison: Comparison, case: Case) -> Table:
    """
    One case, the fastest server first, those without figures last.
    """

    def rank(server: str) -> float:
        cpu = comparison.cpu(server, case)
        return cpu.median if cpu else float("inf")

    columns = ["server", f"µs/{case.unit}", "ours/this"]
    columns += [f"{each}, µs" for each in _percentiles(case)]
    servers = sorted(comparison.servers(case), key=rank)
    return Table(str(case), columns, [_row(comparison, each, case) for each in servers])


def case_tables(comparison: Comparison) -> list[Table]:
    return [case_table(comparison, each) for each in comparison.cases]


def summary_table(comparison: Comparison) -> Table:
    """
    Ours over theirs in all cases but by-line, without intervals: a row for each server
    that is not ours, and the first for ours, in microseconds.
    """
    cases = [each for each in comparison.cases if each.name != BY_LINE]
    rows = []
    for server in dict.fromkeys(
        name for case in cases for name in comparison.servers(case)
    ):
        cells = []
        for case in cases:
            cpu, ratio = comparison.cpu(server, case), comparison.ratio(server, case)
            if cpu is None:
                cells.append(absence(comparison, server, case))
            elif server == servers_of(case)[0]:
                cells.append(f"{figure(cpu.median)} µs")
            else:
                cells.append(ratio_figure(ratio.median) if ratio else "")
        rows.append([comparison.labels[server], *cells])
    return Table("summary", ["server", *(each.name for each in cases)], rows)


def _summary(comparison: Comparison) -> str:
    return str(summary_table(comparison))


def _by_line(comparison: Comparison) -> str:
    cases = [each for each in comparison.cases if each.name == BY_LINE]
    return "\n\n".join(str(case_table(comparison, each)) for each in cases)


def _cases(comparison: Comparison) -> str:
    tables = case_tables(comparison)
    return "\n\n".join(f"**{table.title}**\n\n{table}" for table in tables)


def _headline(comparison: Comparison) -> str:
    """
    One sentence on what a line costs, by our receiver and by Twisted's.
    """
    case = CASES[BY_LINE]
    ours, theirs = (
        comparison.cpu(server, case) for server in ("fast-lines", "line-receiver")
    )
    if ours is None or theirs is None:
        return ""
    return (
        f"With `FastLineReceiver` and the eager reactor, a line takes"
        f" **{figure(ours.median)} µs** of processor time. With Twisted's"
        f" `LineReceiver` and reactor, it takes {figure(theirs.median)} µs."
    )


def versions(comparison: Comparison) -> str:
    """
    The versions of Python and of the libraries that were measured.
    """
    made = comparison.made
    libraries = [
        f"{each} {made[each]}"
        for each in ("uvloop", "rloop", "aiofastnet")
        if made.get(each, "not installed") != "not installed"
    ]
    return ", ".join([f"{made['python']}, Twisted {made['twisted']}", *libraries])


def _facts(comparison: Comparison) -> str:
    made = comparison.made
    return (
        f"{made['date']}: {versions(comparison)}; {made['rounds']} rounds of"
        f" {made['seconds']} s; `twistd echo` is {made['implementation']}."
    )


PARTS: Mapping[str, Callable[[Comparison], str]] = {
    "facts": _facts,
    "headline": _headline,
    "summary": _summary,
    "by-line": _by_line,
    "cases": _cases,
}
"""
What a document can have of a comparison, by name: Markdown.
"""

"""
What is printed of comparisons, and written as JSON.
"""

from collections.abc import Iterator
from typing import Any

from tests.compatibility.comparison import Difference, Verdict
from tests.compatibility.pairs import Comparison

__all__ = ["as_json", "as_text"]


def _outcomes(outcomes: tuple[str, ...]) -> str:
    return " / ".join(dict.fromkeys(outcomes))


def _line(word: str, comparison: Comparison, difference: Difference) -> str:
    stock, eager = comparison.pair
    return (
        f"  {word}: {difference.test}\n"
        f"    {stock}: {_outcomes(difference.stock)}; "
        f"{eager}: {_outcomes(difference.eager)}"
    )


def _lines(comparison: Comparison) -> Iterator[str]:
    stock, eager = comparison.stock, comparison.eager
    differences = comparison.of(Verdict.REAL)
    made = ", ".join(
        f"{name} in {count} processes"
        for run in (stock, eager)
        for name, count in run.reactors.items()
    )
    yield (
        f"{comparison.package} {comparison.version} (Twisted {comparison.twisted}), "
        f"{comparison.pair}: {comparison.tests} tests, {comparison.passed} passed on "
        f"both, {len(differences)} different, {len(comparison.unexpected)} of them "
        f"unexpected; {stock.seconds:.0f} and {eager.seconds:.0f} s; {made}"
    )
    for problem in comparison.problems:
        yield f"  PROBLEM: {problem}"
    for each in differences:
        reason = comparison.reason(each)
        yield _line("DIFFERENT" if reason is None else "expected", comparison, each)
        if reason is not None:
            yield f"    because {reason}"
        else:
            text = comparison.eager.texts.get(each.test, "").strip()
            yield from (f"    | {line}" for line in text.splitlines()[-6:])
    for verdict in (Verdict.ONCE, Verdict.UNSTEADY):
        for each in comparison.of(verdict):
            yield _line(verdict.value, comparison, each)
    for row in comparison.expected_in_vain:
        yield f"  went alike, though it is expected not to: {row.test}"


def as_text(comparison: Comparison) -> str:
    """
    A paragraph for a person.
    """
    return "\n".join(_lines(comparison))


def as_json(comparison: Comparison) -> dict[str, Any]:
    """
    Everything, for a program.
    """
    return {
        "package": comparison.package,
        "version": comparison.version,
        "twisted": comparison.twisted,
        "stock": comparison.pair.stock,
        "eager": comparison.pair.eager,
        "tests": comparison.tests,
        "passed_on_both": comparison.passed,
        "seconds": [comparison.stock.seconds, comparison.eager.seconds],
        "reactors": [comparison.stock.reactors, comparison.eager.reactors],
        "problems": comparison.problems,
        "differences": [
            {
                "test": each.test,
                "verdict": each.verdict.value,
                "reason": comparison.reason(each),
                "stock": each.stock,
                "eager": each.eager,
                "stock_text": comparison.stock.texts.get(each.test, ""),
                "eager_text": comparison.eager.texts.get(each.test, ""),
            }
            for each in comparison.differences
        ],
        "outcomes": [comparison.stock.outcomes, comparison.eager.outcomes],
    }

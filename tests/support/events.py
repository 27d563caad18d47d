"""
What the package logs, found in its source.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import twisted_echo

PACKAGE = Path(twisted_echo.__file__).parent

LEVELS = ("debug", "info", "warn", "error", "critical", "failure")
"""
The methods of a logger that name the level; C{emit} is told it.
"""


@dataclass(frozen=True)
class LogCall:
    """
    One place where an event is logged.

    @ivar place: file and line.
    @ivar level: the method's name.
    @ivar event: the event's name; None if it has none that is written down there.
    @ivar fields: the names of its fields, C{event} not among them.
    @ivar placeholders: the fields that its text has, perhaps not always.
    @ivar words: the text without them, and with what its counts are called, in lower
        case.
    """

    place: str
    level: str
    event: str | None
    fields: tuple[str, ...]
    placeholders: frozenset[str]
    words: str


def log_calls() -> list[LogCall]:
    """
    All of them but those of the benchmarks, which log nothing to any operator.
    """
    return [call for path in sources() for call in calls_in(path.read_text(), path)]


def sources() -> list[Path]:
    return [
        path
        for path in sorted(PACKAGE.rglob("*.py"))
        if "bench" not in path.relative_to(PACKAGE).parts
    ]


def calls_in(source: str, path: Path) -> Iterator[LogCall]:
    """
    The calls of a C{_log}, of a C{log} that was passed as an argument, and of a
    factory's C{logFailure}, in a source text.
    """
    module = ast.parse(source)
    for node in ast.walk(module):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        owner, method = node.func.value, node.func.attr
        name = getattr(owner, "id", getattr(owner, "attr", None))
        if method == "logFailure":
            method = "failure"
        elif name not in ("_log", "log") or method not in (*LEVELS, "emit"):
            continue
        fields = {each.arg: each.value for each in node.keywords if each.arg}
        event = fields.pop("event", None)
        if method == "failure" and isinstance(event, ast.Name):
            # Handed on by `logFailure` itself.
            continue
        fields.pop("failure", None)
        # Those that an event has now and then: `**({} if ... else {"name": ...})`.
        for each in node.keywords:
            if each.arg is None and method != "failure":
                for part in ast.walk(each.value):
                    if isinstance(part, ast.Dict):
                        fields.update(
                            (key.value, value)
                            for key, value in zip(part.keys, part.values, strict=True)
                            if isinstance(key, ast.Constant)
                        )
        text = " ".join(_strings(node.args[method == "emit"], module))
        counted = " ".join(
            each for value in fields.values() for each in _strings(value)
        )
        yield LogCall(
            f"{path.relative_to(PACKAGE)}:{node.lineno}",
            method,
            event.value
            if isinstance(event, ast.Constant) and isinstance(event.value, str)
            else None,
            tuple(fields),
            frozenset(re.findall(r"\{(\w+)\}", text)),
            f"{re.sub(r'{.*?}', '', text)} {counted}".lower(),
        )


def _strings(expression: ast.expr, module: ast.Module | None = None) -> Iterator[str]:
    """
    The texts in an expression, and in what is assigned to the names in it.
    """
    names = set()
    for node in ast.walk(expression):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.Name):
            names.add(node.id)
    for node in ast.walk(module) if module is not None else ():
        if isinstance(node, (ast.Assign, ast.AugAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any(getattr(each, "id", None) in names for each in targets):
                yield from _strings(node.value)


def event_names() -> set[str]:
    """
    The names of all events.
    """
    return {call.event for call in log_calls() if call.event is not None}


def loggers_in(source: str) -> Iterator[str]:
    """
    What the loggers of a source text are called, those left out that are given an
    observer and so are no part of the log.
    """
    for node in ast.walk(ast.parse(source)):
        if (
            isinstance(node, (ast.Assign, ast.AnnAssign))
            and isinstance(node.value, ast.Call)
            and getattr(node.value.func, "id", None) == "Logger"
            and not any(each.arg == "observer" for each in node.value.keywords)
        ):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                yield str(getattr(target, "id", getattr(target, "attr", "?")))

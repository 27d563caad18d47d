"""
All that the status page says of a service at one moment, as values that C{json.dumps}
takes.

Both the page and C{/status} are made of it, so the page's script formats no figure of
the service's own; it computes what changes with time. The numbers are those of
C{/metrics}, by the same table.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypedDict, final

from twisted_echo.admin.prometheus import METRICS
from twisted_echo.admin.status_page.answers import (
    Answer,
    faults,
    fullest,
    statusAnswers,
)
from twisted_echo.admin.status_page.end_meanings import MEANINGS
from twisted_echo.admin.status_page.figure_format import (
    bytesText,
    countText,
    durationText,
    momentText,
    percentText,
)
from twisted_echo.admin.status_page.limit_usage import (
    Usage,
    nearest,
    usages,
    workerUsages,
)
from twisted_echo.metrics import Histogram, Observation, Snapshot, WorkerObservation
from twisted_echo.process_figures import ProcessFigures
from twisted_echo.session.ends.end_reason import EndReason

__all__ = ["Detailed", "Row", "Share", "StatusFigures", "statusFigures"]


@final
class Share(TypedDict):
    """
    A cell with a bar.

    @ivar share: the length of the bar, from 0 to 1.
    @ivar text: the same in words.
    """

    share: float
    text: str


@final
class Detailed(TypedDict):
    """
    A cell with a second line.

    @ivar text: the first one.
    @ivar detail: the second one.
    """

    text: str
    detail: str


class Row(TypedDict):
    """
    A row of a table. One that has a single cell says that there are no others.

    @ivar key: which one, among those of its table.
    @ivar cells: the first is the row's heading.
    """

    key: str
    cells: list[str | Share | Detailed]


class StatusFigures(TypedDict):
    """
    What the page says.

    @ivar time: when, in seconds since 1970.
    @ivar started: when the process began; None if that is not known.
    @ivar total: the metrics of the service, by their names in C{METRICS}.
    @ivar workers: those of each worker.
    @ivar processors: the processor time of each process, by the key of its row.
    @ivar faults: what has gone wrong since the start, and how often.
    @ivar fullest: the nearest limit of all; None if there is no limit.
    @ivar texts: sentences, by their places in the page.
    @ivar levels: how the answers look, by their questions.
    @ivar tables: the rows of each table.
    """

    time: float
    started: float | None
    total: dict[str, Any]
    workers: dict[str, dict[str, Any]]
    processors: dict[str, float]
    faults: dict[str, int]
    fullest: Share | None
    texts: dict[str, str]
    levels: dict[str, str]
    tables: dict[str, list[Row]]


def statusFigures(
    seen: Observation, waiting: Sequence[Mapping[str, Any]], now: float
) -> StatusFigures:
    """
    Make the figures of an observation.

    @param waiting: the sessions that wait, longest first, as C{waitingSessions} of a
        L{StatusSource} returns them.
    @param now: seconds since 1970.
    """
    usage = fullest(seen)
    total = _values(seen.total)
    answers = statusAnswers(seen, waiting, now)
    return StatusFigures(
        time=now,
        started=None if seen.process is None else seen.process.startTime,
        total=total,
        workers={
            name: _values(worker.snapshot or Snapshot())
            for name, worker in seen.workers.items()
        },
        processors=_processors(seen),
        faults=faults(seen),
        fullest=None if usage is None else _share(usage.share),
        texts=_texts(seen, answers, now),
        levels={name: answer.level.value for name, answer in answers.items()},
        tables={
            "limits": _limits(seen, now),
            "waiting": _orNone(
                map(_waiting, waiting), "Nothing is held for a session."
            ),
            "ends": _orNone(_reasons(seen.total.ended), "No session has ended."),
            "refusals": _orNone(
                _reasons(seen.total.refused), "No connection was refused."
            ),
            "lateness": _orNone(_lateness(seen.total.lateness), "It is not measured."),
            "processes": [*_processes(seen)],
            "counts": [*_counts(total)],
        },
    )


def _values(snapshot: Snapshot) -> dict[str, Any]:
    return {metric.name: _plain(metric.read(snapshot)) for metric in METRICS}


def _plain(value: Any) -> Any:
    if isinstance(value, Histogram):
        return {"bounds": value.bounds, "counts": value.counts, "sum": value.sum}
    return dict(value) if isinstance(value, Mapping) else value


def _processors(seen: Observation) -> dict[str, float]:
    processes = {
        "parent" if seen.workers else "this process": seen.process,
        **{f"worker {number}": each.process for number, each in seen.workers.items()},
    }
    return {
        name: process.processorSeconds
        for name, process in processes.items()
        if process is not None
    }


def _texts(
    seen: Observation, answers: Mapping[str, Answer], now: float
) -> dict[str, str]:
    sessions = countText(seen.total.sessions)
    texts = {
        "title": f"{seen.state}, {sessions}"
        f" session{'' if seen.total.sessions == 1 else 's'}: twisted-echo",
        "state": seen.state,
        "build": _build(seen, now),
        "started": "" if seen.process is None else momentText(seen.process.startTime),
        "time": momentText(now),
    }
    for name, answer in answers.items():
        texts |= {f"{name}-word": answer.word, f"{name}-text": answer.text}
    return texts


def _build(seen: Observation, now: float) -> str:
    build = ", ".join(f"{name} {value}" for name, value in seen.build.items())
    if seen.process is None:
        return build
    started = seen.process.startTime
    age = durationText(max(0.0, now - started))
    return f"Started {momentText(started)}, {age} ago: {build}"


def _orNone(rows: Iterable[Row], nothing: str) -> list[Row]:
    return [*rows] or [Row(key="none", cells=[nothing])]


def _share(share: float) -> Share:
    return Share(share=round(min(1.0, share), 4), text=percentText(share))


# Rows


def _limits(seen: Observation, now: float) -> list[Row]:
    certificates = sorted(seen.total.certificates.items(), key=lambda each: each[1])
    return [
        *map(_limit, usages(seen)),
        *(_certificate(file, end, now) for file, end in certificates),
    ]


def _limit(usage: Usage) -> Row:
    name = f"{usage.name} ({usage.owner})" if usage.owner else usage.name
    used, most = usage.text(usage.used), usage.text(usage.limit)
    detail = f"{used} of {most}" if usage.limit else f"{used}; no limit"
    return Row(
        key=usage.name,
        cells=[
            Detailed(text=name.capitalize(), detail=detail),
            _share(usage.share) if usage.limit else "",
        ],
    )


def _certificate(file: str, end: float, now: float) -> Row:
    left = f"{durationText(end - now)} left" if end > now else "expired"
    name = Detailed(text=f"Certificate in {file}", detail=f"until {momentText(end)}")
    return Row(key=file, cells=[name, left])


def _waiting(row: Mapping[str, Any]) -> Row:
    worker = f", worker {row['worker']}" if "worker" in row else ""
    detail = f"waits until {_WAITS[row['waitsFor']]}; {row['state']}{worker}"
    return Row(
        key=f"{row.get('pid', '')}:{row['id']}",
        cells=[
            Detailed(text=row["peer"], detail=detail),
            durationText(row["waited"]),
            bytesText(row["pending"]),
        ],
    )


_WAITS = {
    "client": "the client reads",
    "answer": "the program answers",
    "input": "the client sends the rest",
}


def _reasons(counts: Mapping[str, int]) -> Iterator[Row]:
    """
    The reasons that occurred, the most frequent first.
    """
    total = sum(counts.values())
    for reason, n in sorted(counts.items(), key=lambda each: (-each[1], each[0])):
        if n:
            meaning = Detailed(text=reason, detail=MEANINGS[EndReason(reason)])
            yield Row(key=reason, cells=[meaning, _share(n / total), countText(n)])


def _lateness(lateness: Histogram | None) -> Iterator[Row]:
    if lateness is None:
        return
    names = [f"up to {durationText(each)}" for each in lateness.bounds]
    names.append(f"over {durationText(lateness.bounds[-1])}")
    count = lateness.count or 1
    for name, n in zip(names, lateness.counts, strict=True):
        yield Row(key=name, cells=[name, _share(n / count), countText(n)])


def _processes(seen: Observation) -> Iterator[Row]:
    if not seen.workers:
        yield _process(
            "this process", seen.state, seen.process, seen.total, fullest(seen)
        )
        return
    yield _process("parent", seen.state, seen.process)
    limits = workerUsages(seen)
    for number, worker in seen.workers.items():
        yield _process(
            f"worker {number}",
            worker.state,
            worker.process,
            worker.snapshot,
            nearest(limits[number]),
            _restarts(worker),
        )


def _process(
    name: str,
    state: str,
    process: ProcessFigures | None,
    snapshot: Snapshot | None = None,
    usage: Usage | None = None,
    restarts: str = "",
) -> Row:
    return Row(
        key=name,
        cells=[
            Detailed(text=name, detail=state),
            "" if snapshot is None else countText(snapshot.sessions),
            "" if usage is None else percentText(usage.share),
            restarts,
            "" if process is None else bytesText(process.residentBytes),
            "" if process is None else durationText(process.processorSeconds),
        ],
    )


def _restarts(worker: WorkerObservation) -> str:
    causes = [f"{n} {cause}" for cause, n in worker.restarts.items() if n]
    return ", ".join(causes) or "none"


_COUNTS = (
    ("sessions_opened", "Sessions opened"),
    ("lines_received", "Lines received"),
    ("received_bytes", "Bytes received"),
    ("sent_bytes", "Bytes sent"),
    ("accept_errors", "Connections that could not be accepted"),
    ("tls_handshakes", "TLS handshakes finished"),
    ("tls_handshake_failures", "TLS handshakes failed"),
    ("tls_resumptions", "TLS sessions resumed"),
)
"""
What is counted of the whole service, by the name of its metric.
"""


def _counts(total: Mapping[str, Any]) -> Iterator[Row]:
    for name, text in _COUNTS:
        value = total[name]
        if value is not None:
            number = sum(value.values()) if isinstance(value, dict) else value
            yield Row(key=name, cells=[text, countText(number)])

"""
What an operator asks first, answered in a word and a sentence: is the service healthy,
is it full, who is slow, why did sessions end?

An answer counts from the start of the service. What has happened since a page was
opened, the page itself adds.
"""

from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from typing import Any, NamedTuple

from twisted_echo.admin.status_page.figure_format import (
    bytesText,
    countText,
    durationText,
    percentText,
)
from twisted_echo.admin.status_page.limit_usage import (
    Usage,
    nearest,
    usages,
    workerUsages,
)
from twisted_echo.lifecycle import State
from twisted_echo.metrics import Histogram, Observation, Snapshot
from twisted_echo.session.ends.end_reason import EndReason
from twisted_echo.tls.expiry import WARNS_BEFORE

__all__ = [
    "MOST_WAITING",
    "Answer",
    "Level",
    "faults",
    "fullest",
    "latenessText",
    "statusAnswers",
]

_NEARLY_FULL = 0.8
_SLOW = 1.0
"""
Seconds that a session waits before it is called slow.
"""
_TOP_REASONS = 3
MOST_WAITING = 10
"""
How many of the waiting sessions the page lists.
"""

_STATES = {
    State.IDLE: "It has not been started.",
    State.STARTING: "It starts: it does not accept from every address yet.",
    State.LISTENING: "It listens for connections.",
    State.SUSPENDED: "It is suspended: new connections wait, and sessions go on.",
    State.DRAINING: "It stops: it is no longer ready, and its sessions end.",
    State.STOPPED: "It has stopped.",
}
_IN_ORDER = {
    each.value
    for each in (
        EndReason.PEER_CLOSED,
        EndReason.HALF_CLOSED,
        EndReason.LOCAL_CLOSED,
        EndReason.STOPPED,
    )
}
"""
Ends at which nothing was cut off.
"""
_WAITS = {
    "client": "has not caught up with its answers for {waited}",
    "answer": "has waited {waited} for an answer of the program",
    "input": "has not finished a message for {waited}",
}


class Level(Enum):
    """
    How an answer looks. Its words say the same.
    """

    GOOD = "good"
    ATTENTION = "attention"
    BAD = "bad"


class Answer(NamedTuple):
    """
    The answer to a question.

    @ivar word: the answer in a word or two.
    @ivar text: the reasons.
    """

    level: Level
    word: str
    text: str


def statusAnswers(
    seen: Observation, waiting: Sequence[Mapping[str, Any]], now: float
) -> dict[str, Answer]:
    """
    Answer the questions, by their names: C{healthy}, C{full}, C{slow} and C{ends}.

    @param waiting: the sessions that wait, longest first.
    @param now: seconds since 1970.
    """
    return {
        "healthy": _healthy(seen, now),
        "full": _full(seen),
        "slow": _slow(seen.total, waiting),
        "ends": _ends(seen.total),
    }


def faults(seen: Observation) -> dict[str, int]:
    """
    What has gone wrong in the service itself since the start, and how often.
    """
    restarts = (each.restarts for each in seen.workers.values())
    return {
        "errors of the program": seen.total.ended.get(EndReason.ERROR.value, 0),
        "connections that could not be accepted": seen.total.acceptErrors,
        "restarts of workers": sum(
            n
            for causes in restarts
            for cause, n in causes.items()
            if cause != "drained"
        ),
    }


def fullest(seen: Observation) -> Usage | None:
    """
    The nearest limit of all, those of each worker included; None if there is no limit.
    """
    ofWorkers = [each for own in workerUsages(seen).values() for each in own]
    return nearest([*usages(seen), *ofWorkers])


def latenessText(lateness: Histogram | None) -> str:
    """
    A sentence about how late the reactor is.
    """
    if lateness is None or not lateness.count:
        return "The lateness of the reactor is not measured yet."
    below, enough = 0, 0.99 * lateness.count
    for bound, count in zip(lateness.bounds, lateness.counts, strict=False):
        below += count
        if below >= enough:
            return (
                f"The reactor is at most {durationText(bound)} late 99 % of the time."
            )
    most = durationText(lateness.bounds[-1])
    return f"The reactor is over {most} late more than 1 % of the time."


def _healthy(seen: Observation, now: float) -> Answer:
    state = State(seen.state)
    if state is State.DRAINING:
        number = seen.total.sessions
        verb = "session is" if number == 1 else "sessions are"
        left = f"{_STATES[state]} {countText(number)} {verb} left."
        return Answer(Level.BAD, "No", left)
    if state is not State.LISTENING:
        return Answer(Level.BAD, "No", _STATES[state])
    problems = " ".join(_problems(seen, now))
    if problems:
        return Answer(Level.ATTENTION, "Partly", f"{_STATES[state]} {problems}")
    found = ", ".join(
        f"{what}: {countText(n)}" for what, n in faults(seen).items() if n
    )
    history = f"Since the start: {found}." if found else "No faults since the start."
    return Answer(Level.GOOD, "Yes", f"{_STATES[state]} {history}")


def _problems(seen: Observation, now: float) -> Iterator[str]:
    """
    What is wrong now.
    """
    for name, worker in seen.workers.items():
        if worker.state != State.LISTENING.value:
            yield f"Worker {name} is {worker.state}."
    for file, notAfter in seen.total.certificates.items():
        if notAfter <= now:
            yield f"The certificate in {file} has expired."
        elif notAfter - now < WARNS_BEFORE:
            left = durationText(notAfter - now)
            yield f"The certificate in {file} expires in {left}."


def _full(seen: Observation) -> Answer:
    usage = fullest(seen)
    if usage is None:
        return Answer(Level.GOOD, "No", "It has no limit.")
    level, word = Level.GOOD, "No"
    if usage.share >= 1:
        level, word = Level.BAD, "Yes"
    elif usage.share >= _NEARLY_FULL:
        level, word = Level.ATTENTION, "Nearly"
    owner = f" of {usage.owner}" if usage.owner else ""
    text = (
        f"The nearest limit, {usage.name}{owner}, is used to"
        f" {percentText(usage.share)}: {usage.text(usage.used)} of"
        f" {usage.text(usage.limit)}."
    )
    refused = seen.total.refused.get(EndReason.REFUSED_FULL.value, 0)
    if refused:
        text += f" Connections refused because it was full: {countText(refused)}."
    return Answer(level, word, text)


def _slow(total: Snapshot, waiting: Sequence[Mapping[str, Any]]) -> Answer:
    slow = [row for row in waiting if row["waited"] >= _SLOW]
    service = latenessText(total.lateness)
    if not slow:
        nobody = "No session has waited for over a second."
        return Answer(Level.GOOD, "Nobody", f"{nobody} {service}")
    first, number = slow[0], len(slow)
    what = _WAITS[first["waitsFor"]].format(waited=durationText(first["waited"]))
    most = " or more" if number == len(waiting) >= MOST_WAITING else ""
    return Answer(
        Level.ATTENTION,
        first["peer"] if number == 1 else f"{number}{most} sessions",
        f"{first['peer']} {what}; {bytesText(first['pending'])} are held for it."
        f" {service}",
    )


def _ends(total: Snapshot) -> Answer:
    count = sum(total.ended.values())
    lost = total.opened - count - total.sessions
    cutOff = f" {countText(lost)} ended with a worker that died." if lost > 0 else ""
    if not count:
        if cutOff:
            return Answer(Level.ATTENTION, "A worker died", cutOff.strip())
        return Answer(Level.GOOD, "None ended", "No session has ended since the start.")
    inOrder = sum(n for reason, n in total.ended.items() if reason in _IN_ORDER)
    ordered = sorted(total.ended.items(), key=lambda each: -each[1])
    reasons = ", ".join(
        f"{reason} {percentText(n / count)}" for reason, n in ordered[:_TOP_REASONS]
    )
    isFaulty = total.ended.get(EndReason.ERROR.value, 0) > 0
    return Answer(
        Level.ATTENTION if isFaulty else Level.GOOD,
        f"{percentText(inOrder / count)} in order",
        f"{countText(count)} have ended since the start: {reasons}.{cutOff}",
    )

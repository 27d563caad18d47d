"""
The numbers of a service as a L{Snapshot}, and its open sessions, a page at a time.

This module counts nothing. It reads the counters of others when it is asked.
"""

from itertools import islice
from typing import Any

from twisted_echo.metrics import Snapshot
from twisted_echo.net.addresses import escaped
from twisted_echo.net.tcp_info import tcpState
from twisted_echo.net.transport_queries import hasOutput
from twisted_echo.session.bounds.buffered_memory import heldBytes
from twisted_echo.session.factory import SessionFactory
from twisted_echo.session.session import Session
from twisted_echo.tls.counts import TLSCounts
from twisted_echo.tls.expiry import notAfter
from twisted_echo.tls.x509 import shortened

__all__ = ["MOST_ROWS", "sessionRows", "snapshotOf", "waitingRows"]

MOST_ROWS = 1000
"""
The most sessions in one answer: ten milliseconds' work, or fifty if all clients have
shown certificates.
"""


def snapshotOf(factory: SessionFactory[Any]) -> Snapshot:
    """
    Return the numbers of a factory's sessions, open ones included. It takes less than a
    microsecond for each open session.
    """
    counters = factory.counters
    lines, received, sent = counters.lines, counters.bytesReceived, counters.bytesSent
    pending = 0
    for session in factory.sessions:
        lines += session.linesDelivered
        received += session.bytesReceived
        if sent is not None:
            more = session.bytesSent
            sent = None if more is None else sent + more
        pending += heldBytes(session)
    tls = counters.tls
    return Snapshot(
        opened=counters.opened,
        ended={reason.value: n for reason, n in counters.ended.items()},
        refused={reason.value: n for reason, n in counters.refused.items()},
        linesReceived=lines,
        bytesReceived=received,
        bytesSent=sent,
        durations=counters.durations.copy(),
        sessions=len(factory.sessions),
        handshakes=len(factory.handshakes),
        paused=factory.paused,
        pendingBytes=pending,
        certificates=notAfter(factory.certificates),
        maxSessions=factory.limits.sessions,
        maxPendingBytes=factory.limits.buffered,
        **({} if tls is None else _tlsNumbers(tls)),
    )


def _tlsNumbers(tls: TLSCounts) -> dict[str, Any]:
    return {
        "tlsHandshakes": dict(tls.handshakes),
        "tlsFailures": {failure.value: n for failure, n in tls.failures.items()},
        "tlsResumptions": tls.resumptions,
        "tlsPlainDropped": tls.plainDropped,
        "tlsSeconds": tls.seconds.copy(),
    }


def sessionRows(
    factory: SessionFactory[Any], after: int = 0, limit: int = 100
) -> list[dict[str, Any]]:
    """
    Describe some open sessions, in the order in which they began, by dictionaries that
    C{json.dumps} takes:

      - C{id}: its number, from 1 up;
      - C{peer}: its address, escaped;
      - C{peerSubject}: whose client certificate it has shown, if it has: see
        L{Session}; shortened;
      - C{age}, C{idle}: seconds since it began, and since it sent or received last.
        (Where the kernel does not tell the latter, since it was last seen to have;
        which is looked at with the deadlines.)
      - C{lines}, C{bytesReceived}, C{bytesSent}: see L{Session};
      - C{pending}: bytes that are held for it
        (L{heldBytes<twisted_echo.session.bounds.buffered_memory.heldBytes>}):
        of its input that waits to be answered, and of output that waits to be sent;
      - C{state}: C{open}, C{paused} (its peer does not read), C{half-closed} (its peer
        has sent its last byte), C{closing} or C{aborting}.

    @param after: the number of the last one that is known already.
    @param limit: how many at most; L{MOST_ROWS}, if it is more.
    """
    now, fair = factory.clock.seconds(), factory.fairClock.seconds()
    later = (each for each in factory.sessions if each.serial > after)
    return [_row(each, now, fair) for each in islice(later, min(limit, MOST_ROWS))]


def waitingRows(factory: SessionFactory[Any], limit: int) -> list[dict[str, Any]]:
    """
    Describe the sessions for which most is held, as L{sessionRows} does, the
    longest waiting first. Each has two values more:

      - C{waitsFor}: C{client} (it does not read), C{answer} (of the program), or
        C{input} (the rest of a line or frame, or of what the protocol keeps);
      - C{waited}: for how many seconds, as far as it was seen: the deadlines look a
        few times a second, or every two seconds.

    It costs nothing for the other sessions.

    @param limit: how many at most.
    """
    now, fair = factory.clock.seconds(), factory.fairClock.seconds()
    rows = []
    for session, pausedSince in factory.timeouts.waitingSessions(limit).items():
        row = _row(session, now, fair)
        waitsFor, since = _wait(session, pausedSince)
        waited = row["idle"] if since is None else round(fair - since, 3)
        rows.append({**row, "waitsFor": waitsFor, "waited": waited})
    return sorted(rows, key=lambda row: row["waited"], reverse=True)[:limit]


def _wait(session: Session, pausedSince: float | None) -> tuple[str, float | None]:
    """
    What a session waits for, and since when, by the fair clock; None if that is not
    known.
    """
    seen = session.lastSeen
    if pausedSince is not None:
        return "client", pausedSince
    if hasOutput(session.transport):
        return "client", None if seen is None or seen.output is None else seen.moved
    if session.isAnswering:
        return "answer", None
    held = session.heldInput()
    # (One that began after the last sweep is another line than it has seen.)
    if seen is None or held is None or seen.line is None or seen.line != held[1]:
        return "input", None
    return "input", seen.lineSince


def _row(session: Session, now: float, fair: float) -> dict[str, Any]:
    transport = session.transport
    state = tcpState(transport)
    if state is not None:
        idle = state.quiet
    else:
        idle = now - session.began
        if session.lastSeen is not None:
            idle = fair - session.lastSeen.active
    subject = session.peerSubject
    return {
        "id": session.serial,
        "peer": escaped(session.peer),
        **({} if subject is None else {"peerSubject": shortened(subject)}),
        "age": round(now - session.began, 3),
        "idle": round(min(idle, now - session.began), 3),
        "lines": session.linesDelivered,
        "bytesReceived": session.bytesReceived,
        "bytesSent": session.bytesSent,
        "pending": heldBytes(session),
        "state": _state(session),
    }


def _state(session: Session) -> str:
    if session.isAborted:
        return "aborting"
    if session.isClosing:
        return "closing"
    if session.hasInputEnded:
        return "half-closed"
    return "paused" if session.isPaused else "open"

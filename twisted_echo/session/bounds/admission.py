"""
Which connections may become sessions, and when the ports accept more.

What must hold:

  - while as many sessions are open as are allowed, ports that can be paused do not
    accept, and connections of other ports are refused;
  - every accepted connection counts for its peer, until it has ended.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from enum import Enum
from typing import Any, Protocol

from twisted.internet.interfaces import IAddress

from twisted_echo.session.bounds.limits import Limits, WhenFull, peerKey
from twisted_echo.session.ends.end_reason import EndReason

__all__ = ["Admission", "Gate"]


class Gate(Protocol):
    """
    The ports by which the connections of one factory come in.
    """

    def shut(self) -> bool:
        """
        Stop accepting, until L{reopen}.

        @return: whether that is possible for every port that the factory has.
        """

    def reopen(self) -> None:
        """
        Accept again.
        """


class HasPeer(Protocol):
    """
    What the admission asks of a session.
    """

    @property
    def peer(self) -> IAddress | None: ...


class _Accepting(Enum):
    """
    Whether the ports accept.
    """

    YES = "yes"
    """All of them do."""
    NO = "no"
    """None does: there are enough connections, so others wait in the backlogs."""
    IN_PART = "in part"
    """There are enough connections, but not every port can be paused."""


class _Stage(Enum):
    """
    How far the stop of a service is::

        OPEN -> STOPPING -> REFUSING -> OPEN
    """

    OPEN = "open"
    """It has not begun: connections are accepted."""
    STOPPING = "stopping"
    """No new connections are made; the ones that the kernel has made end in order."""
    REFUSING = "refusing"
    """Time is up: what is left is refused or aborted."""


# An enum's member is slow to look up, and each connection does so several times.
_OPEN, _STOPPING, _REFUSING = _Stage
_YES, _NO, _IN_PART = _Accepting


class Admission:
    """
    Decides which connections of one factory are admitted.
    """

    def __init__(
        self,
        limits: Limits,
        sessions: Collection[HasPeer],
        handshakes: Mapping[Any, IAddress | None],
    ) -> None:
        """
        @param sessions: the sessions that are open.
        @param handshakes: the connections that are to become sessions, each with the
            address of the peer for which it counts; None if that is not known yet.
        """
        self._stage = _OPEN
        self._limits = limits
        self._sessions = sessions
        self._handshakes = handshakes
        self._gate: Gate | None = None
        self._accepting = _YES
        # The peer of each session and handshake that has one, and how many each peer
        # has: only while a limit asks for it.
        self._counted: dict[object, str] = {}
        self._peers: Counter[str] = Counter()
        # What has been sent its end-of-file since the stop began.
        self._leaving: set[object] = set()

    @property
    def limits(self) -> Limits:
        return self._limits

    def setLimits(self, limits: Limits) -> None:
        """
        Replace the limits. The caller then calls L{countChanged}.
        """
        before, self._limits = self._limits, limits
        if not limits.sessionsPerPeer:
            self._counted.clear()
            self._peers.clear()
        elif not before.sessionsPerPeer:
            for session in self._sessions:
                self._count(session, session.peer)
            for handshake, address in self._handshakes.items():
                self._count(handshake, address)

    @property
    def peers(self) -> dict[str, int]:
        """
        The number of connections of each peer that has any, by L{peerKey}; empty
        without a limit for each peer.
        """
        return dict(self._peers)

    @property
    def hasGate(self) -> bool:
        """
        Whether L{setGate} has named the ports by which connections come in.
        """
        return self._gate is not None

    def setGate(self, gate: Gate) -> None:
        """
        Name the ports, where connections wait from now on.
        """
        self._gate = gate

    # The stop

    @property
    def isStopping(self) -> bool:
        """
        Whether the service stops, or has stopped.
        """
        return self._stage is not _OPEN

    def open(self) -> None:
        """
        Accept connections, as before the first stop.
        """
        self._stage = _OPEN

    def beginStop(self) -> None:
        """
        From now on, what has been sent its end-of-file does not count towards the
        limit.
        """
        self._stage = _STOPPING

    def refuseAll(self) -> None:
        """
        Refuse every connection from now on.
        """
        self._stage = _REFUSING

    # The limits

    def isFull(self) -> bool:
        """
        Tell whether there are as many connections as are allowed. At a stop, sessions
        that have been sent their end-of-file do not count.
        """
        most = self._limits.sessions
        count = len(self._sessions) + len(self._handshakes) - len(self._leaving)
        return 0 < most <= count

    def countChanged(self) -> None:
        """
        Make connections wait while the limit is reached, and no longer.
        """
        gate = self._gate
        if gate is None:
            return
        if self.isFull() and self._limits.whenFull is WhenFull.WAIT:
            if self._accepting is _YES:
                canWait = gate.shut()
                self._accepting = _NO if canWait else _IN_PART
        elif self._accepting is not _YES:
            self._accepting = _YES
            gate.reopen()

    def objection(self, address: IAddress | None) -> EndReason | None:
        """
        Return why a connection may not become a session; None if it may.

        @param address: whose it is; None if that is not known yet.
        """
        if self._stage is _REFUSING:
            return EndReason.STOPPED
        # What comes while no port accepts was being accepted together with others.
        limits = self._limits
        if limits.sessions and self._accepting is not _NO and self.isFull():
            return EndReason.REFUSED_FULL
        most = limits.sessionsPerPeer
        if most:
            key = peerKey(address)
            if key is not None and self._peers[key] >= most:
                return EndReason.REFUSED_PEER
        return None

    def endSent(self, connection: object) -> None:
        """
        Record that a peer is being sent its end-of-file: at a stop, another connection
        may take its place.
        """
        if self._stage is not _OPEN:
            self._leaving.add(connection)
            self.countChanged()

    # What comes and goes

    def sessionCame(self, session: HasPeer) -> None:
        """
        Count a session that has come, and is among the sessions already.
        """
        limits = self._limits
        if limits.sessionsPerPeer:
            self._count(session, session.peer)
        if limits.sessions:
            self.countChanged()

    def sessionGone(self, session: HasPeer) -> None:
        """
        A session has gone, and is not among the sessions any more. L{countChanged} is
        to be called, if their number is limited.
        """
        if self._counted or self._leaving:
            self.gone(session)

    def handshakeCame(self, handshake: object) -> None:
        """
        A connection has come that is to become a session, and is among the handshakes
        already.
        """
        if self._limits.sessionsPerPeer:
            self._count(handshake, self._handshakes[handshake])
        self.countChanged()

    def _count(self, connection: object, address: IAddress | None) -> None:
        key = peerKey(address)
        if key is not None:
            self._counted[connection] = key
            self._peers[key] += 1

    def gone(self, connection: object) -> None:
        """
        Stop counting a connection. The caller then calls L{countChanged}, unless
        another connection takes its place.
        """
        self._leaving.discard(connection)
        if self._counted:
            key = self._counted.pop(connection, None)
            if key is not None:
                self._peers[key] -= 1
                if not self._peers[key]:
                    del self._peers[key]

    def forget(self, connection: object) -> None:
        """
        A connection is not waited for any more. It counts for its peer until it has
        gone.
        """
        self._leaving.discard(connection)

"""
Find what a service has left behind, and name it.

A socket counts as the service's if its own end is where the service listens. A delayed
call, or a descriptor in the reactor, counts if it belongs to the service's factory, to
a session or to a port. What a session has opened elsewhere does not count, unless the
reactor is the service's alone.
"""

import os
import socket
import stat
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Protocol

from twisted.internet.interfaces import IFileDescriptor, IReactorFDSet, IReactorTime

from twisted_echo.lifecycle import State
from twisted_echo.net.addresses import readable
from twisted_echo.scheduling.fair_clock import FairCall, FairClock
from twisted_echo.service import SessionService
from twisted_echo.session.factory import SessionFactory
from twisted_echo.session.session import Session

__all__ = ["Footprint", "assertNothingLeft", "leftBehind"]


class Footprint:
    """
    Notes what is open before a service starts, to compare it with what is open after
    the service has stopped.
    """

    def __init__(self, reactor: IReactorTime, *, exclusive: bool = False) -> None:
        """
        @param reactor: the service's C{factory.clock}, whose delayed calls are noted.
        @param exclusive: whether the reactor is the service's alone. Then everything in
            it counts as the service's.
        """
        self.exclusive = exclusive
        self.sockets = _sockets()
        self.selectables = _selectables(reactor)
        self.calls = _calls(reactor)


def assertNothingLeft(service: SessionService, before: Footprint | None = None) -> None:
    """
    Assert that a stopped service has left nothing behind: no session, handshake or
    port, no socket, no descriptor and no delayed call in its reactor; and that its
    sessions have recorded no fault in their code (L{SessionFactory.faults}).

    @param before: taken before it was started.

    @raise AssertionError: names each thing that was left.
    """
    left = leftBehind(service, before)
    if left:
        raise AssertionError("left behind: " + "; ".join(left))


def leftBehind(service: SessionService, before: Footprint | None = None) -> list[str]:
    """
    List what a stopped service has left behind, as L{assertNothingLeft} would name it.
    """
    factory = service.factory
    left = list(factory.faults)
    now, fair = factory.clock.seconds(), factory.fairClock.seconds()
    if service.state not in (State.IDLE, State.STOPPED):
        left.append(f"the service, which is {service.state.value}")
    left += [f"the port {readable(each)}" for each in service.addresses]
    left += [
        f"session {each.serial}, {type(each).__name__}, of {readable(each.peer)},"
        f" {_phase(each)}, since {now - each.began:.3f} s"
        for each in factory.sessions
    ]
    left += [
        f"a handshake, {type(each).__name__}, since {fair - each.began:.3f} s"
        for each in factory.handshakes
    ]
    left += _ownSockets(service, before)
    return left + _leftInReactor(factory, before)


def _leftInReactor(
    factory: SessionFactory[Session], before: Footprint | None
) -> list[str]:
    """
    Delayed calls, and descriptors that the reactor waits for.
    """
    known = () if before is None else before.calls
    everything = before is not None and before.exclusive
    left = []
    for call in _calls(factory.clock):
        owner = getattr(call.func, "__self__", None)
        if call not in known and (everything or _isOf(owner, factory)):
            due = call.getTime() - factory.clock.seconds()
            left.append(f"a delayed call of {_named(call)}, due in {due:.3f} s")
    if before is not None:
        left += [
            f"descriptor {each.fileno()} in the reactor, {each!r}"
            for each in _selectables(factory.clock)
            if each not in before.selectables and (everything or _isOf(each, factory))
        ]
    return left


def _phase(session: Session) -> str:
    if session.isAborted:
        return "aborting"
    if session.isClosing:
        return "closing"
    return "answering" if session.isAnswering else "open"


def _isOf(thing: object, factory: SessionFactory[Session]) -> bool:
    """
    Whether something in a reactor belongs to a service: its port, a connection, a
    session, its timeouts.
    """
    names = ("protocol", "wrappedProtocol", "factory", "wrappedFactory", "_factory")
    while thing is not None and not isinstance(thing, SessionFactory):
        inside = getattr(thing, "__dict__", {})
        thing = next((inside[each] for each in names if each in inside), None)
    return thing is factory


# Delayed calls


class _Call(Protocol):
    """
    A delayed call, of Twisted's or of a L{FairClock}.
    """

    @property
    def func(self) -> Callable[..., object]: ...

    def getTime(self) -> float: ...

    def active(self) -> bool: ...


def _calls(reactor: IReactorTime) -> list[_Call]:
    """
    The calls that wait in a reactor or a C{Clock}, but for trial's own: that of a test
    which takes too long.
    """
    found: list[_Call] = []
    call: Any
    for call in reactor.getDelayedCalls():
        owner = getattr(getattr(call, "func", None), "__self__", None)
        if isinstance(owner, FairCall):
            # The one that the caller has scheduled.
            call = owner
        if not (
            isinstance(owner, FairClock)
            or not call.active()
            or _named(call).startswith("twisted.trial.")
        ):
            found.append(call)
    return found


def _named(call: _Call) -> str:
    function = call.func
    name = getattr(function, "__qualname__", None) or repr(function)
    return f"{getattr(function, '__module__', '?')}.{name}"


# Descriptors


def _selectables(reactor: object) -> list[IFileDescriptor]:
    """
    The descriptors that a reactor waits for, but for its own. (A C{Clock} has none.)
    """
    if not IReactorFDSet.providedBy(reactor):
        return []
    own = getattr(reactor, "_internalReaders", ())
    found = [*reactor.getReaders(), *reactor.getWriters()]
    return [each for each in dict.fromkeys(found) if each not in own]


def _sockets() -> dict[int, int]:
    """
    The sockets that are open, each with what tells one use of its number from another.
    """
    for folder in ("/proc/self/fd", "/dev/fd"):
        if os.path.isdir(folder):
            numbers: Iterable[int] = map(int, os.listdir(folder))
            break
    else:
        numbers = range(1024)
    found = {}
    for number in numbers:
        # (The one by which the folder was read is closed.)
        with suppress(OSError):
            status = os.fstat(number)
            if stat.S_ISSOCK(status.st_mode):
                found[number] = status.st_ino
    return found


def _ownSockets(service: SessionService, before: Footprint | None) -> list[str]:
    """
    Sockets whose own end is where the service listens, or did.
    """
    known = {} if before is None else before.sockets
    places = [
        getattr(each, "port", None) or getattr(each, "name", None)
        for each in service.lastAddresses
    ]
    left = []
    for number, identity in _sockets().items():
        if known.get(number) == identity:
            continue
        with suppress(OSError), _duplicate(number) as duplicate:
            own: tuple[str, int] | str | bytes = duplicate.getsockname()
            place = own[1] if isinstance(own, tuple) else os.fsencode(own)
            if not place or place not in places:
                continue
            peer: object = None
            with suppress(OSError):
                peer = duplicate.getpeername()
            end = "without a peer" if peer is None else f"connected to {peer!r}"
            left.append(f"descriptor {number}, a socket at {own!r} {end}")
    return left


def _duplicate(number: int) -> socket.socket:
    copy = os.dup(number)
    try:
        return socket.socket(fileno=copy)
    except OSError:
        # Another thread has closed it, and its number is that of something else.
        os.close(copy)
        raise

"""
The states of a service, the legal steps between them, and how to wait for two of them.

L{SessionService<twisted_echo.service.SessionService>} has such a lifecycle, and so has
the service of many worker processes. What must hold:

  - the state changes by a step of the table, or not at all;
  - everybody who waits is notified last, when what belongs to the step has been done.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from typing import TYPE_CHECKING

from twisted.application.service import Service
from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure

from twisted_echo.scheduling.waiters import Waiters

__all__ = ["IllegalTransition", "Lifecycle", "State", "StatefulService", "Step"]


class State(Enum):
    """
    The state of a service::

        IDLE
          | start
          v        listen               suspend
        STARTING ---------> LISTENING ----------> SUSPENDED
          ^ | |                 |     <----------     |
          | | |                 |       resume        |
          | | |      drain      | drain               | drain
          | | +-----------> DRAINING <----------------+
          | | fail              | stop
          | |                   v
          | +-------------> STOPPED
          +---- start ----------+
    """

    IDLE = "idle"
    """It has never been started."""
    STARTING = "starting"
    """Not every endpoint listens yet."""
    LISTENING = "listening"
    """It accepts connections."""
    SUSPENDED = "suspended"
    """It accepts no connections; sessions go on."""
    DRAINING = "draining"
    """A stop has begun, and sessions are still open."""
    STOPPED = "stopped"
    """Everything has ended, or an endpoint could not listen."""


class Step(Enum):
    """
    A step from one L{State} to another.
    """

    START = "start"
    LISTEN = "listen"
    FAIL = "fail"
    SUSPEND = "suspend"
    RESUME = "resume"
    DRAIN = "drain"
    STOP = "stop"


_STEPS: dict[Step, tuple[tuple[State, ...], State]] = {
    Step.START: ((State.IDLE, State.STOPPED), State.STARTING),
    Step.LISTEN: ((State.STARTING,), State.LISTENING),
    Step.FAIL: ((State.STARTING,), State.STOPPED),
    Step.SUSPEND: ((State.LISTENING,), State.SUSPENDED),
    Step.RESUME: ((State.SUSPENDED,), State.LISTENING),
    Step.DRAIN: (
        (State.STARTING, State.LISTENING, State.SUSPENDED),
        State.DRAINING,
    ),
    Step.STOP: ((State.DRAINING,), State.STOPPED),
}
"""
From which states each step is legal, and which state it leads to.
"""


class IllegalTransition(RuntimeError):
    """
    A service was asked for a step that is not legal in its present state.
    """

    def __init__(self, step: Step, state: State) -> None:
        legal = " or ".join(each.name for each in _STEPS[step][0])
        super().__init__(f"cannot {step.value} while {state.name}, only while {legal}")


class Lifecycle:
    """
    The present state of one service, and everybody who waits for another.

    @ivar failure: why the last start has failed; None if it has not.
    """

    def __init__(self) -> None:
        self._state = State.IDLE
        self._failure: Failure | None = None
        self._untilListening: Waiters[None] = Waiters()
        self._untilStopped: Waiters[None] = Waiters()

    @property
    def state(self) -> State:
        return self._state

    @property
    def failure(self) -> Failure | None:
        return self._failure

    @property
    def isStopped(self) -> bool:
        """
        Whether nothing runs that could be stopped.
        """
        return self._state in (State.IDLE, State.STOPPED)

    def require(self, step: Step) -> None:
        """
        Check that a step is legal in the present state.

        @raise IllegalTransition: if C{step} is not legal now.
        """
        if self._state not in _STEPS[step][0]:
            raise IllegalTransition(step, self._state)

    def change(self, step: Step) -> None:
        """
        Take a step, and notify everybody who has waited for it.

        @raise IllegalTransition: if it is not legal now. Then nothing has changed.
        """
        with self.changing(step):
            pass

    @contextmanager
    def changing(self, step: Step) -> Iterator[None]:
        """
        Take a step, do what the C{with} block says, and notify the waiters after it.

        @raise IllegalTransition: if it is not legal now. Then nothing has changed.
        """
        self.require(step)
        if step is Step.START:
            self._failure = None
        self._state = _STEPS[step][1]
        try:
            yield
        finally:
            self._notify()

    def recordFailure(self, failure: Failure) -> None:
        """
        Let everybody who waits for the service to listen fail with C{failure}, from the
        next step on until the next start.
        """
        self._failure = failure

    def whenListening(self) -> "Deferred[None]":
        """
        Wait for a start that has begun to succeed.

        @return: fires when the service listens, or fails if it will not: with what the
            start has failed with, or with an L{IllegalTransition}. Cancelling it ends
            that wait alone.
        """
        if self._state is State.STARTING:
            return self._untilListening.wait()
        outcome = self._listeningOutcome()
        return succeed(None) if outcome is None else fail(outcome)

    def whenStopped(self) -> "Deferred[None]":
        """
        Wait for the end of a stop.

        @return: fires when the service has stopped, at once if it does not run.
            Cancelling it ends that wait alone.
        """
        return succeed(None) if self.isStopped else self._untilStopped.wait()

    def _listeningOutcome(self) -> Failure | None:
        if self._state in (State.LISTENING, State.SUSPENDED):
            return None
        if self._failure is not None:
            return self._failure
        problem = IllegalTransition(Step.LISTEN, self._state)
        return Failure(problem)

    def _notify(self) -> None:
        # A waiter that is notified may have the service take the next step.
        if self._state is not State.STARTING:
            self._untilListening.notify(self._listeningOutcome())
        if self.isStopped:
            self._untilStopped.notify(None)


class StatefulService(Service):
    """
    A base of services that have a L{Lifecycle}.
    """

    if TYPE_CHECKING:
        # Twisted does not annotate them.
        def setServiceParent(self, parent: object) -> None: ...
        def privilegedStartService(self) -> None: ...
        def startService(self) -> None: ...
        def stopService(self) -> object: ...

    def __init__(self) -> None:
        self._lifecycle = Lifecycle()

    @property
    def state(self) -> State:
        """
        What the service is doing.
        """
        return self._lifecycle.state

    def whenListening(self) -> "Deferred[None]":
        """
        Wait for it to listen: L{Lifecycle.whenListening}.
        """
        return self._lifecycle.whenListening()

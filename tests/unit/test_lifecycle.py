"""
L{twisted_echo.lifecycle}: the states of a service.
"""

from twisted.application.service import IService
from twisted.internet.defer import CancelledError
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from twisted_echo.lifecycle import (
    IllegalTransition,
    Lifecycle,
    State,
    StatefulService,
    Step,
)

# Steps that lead to each state.
WAYS = {
    State.IDLE: (),
    State.STARTING: (Step.START,),
    State.LISTENING: (Step.START, Step.LISTEN),
    State.SUSPENDED: (Step.START, Step.LISTEN, Step.SUSPEND),
    State.DRAINING: (Step.START, Step.DRAIN),
    State.STOPPED: (Step.START, Step.DRAIN, Step.STOP),
}

LEGAL = {
    (State.IDLE, Step.START): State.STARTING,
    (State.STARTING, Step.LISTEN): State.LISTENING,
    (State.STARTING, Step.FAIL): State.STOPPED,
    (State.STARTING, Step.DRAIN): State.DRAINING,
    (State.LISTENING, Step.SUSPEND): State.SUSPENDED,
    (State.LISTENING, Step.DRAIN): State.DRAINING,
    (State.SUSPENDED, Step.RESUME): State.LISTENING,
    (State.SUSPENDED, Step.DRAIN): State.DRAINING,
    (State.DRAINING, Step.STOP): State.STOPPED,
    (State.STOPPED, Step.START): State.STARTING,
}


def at(state: State) -> Lifecycle:
    """
    A lifecycle in a state.
    """
    lifecycle = Lifecycle()
    for step in WAYS[state]:
        lifecycle.change(step)
    return lifecycle


class TransitionTests(SynchronousTestCase):
    def test_table(self) -> None:
        """
        Every step is legal from some states, and changes nothing in any other.
        """
        for state in State:
            for step in Step:
                lifecycle = at(state)
                self.assertIs(lifecycle.state, state)
                if (state, step) in LEGAL:
                    lifecycle.require(step)
                    lifecycle.change(step)
                    self.assertIs(lifecycle.state, LEGAL[state, step])
                else:
                    self.assertRaises(IllegalTransition, lifecycle.require, step)
                    self.assertRaises(IllegalTransition, lifecycle.change, step)
                    self.assertIs(lifecycle.state, state)

    def test_message(self) -> None:
        """
        The error names the step, the present state and the legal ones.
        """
        error = self.assertRaises(
            IllegalTransition, at(State.LISTENING).change, Step.START
        )
        self.assertEqual(
            str(error), "cannot start while LISTENING, only while IDLE or STOPPED"
        )

    def test_isStopped(self) -> None:
        for state in State:
            self.assertEqual(
                at(state).isStopped, state in (State.IDLE, State.STOPPED), state
            )

    def test_service(self) -> None:
        """
        A service begins idle.
        """
        service = StatefulService()
        verifyObject(IService, service)
        self.assertIs(service.state, State.IDLE)
        self.failureResultOf(service.whenListening(), IllegalTransition)


class WaitingTests(SynchronousTestCase):
    def test_listening(self) -> None:
        """
        Whoever waits for it to listen is notified when it does, and at once from then
        on.
        """
        lifecycle = at(State.STARTING)
        waits = [lifecycle.whenListening(), lifecycle.whenListening()]
        self.assertNoResult(waits[0])
        lifecycle.change(Step.LISTEN)
        lifecycle.change(Step.SUSPEND)
        for each in [*waits, lifecycle.whenListening()]:
            self.successResultOf(each)

    def test_startFails(self) -> None:
        """
        If the start fails, so does the wait, until the next start.
        """
        lifecycle = at(State.STARTING)
        waits = [lifecycle.whenListening()]
        lifecycle.recordFailure(Failure(ValueError("no")))
        lifecycle.change(Step.FAIL)
        for each in [*waits, lifecycle.whenListening()]:
            self.failureResultOf(each, ValueError)
        lifecycle.change(Step.START)
        self.assertIsNone(lifecycle.failure)
        waits = [lifecycle.whenListening()]
        lifecycle.change(Step.LISTEN)
        self.successResultOf(waits[0])

    def test_stopWhileStarting(self) -> None:
        """
        If it is stopped while it starts, it will not listen.
        """
        lifecycle = at(State.STARTING)
        waiting = lifecycle.whenListening()
        lifecycle.change(Step.DRAIN)
        failure = self.failureResultOf(waiting, IllegalTransition)
        self.assertEqual(
            str(failure.value), "cannot listen while DRAINING, only while STARTING"
        )

    def test_stopped(self) -> None:
        """
        Whoever waits for the end of a stop is notified then, and at once if nothing
        runs.
        """
        self.successResultOf(Lifecycle().whenStopped())
        lifecycle = at(State.LISTENING)
        early = lifecycle.whenStopped()
        lifecycle.change(Step.DRAIN)
        late = lifecycle.whenStopped()
        self.assertNoResult(early)
        lifecycle.change(Step.STOP)
        for each in early, late, lifecycle.whenStopped():
            self.successResultOf(each)

    def test_cancel(self) -> None:
        """
        A cancel ends one wait, and no other.
        """
        lifecycle = at(State.STARTING)
        one, other = lifecycle.whenListening(), lifecycle.whenListening()
        one.cancel()
        self.failureResultOf(one, CancelledError)
        lifecycle.change(Step.LISTEN)
        self.successResultOf(other)

    def test_notifiedLast(self) -> None:
        """
        The state is new when the block of a step runs, and those who wait are notified
        behind it; even if it raises.
        """
        lifecycle = at(State.STARTING)
        seen: list[object] = []
        lifecycle.whenListening().addCallback(lambda _: seen.append("notified"))
        with self.assertRaises(ValueError), lifecycle.changing(Step.LISTEN):
            seen.append(lifecycle.state)
            raise ValueError
        self.assertEqual(seen, [State.LISTENING, "notified"])

    def test_nextStep(self) -> None:
        """
        Somebody who is notified of the stop may start again, which does not concern
        those who wait for that start.
        """
        lifecycle = at(State.DRAINING)
        later = []

        def again(_: None) -> None:
            lifecycle.change(Step.START)
            later.append(lifecycle.whenListening())

        lifecycle.whenStopped().addCallback(again)
        other = lifecycle.whenStopped()
        lifecycle.change(Step.STOP)
        self.successResultOf(other)
        self.assertIs(lifecycle.state, State.STARTING)
        self.assertNoResult(later[0])
        lifecycle.change(Step.LISTEN)
        self.successResultOf(later[0])

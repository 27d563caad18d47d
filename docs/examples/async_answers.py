"""
Answers that take time: in the order of the questions, at most so many at once.

    python docs/examples/async_answers.py          # needs twisted-echo alone
    printf '0.2\\r\\n0.1\\r\\nlong\\r\\n9\\r\\n' | nc -N 127.0.0.1 7008

Each line is a number of seconds to sleep. The answers keep the order of the lines; one
that takes longer than C{answerTimeout} is cancelled, and C{answerFailed} answers.
Ctrl-C waits for what is in flight.
"""

import sys

from twisted.internet import reactor
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IReactorCore, IReactorTime
from twisted.python.failure import Failure

from twisted_echo import AnsweringLineReceiver, SessionFactory, SessionService


class Sleeper(AnsweringLineReceiver):
    answersAtOnce = 4
    answerTimeout = 1.0

    async def answer(self, line: bytes) -> bytes:
        done: Deferred[None] = Deferred()
        timer = IReactorTime(reactor).callLater(float(line), done.callback, None)
        try:
            await done
        finally:
            if timer.active():
                timer.cancel()
        return b"slept " + line

    def answerFailed(self, line: bytes, failure: Failure) -> bytes:
        late = isinstance(failure.value, TimeoutError)
        return b"error: too long" if late else b"error: not a number"


def main(listen: str = "tcp:7008:interface=127.0.0.1") -> None:
    service = SessionService(listen, SessionFactory.forProtocol(Sleeper))
    service.startService()
    print("listening on", service.addresses[0], flush=True)
    core = IReactorCore(reactor)
    core.addSystemEventTrigger("before", "shutdown", service.stopService)
    core.run()


if __name__ == "__main__":
    main(*sys.argv[1:])

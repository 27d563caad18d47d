"""
Answers that take time, in the order of the questions.

    twistd -ny async_answers.py

    printf '0.5\\n0\\nlong\\n' | nc -N 127.0.0.1 7008

At most sixteen questions of a client are in progress at once. Then the client is not
read from until there are fewer. An answer that takes over five seconds is cancelled,
and an error goes out in its place. A stop, and the client's end-of-file, wait for the
answers in progress. If the client has gone, they are cancelled.
"""

from twisted.application.service import Application
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from twisted_echo import AnsweringLineReceiver, SessionFactory, SessionService


def lookUp(clock: IReactorTime, seconds: float) -> Deferred[None]:
    """
    Do what takes time, such as a query to a database.
    """
    return deferLater(clock, seconds)


class Sleeper(AnsweringLineReceiver):
    delimiter = b"\n"
    answersAtOnce = 16
    answerTimeout = 5.0

    async def answer(self, line: bytes) -> bytes:
        seconds = float(line)
        # The reactor that runs this session; in a test that is not the global one.
        assert self.factory is not None
        await lookUp(self.factory.clock, seconds)
        return b"slept %g s" % seconds

    def answerFailed(self, line: bytes, failure: Failure) -> bytes | Failure:
        if isinstance(failure.value, TimeoutError):
            return b"ERROR too slow"
        if isinstance(failure.value, ValueError):
            return b"ERROR not a number"
        return failure


application = Application("sleeper")
factory = SessionFactory.forProtocol(Sleeper)
SessionService("tcp:7008:interface=127.0.0.1", factory).setServiceParent(application)

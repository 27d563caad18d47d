"""
What a neighbor's server does, by name. Each begins when its peer has sent something, in
a later turn of the reactor.

What must hold: each writes C{MOST} bytes at most, and stops when its peer is gone.
"""

import os
from typing import Any

from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Factory, Protocol
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site
from zope.interface import implementer

__all__ = ["ANSWER", "FACTORIES", "PAGE", "PATTERN", "REQUEST", "SEQUENCE"]

PATTERN = bytes(range(256))
"""
What is written is this, again and again.
"""

CHUNK = PATTERN * 4
"""
What a producer writes at a time: little, so that a peer can read as fast as it writes.
"""
ANSWER = PATTERN * 256
"""
The answer to each L{REQUEST} of a flood: 64 KiB.
"""

REQUEST = b"please\n".rjust(64)
SEQUENCE = [ANSWER] * 1024
PAGE = 300_000_000 // len(CHUNK) * len(CHUNK)
"""
Bytes of the response of twisted.web.
"""

MOST = 1 << 33
"""
Bytes that an endless producer writes.
"""

DESCRIPTORS_CHUNK = PATTERN


@implementer(IPushProducer)
class ProducerUntilPaused:
    """
    Writes until it is paused, and again when it is resumed.

    @param consumer: with C{registerProducer}, C{write} and C{unregisterProducer}.
    """

    def __init__(self, consumer: Any, left: int) -> None:
        self._consumer = consumer
        self._left = left
        self._producing = False

    def begin(self) -> None:
        self._consumer.registerProducer(self, True)
        self.resumeProducing()

    def resumeProducing(self) -> None:
        self._producing = True
        while self._producing and self._left > 0:
            self._left -= self.produce()
        if self._left <= 0 and self._producing:
            self._producing = False
            self._consumer.unregisterProducer()
            self.done()

    def produce(self) -> int:
        """
        Write a little.

        @return: how many bytes.
        """
        self._consumer.write(CHUNK)
        return len(CHUNK)

    def done(self) -> None:
        self._consumer.loseConnection()

    def pauseProducing(self) -> None:
        self._producing = False

    def stopProducing(self) -> None:
        self._producing = False
        self._left = 0


class DescriptorProducer(ProducerUntilPaused):
    """
    Passes a descriptor with every few bytes.
    """

    def begin(self) -> None:
        self._descriptor = os.open(os.devnull, os.O_RDONLY)
        super().begin()

    def produce(self) -> int:
        self._consumer.sendFileDescriptor(self._descriptor)
        self._consumer.write(DESCRIPTORS_CHUNK)
        return len(DESCRIPTORS_CHUNK)

    def stopProducing(self) -> None:
        super().stopProducing()
        os.close(self._descriptor)


class PageProducer(ProducerUntilPaused):
    def done(self) -> None:
        self._consumer.finish()


class BeginsWhenAsked(Protocol):
    """
    Calls C{begin} in the turn after the peer has first sent something.
    """

    _asked = False

    def dataReceived(self, data: bytes) -> None:
        if not self._asked:
            self._asked = True
            later(self.begin)

    def begin(self) -> None:
        raise NotImplementedError


class Producing(BeginsWhenAsked):
    def begin(self) -> None:
        ProducerUntilPaused(self.transport, MOST).begin()


class PassingDescriptors(BeginsWhenAsked):
    def begin(self) -> None:
        DescriptorProducer(self.transport, MOST).begin()


class AnswersAll(Protocol):
    """
    Answers each request of 64 bytes with 64 KiB, while it is given input.
    """

    transport: Any
    _received = 0

    def dataReceived(self, data: bytes) -> None:
        whole, self._received = divmod(self._received + len(data), len(REQUEST))
        self.transport.write(ANSWER * whole)


class WritesMuch(Protocol):
    """
    Answers a request with one C{writeSequence} of 64 MiB.
    """

    transport: Any

    def dataReceived(self, data: bytes) -> None:
        later(self.transport.writeSequence, SEQUENCE)


class LargePage(Resource):
    """
    A page of 300 MB by a push producer.
    """

    isLeaf = True

    def render_GET(self, request: Request) -> int:
        request.setHeader(b"content-length", b"%d" % PAGE)
        later(PageProducer(request, PAGE).begin)
        return NOT_DONE_YET


def later(function: Any, *arguments: Any) -> None:
    from twisted.internet import reactor

    clock: Any = reactor
    clock.callLater(0, function, *arguments)


def _site() -> Site:
    return Site(LargePage())


FACTORIES: dict[str, Any] = {
    "producer": lambda: Factory.forProtocol(Producing),
    "descriptors": lambda: Factory.forProtocol(PassingDescriptors),
    "answers": lambda: Factory.forProtocol(AnswersAll),
    "sequence": lambda: Factory.forProtocol(WritesMuch),
    "web": _site,
}

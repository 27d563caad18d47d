"""
L{twisted_echo.eager.asyncio_reactor}: its connections are Twisted's, as those of the
epoll reactor are.
"""

from tests.support.loop import ASYNCIO
from tests.unit.eager import (
    test_adopting,
    test_connections,
    test_descriptors,
    test_log_context,
    test_poll_loop,
    test_producers,
    test_sending,
    test_tls_over_transports,
)


class AdoptTests(test_adopting.AdoptTests):
    reactors = ASYNCIO


class FactoryTests(test_adopting.FactoryTests):
    reactors = ASYNCIO


class AcceptedTCPTests(test_connections.AcceptedTCPTests):
    reactors = ASYNCIO


class ConnectedTCPTests(test_connections.ConnectedTCPTests):
    reactors = ASYNCIO


class AdoptedTCPTests(test_connections.AdoptedTCPTests):
    reactors = ASYNCIO


class AcceptedUNIXTests(test_connections.AcceptedUNIXTests):
    reactors = ASYNCIO


class ConnectedUNIXTests(test_connections.ConnectedUNIXTests):
    reactors = ASYNCIO


class AdoptedUNIXTests(test_connections.AdoptedUNIXTests):
    reactors = ASYNCIO


class DescriptorTests(test_descriptors.DescriptorTests):
    reactors = ASYNCIO


class LogTests(test_log_context.LogTests):
    reactors = ASYNCIO


class PollTests(test_poll_loop.PollTests):
    reactors = ASYNCIO


class ProducerTests(test_producers.ProducerTests):
    reactors = ASYNCIO


class SendTests(test_sending.SendTests):
    reactors = ASYNCIO


class PeerTests(test_sending.PeerTests):
    reactors = ASYNCIO


class NoDelayTests(test_sending.NoDelayTests):
    reactors = ASYNCIO


class ConnectingTests(test_sending.ConnectingTests):
    reactors = ASYNCIO


class TLSTests(test_tls_over_transports.TLSTests):
    reactors = ASYNCIO

"""
The factories of layers: they put one between each connection and its session.
"""

from typing import Any

from twisted.internet.interfaces import IAddress, IProtocolFactory
from twisted.internet.protocol import Protocol
from twisted.protocols.policies import WrappingFactory
from zope.interface import implementer

from twisted_echo.eager.optional_interfaces import IWantsSocketOptions, SocketOptions
from twisted_echo.endpoints.layers import Layer
from twisted_echo.session.factory import SessionFactory

__all__ = ["LayerFactory"]


@implementer(IWantsSocketOptions)
class LayerFactory(WrappingFactory[Any]):
    """
    Puts a layer between connections and the sessions of a L{SessionFactory}.

    @ivar sessionFactory: the factory of the sessions, however many layers are between.
    """

    noisy = False

    def __init__(self, wrappedFactory: IProtocolFactory) -> None:
        # Not `super()`: another base of a subclass wants more arguments.
        WrappingFactory.__init__(self, wrappedFactory)
        factory = wrappedFactory
        while isinstance(factory, WrappingFactory):
            factory = factory.wrappedFactory
        if not isinstance(factory, SessionFactory):
            raise TypeError(
                f"a layer must wrap a SessionFactory, got {wrappedFactory!r}"
            )
        self.sessionFactory: SessionFactory[Any] = factory

    @property
    def socketOptions(self) -> SocketOptions:
        """
        The socket options that the sessions want.
        """
        return self.sessionFactory.socketOptions

    def buildProtocol(self, addr: IAddress | None) -> Layer | None:
        """
        Make a layer for a connection from C{addr}, or refuse it.
        """
        return None if self.sessionFactory.refuses(addr) else self.makeLayer()

    def makeLayer(self) -> Layer:
        """
        Make a layer, whose wrapped protocol is a stand-in until it is ready.
        """
        layer: Layer = self.protocol(self, Protocol())
        return layer

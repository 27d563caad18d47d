"""
Endpoints whose connections have layers.
"""

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IListeningPort,
    IProtocolFactory,
    IStreamServerEndpoint,
)
from zope.interface import implementer

from twisted_echo.validation.checks import callback

__all__ = ["LayeredEndpoint"]

Wrap = Callable[[IProtocolFactory], IProtocolFactory]
"""
Puts a layer between connections and a factory's protocols.
"""


@implementer(IStreamServerEndpoint)
class LayeredEndpoint:
    """
    An endpoint whose connections have a layer.
    """

    def __init__(self, endpoint: IStreamServerEndpoint, wrap: Wrap) -> None:
        """
        @param wrap: makes a L{LayerFactory} of the factory that is to listen.
        @raise TypeError: if an argument is of another kind.
        """
        if not IStreamServerEndpoint.providedBy(endpoint):
            raise TypeError(f"endpoint must be a server endpoint, got {endpoint!r}")
        self._endpoint = endpoint
        self._wrap = callback("wrap", wrap)

    def withInnerLayer(self, wrap: Wrap) -> "LayeredEndpoint":
        """
        Make an endpoint with one more layer, under the others.
        """
        return LayeredEndpoint(
            self._endpoint, lambda factory: wrap(self._wrap(factory))
        )

    def withPlainEndpoint(self, endpoint: IStreamServerEndpoint) -> "LayeredEndpoint":
        """
        Make an endpoint with the same layers, on another endpoint.
        """
        return LayeredEndpoint(endpoint, self._wrap)

    def listen(self, protocolFactory: IProtocolFactory) -> "Deferred[IListeningPort]":
        return self._endpoint.listen(self._wrap(protocolFactory))

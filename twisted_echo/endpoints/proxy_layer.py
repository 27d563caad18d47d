"""
Connections that a proxy announces: the PROXY protocol as a layer.

What must hold: the peer is the one announced, wherever it is asked for; a header
that is none, is cut off or comes too late ends the connection without a session,
and without a byte of it in a log.
"""

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.protocol import Protocol

from twisted_echo.endpoints.layers import Layer, LayerFactory
from twisted_echo.endpoints.proxy_header import Address, BadHeader, parse
from twisted_echo.session.end_reason import EndReason

__all__ = ["ProxyFactory", "networks"]


def _announced(address: Address) -> Any:
    """
    An address of a header as Twisted's; None for that of the connection itself.
    """
    if address is None:
        return None
    if isinstance(address, bytes):
        return UNIXAddress(address)
    host, port = address
    kind = IPv4Address if host.version == 4 else IPv6Address
    return kind("TCP", str(host), port)


def networks(
    allowed: Sequence[IPv4Network | IPv6Network],
) -> tuple[IPv4Network | IPv6Network, ...]:
    """
    Take networks.

    @raise TypeError: if one is none.
    """
    for each in [allowed] if isinstance(allowed, str) else allowed:
        if not isinstance(each, (IPv4Network, IPv6Network)):
            raise TypeError(
                "who may send a PROXY header must be networks, such as"
                f" [ip_network('10.0.0.0/8')], got {each!r}"
            )
    return tuple(allowed)


class _ProxyLayer(Layer):
    """
    Takes the header off, and says whom it announces.
    """

    failureReason = EndReason.BAD_PROXY_HEADER
    _held = b""
    _source: Any = None
    _destination: Any = None

    def countsFor(self) -> None:
        # The proxy, which all of its clients come by, is nobody to count for.
        return None

    def getPeer(self) -> Any:
        return self._source or super().getPeer()

    def getHost(self) -> Any:
        return self._destination or super().getHost()

    def ownBytes(self) -> int:
        return len(self._held)

    def dataReceived(self, data: bytes) -> None:
        if self._isReady:
            self.wrappedProtocol.dataReceived(data)
            return
        if self._failure is not None:
            return
        self._held += data
        try:
            header = parse(self._held)
        except BadHeader as error:
            self._held = b""
            self.fail(self.failureReason, str(error))
            return
        if header is None:
            return
        self._source = _announced(header.source)
        self._destination = _announced(header.destination)
        rest, self._held = self._held[header.size :], b""
        self.becomeReady(None)
        if rest and self.wrappedProtocol is not None:
            self.wrappedProtocol.dataReceived(rest)


class ProxyFactory(LayerFactory):
    """
    Expects a header of the PROXY protocol, version 1 or 2, at the beginning of
    each connection.
    """

    protocol = _ProxyLayer

    def __init__(
        self,
        wrappedFactory: IProtocolFactory,
        allowed: Sequence[IPv4Network | IPv6Network] = (),
    ) -> None:
        """
        @param allowed: the networks from which a header is taken; from every
            address, if there are none. Whoever connects by a UNIX socket has been
            let in by its file's permissions.
        @raise TypeError: if one is no network.
        """
        super().__init__(wrappedFactory)
        self._allowed = networks(allowed)

    def buildProtocol(self, addr: Any) -> Any:
        if not self._mayAnnounce(addr):
            self.sessionFactory.countRefused(addr, EndReason.REFUSED_PROXY)
            return None
        return (
            None
            if self.sessionFactory.refuses(None)
            else self.protocol(self, Protocol())
        )

    def _mayAnnounce(self, address: Any) -> bool:
        if not self._allowed or not isinstance(address, (IPv4Address, IPv6Address)):
            return True
        host = ip_address(address.host)
        # A port for both kinds sees an IPv4 address as an IPv6 one.
        hosts = [host, getattr(host, "ipv4_mapped", None) or host]
        return any(each in network for network in self._allowed for each in hosts)

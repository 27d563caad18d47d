"""
The PROXY protocol as a layer: connections whose client a proxy announces.

What must hold: the peer of a session is the announced one, wherever it is asked for; a
header that is wrong, is cut off or comes too late ends the connection without a
session, and without a byte of it in a log.
"""

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address
from ipaddress import IPv6Address as IPv6

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress, IProtocolFactory

from twisted_echo.endpoints.layer_factory import LayerFactory
from twisted_echo.endpoints.layers import Layer, LayerState
from twisted_echo.endpoints.proxy_header import Address, BadHeader, parse
from twisted_echo.session.ends.end_reason import EndReason

__all__ = ["Networks", "ProxyFactory", "checkNetworks"]

# For every chunk: a name of the module is loaded faster than a member of an enum.
_READY = LayerState.READY

Networks = Sequence[IPv4Network | IPv6Network]


def checkNetworks(networks: Networks) -> tuple[IPv4Network | IPv6Network, ...]:
    """
    Check the networks from which a PROXY header is accepted, and return them.

    @raise TypeError: if one is no network.
    """
    for each in [networks] if isinstance(networks, str) else networks:
        if not isinstance(each, (IPv4Network, IPv6Network)):
            raise TypeError(
                "the senders of PROXY headers must be networks, such as"
                f" [ip_network('10.0.0.0/8')], got {each!r}"
            )
    return tuple(networks)


def _addressOf(announced: Address) -> IAddress | None:
    """
    Make an address of Twisted's; None if the proxy announces none.
    """
    if announced is None:
        return None
    if isinstance(announced, bytes):
        return UNIXAddress(announced)
    host, port = announced
    kind = IPv4Address if host.version == 4 else IPv6Address
    return kind("TCP", str(host), port)


class _ProxyLayer(Layer):
    """
    Reads the header, and takes the addresses of the client from it.
    """

    failureReason = EndReason.BAD_PROXY_HEADER
    # What has come of the header.
    _held = b""
    _source: IAddress | None = None
    _destination: IAddress | None = None

    def countsFor(self) -> None:
        # Not the proxy, through which all of its clients come.
        return None

    def getPeer(self) -> IAddress:
        return self._source or super().getPeer()

    def getHost(self) -> IAddress:
        host: IAddress = self._destination or super().getHost()
        return host

    def ownBytes(self) -> int:
        return len(self._held)

    def dataReceived(self, data: bytes) -> None:
        if self._state is _READY:
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
        self._source = _addressOf(header.source)
        self._destination = _addressOf(header.destination)
        payload, self._held = self._held[header.size :], b""
        self.becomeReady()
        if payload and self.wrappedProtocol is not None:
            self.wrappedProtocol.dataReceived(payload)


class ProxyFactory(LayerFactory):
    """
    Expects a header of the PROXY protocol, version 1 or 2, at the beginning of each
    connection.
    """

    protocol = _ProxyLayer

    def __init__(
        self, wrappedFactory: IProtocolFactory, allowed: Networks = ()
    ) -> None:
        """
        @param allowed: the networks from which a header is accepted; from everywhere,
            if there are none. A client of a UNIX socket may always send one: the
            permissions of its file decide who connects.
        @raise TypeError: if one is no network.
        """
        super().__init__(wrappedFactory)
        self._allowed = checkNetworks(allowed)

    def buildProtocol(self, addr: IAddress | None) -> Layer | None:
        if not self._mayAnnounce(addr):
            self.sessionFactory.countRefused(addr, EndReason.REFUSED_PROXY)
            return None
        return None if self.sessionFactory.refuses(None) else self.makeLayer()

    def _mayAnnounce(self, address: IAddress | None) -> bool:
        if not self._allowed or not isinstance(address, (IPv4Address, IPv6Address)):
            return True
        host = ip_address(address.host)
        hosts = [host]
        # A port for both kinds sees an IPv4 address as an IPv6 one.
        if isinstance(host, IPv6) and host.ipv4_mapped is not None:
            hosts.append(host.ipv4_mapped)
        return any(each in network for network in self._allowed for each in hosts)

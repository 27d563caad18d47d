"""
Counters of TLS handshakes: plain numbers, as in L{twisted_echo.metrics}.

What must hold: the labels are few and fixed, whatever peers send; a handshake is
counted once, as finished or as failed.
"""

from collections import Counter
from enum import Enum
from ssl import SSLCertVerificationError, SSLEOFError, SSLError

from twisted_echo.metrics import Histogram

__all__ = ["HANDSHAKE_BOUNDS", "VERSIONS", "TLSCounts", "TLSFailure", "failureOf"]

HANDSHAKE_BOUNDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0)
"""
Seconds that handshakes take: one or two round trips, and a millisecond of computing.
"""
VERSIONS = ("TLSv1.2", "TLSv1.3")
"""
The versions that are expected. (An embedder's own context may allow others.)
"""


class TLSFailure(Enum):
    """
    Why a handshake failed. Metrics use the values; the log has OpenSSL's own words.
    """

    PROTOCOL_VERSION = "protocol-version"
    """The client has no version of TLS in common with the server."""
    NO_SHARED_CIPHER = "no-shared-cipher"
    """The client has no cipher, curve or kind of signature in common with it."""
    NO_PROTOCOL = "no-protocol"
    """The client has no ALPN protocol in common with it, and one is required."""
    UNKNOWN_NAME = "unknown-name"
    """The client asked for a name (SNI) of which there is no certificate."""
    NO_CERTIFICATE = "no-certificate"
    """The client has sent no certificate, and one is required."""
    BAD_CERTIFICATE = "bad-certificate"
    """The client's certificate could not be verified."""
    NOT_TLS = "not-tls"
    """What the client sent is no TLS, but HTTP for example."""
    ALERT = "alert"
    """The client gave up with an alert: it does not trust the server, for example."""
    CLIENT_LEFT = "client-left"
    """The client closed or reset the connection."""
    TIMEOUT = "timeout"
    """The client did not finish the handshake in time."""
    OTHER = "other"
    """Anything else."""


_REASONS = {
    TLSFailure.PROTOCOL_VERSION: (
        *("UNSUPPORTED_PROTOCOL", "VERSION_TOO_LOW", "VERSION_TOO_HIGH"),
        *("INAPPROPRIATE_FALLBACK", "NO_PROTOCOLS_AVAILABLE"),
    ),
    TLSFailure.NO_SHARED_CIPHER: (
        *("NO_SHARED_CIPHER", "NO_SUITABLE_KEY_SHARE", "NO_SUITABLE_GROUPS"),
        *("NO_SHARED_GROUPS", "NO_SHARED_SIGNATURE_ALGORITHMS"),
        *("NO_SUITABLE_SIGNATURE_ALGORITHM", "NO_CIPHERS_SPECIFIED"),
    ),
    TLSFailure.NO_PROTOCOL: ("NO_APPLICATION_PROTOCOL",),
    # (Nothing else makes a callback of a server fail.)
    TLSFailure.UNKNOWN_NAME: ("CALLBACK_FAILED",),
    TLSFailure.NO_CERTIFICATE: ("PEER_DID_NOT_RETURN_A_CERTIFICATE",),
    TLSFailure.BAD_CERTIFICATE: ("CERTIFICATE_VERIFY_FAILED", "BAD_SIGNATURE"),
    TLSFailure.NOT_TLS: (
        *("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "HTTPS_PROXY_REQUEST"),
        *("UNKNOWN_PROTOCOL", "BAD_RECORD_TYPE", "RECORD_LAYER_FAILURE"),
    ),
    TLSFailure.CLIENT_LEFT: ("UNEXPECTED_EOF_WHILE_READING",),
}
_FAILURES = {word: failure for failure, words in _REASONS.items() for word in words}

# What the names of the peer's alerts begin with.
_ALERTS = ("SSLV3_ALERT_", "TLSV1_", "TLSV13_ALERT_")


def failureOf(error: SSLError) -> TLSFailure:
    """
    Classify an error of OpenSSL's in a handshake.
    """
    if isinstance(error, SSLCertVerificationError):
        return TLSFailure.BAD_CERTIFICATE
    if isinstance(error, SSLEOFError):
        return TLSFailure.CLIENT_LEFT
    # (Python may not know the words of a newer OpenSSL.)
    reason = getattr(error, "reason", None) or ""
    if reason.endswith("_ALERT_PROTOCOL_VERSION"):
        # It is the client that has found none in common.
        return TLSFailure.PROTOCOL_VERSION
    if reason.startswith(_ALERTS):
        return TLSFailure.ALERT
    return _FAILURES.get(reason, TLSFailure.OTHER)


class TLSCounts:
    """
    Counters of the handshakes of one factory's connections.

    @ivar handshakes: how many have been finished, by version, C{TLSv1.3} for example.
    @ivar failures: how many have failed, by L{TLSFailure}.
    @ivar resumptions: how many finished handshakes resumed an earlier session.
    @ivar seconds: how long finished handshakes took, from the connection's
        beginning, or from C{startTLS} on.
    @ivar plainDropped: how many clients had sent more in the clear behind what began
        TLS in the middle of a session, which was dropped.
    """

    __slots__ = ("failures", "handshakes", "plainDropped", "resumptions", "seconds")

    def __init__(self) -> None:
        self.handshakes: Counter[str] = Counter()
        self.failures: Counter[TLSFailure] = Counter()
        self.resumptions = self.plainDropped = 0
        self.seconds = Histogram(HANDSHAKE_BOUNDS)

    def succeeded(self, seconds: float, version: str | None, resumed: bool) -> None:
        """
        Count a handshake that is finished.

        @param version: as C{SSLObject.version} tells it.
        """
        self.handshakes[version or "unknown"] += 1
        self.resumptions += bool(resumed)
        self.seconds.observe(seconds)

    def failed(self, failure: TLSFailure) -> None:
        """
        Count a handshake that has failed.
        """
        self.failures[failure] += 1

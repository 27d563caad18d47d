"""
Why sessions end, in words for people.
"""

from collections.abc import Mapping

from twisted_echo.session.ends.end_reason import EndReason

__all__ = ["MEANINGS"]

MEANINGS: Mapping[EndReason, str] = {
    EndReason.PEER_CLOSED: "The client closed, and had all its answers.",
    EndReason.HALF_CLOSED: "The client closed, and then got its last answers.",
    EndReason.LOCAL_CLOSED: "The program closed the connection.",
    EndReason.STOPPED: "The service stopped, and the client had all its answers.",
    EndReason.LINE_TOO_LONG: "The client sent a line over the limit.",
    EndReason.FRAME_TOO_LONG: "The client began a frame over the limit.",
    EndReason.IDLE: "Neither side sent anything for too long.",
    EndReason.LINE_TIMEOUT: "The client did not finish a line or frame in time.",
    EndReason.WRITE_TIMEOUT: "The client did not read its answers for too long.",
    EndReason.OVER_BUFFERED: "All sessions held too much memory together.",
    EndReason.ABORTED: "The program or a deadline cut the connection off.",
    EndReason.ABORTED_IN_DRAIN: "The stop could not wait for the client.",
    EndReason.CONNECTION_LOST: "The client reset the connection, or vanished.",
    EndReason.ERROR: "The program raised an exception; the log has it.",
    EndReason.HANDSHAKE_TIMEOUT: "The TLS handshake or PROXY header was too slow.",
    EndReason.HANDSHAKE_FAILED: "The TLS handshake failed, or the client left it.",
    EndReason.BAD_PROXY_HEADER: "The PROXY header was missing or wrong.",
    EndReason.REFUSED_FULL: "There were as many sessions as are allowed.",
    EndReason.REFUSED_PEER: "This address had as many sessions as it may have.",
    EndReason.REFUSED_PROXY: "This address may not send a PROXY header.",
}
"""
What each reason means.
"""

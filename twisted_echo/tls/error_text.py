"""
What OpenSSL finds wrong, for the log.
"""

from ssl import SSLError

__all__ = ["describeError", "withoutFrames"]


def describeError(error: SSLError) -> str:
    """
    What went wrong in OpenSSL's own words, of which none are the peer's.
    """
    if error.reason == "CALLBACK_FAILED":
        # (No other callback of a server fails.)
        return "unknown name"
    verification: str = getattr(error, "verify_message", "") or ""
    # (Only OpenSSL's own errors have a reason.)
    reason = getattr(error, "reason", "") or type(error).__name__
    reason = reason.replace("_", " ").lower()
    return f"{reason}: {verification}" if verification else reason


def withoutFrames(error: SSLError) -> SSLError:
    """
    An error without the frames that it has come through.
    """
    error.__traceback__ = error.__context__ = None
    return error

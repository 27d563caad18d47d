"""
Descriptions of OpenSSL's errors, for the log.
"""

from ssl import SSLError

__all__ = ["describeError", "withoutFrames"]


def describeError(error: SSLError) -> str:
    """
    Describe an error in OpenSSL's own words. None of them are the peer's.
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
    Remove the references to frames from an error.
    """
    error.__traceback__ = error.__context__ = None
    return error

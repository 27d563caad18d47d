"""
Certificates for tests.
"""

from pathlib import Path
from unittest import SkipTest

from twisted_echo.testing import self_signed
from twisted_echo.validation.extras import MissingPackage

__all__ = ["make_certificate"]


def make_certificate(folder: Path) -> None:
    """
    Put a key and a certificate of 127.0.0.1 into C{key.pem} and C{cert.pem} of
    C{folder}, or skip the test where C{cryptography} is not installed.
    """
    try:
        self_signed.make_certificate(folder)
    except MissingPackage as missing:
        raise SkipTest(str(missing)) from None

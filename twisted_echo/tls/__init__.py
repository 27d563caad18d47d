"""
TLS under sessions.

  - L{twisted_echo.tls.pemfiles}: the key and certificates, from their files.
  - L{twisted_echo.tls.expiry}: when certificates expire.
  - L{twisted_echo.tls.layer}: L{TLSFactory}, TLS as a layer.
"""

from twisted_echo.certificates import Certificates, Loaded
from twisted_echo.tls.layer import TLSFactory

__all__ = ["Certificates", "Loaded", "TLSFactory"]

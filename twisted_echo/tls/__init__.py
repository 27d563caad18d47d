"""
TLS under sessions.

  - L{twisted_echo.tls.pemfiles}: keys and certificates, from their files.
  - L{twisted_echo.tls.names}: certificates for many names, from a folder.
  - L{twisted_echo.tls.settings}: what the words of C{ssl:} and C{tls:} mean.
  - L{twisted_echo.tls.expiry}: when certificates expire.
  - L{twisted_echo.tls.layer}: L{TLSFactory}, TLS as a layer.
  - L{twisted_echo.tls.web}: TLS under a web site.
"""

from twisted_echo.certificates import Certificates, Loaded
from twisted_echo.tls.layer import TLSFactory

__all__ = ["Certificates", "Loaded", "TLSFactory"]

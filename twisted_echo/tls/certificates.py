"""
L{twisted_echo.certificates}, by the name of those who set TLS up.
"""

from twisted_echo.certificates import Certificates, Loaded, certificatesOf

__all__ = ["Certificates", "Loaded", "certificatesOf"]

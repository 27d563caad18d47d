"""
The registry of the certificates that a server uses.
"""

from collections.abc import Callable, Iterator
from weakref import WeakSet

from twisted_echo.tls.certificates import Certificates

__all__ = ["CertificateRegistry"]


class CertificateRegistry:
    """
    The certificates that are in use. A session may have its own, so the registry has
    weak references only.
    """

    def __init__(self) -> None:
        self._certificates: WeakSet[Certificates] = WeakSet()
        self._watcher: Callable[[], object] | None = None

    def __iter__(self) -> Iterator[Certificates]:
        return iter(self._certificates)

    def add(self, certificates: Certificates) -> None:
        """
        Register certificates that are in use from now on. A second call does nothing.
        """
        if certificates not in self._certificates:
            self._certificates.add(certificates)
            if self._watcher is not None:
                self._watcher()

    def watch(self, watcher: Callable[[], object]) -> None:
        """
        Call a function whenever certificates are added, until L{unwatch}.
        """
        self._watcher = watcher

    def unwatch(self) -> None:
        """
        Stop calling watchers. A second call does nothing.
        """
        self._watcher = None

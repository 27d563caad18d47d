"""
When the certificates of a server expire: for metrics, and for warnings in the log.

What must hold: a certificate that is about to expire, or has expired, is in the log
within an hour, and then once a day; nothing is scheduled where there is no certificate.
"""

import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from weakref import WeakSet

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from twisted_echo.tls.certificates import Certificates
from twisted_echo.tls.x509 import Certificate, shortened
from twisted_echo.validation.units import Seconds

__all__ = ["WARNS_BEFORE", "ExpiryWatch", "notAfter"]

_HOUR, _DAY = 3600.0, 86400.0
WARNS_BEFORE = 14 * _DAY
"""
Seconds before its end that a certificate is warned of: certificates that
programs renew are renewed thirty days before, and this leaves a week to find out and
one to mend it.
"""


def notAfter(certificates: Iterable[Certificates]) -> dict[str, int]:
    """
    Map each file to the time when its certificate expires, in seconds since 1970. Of
    several in one file, the first to expire counts.
    """
    found: dict[str, int] = {}
    for each in certificates:
        for file, leaf in each.settings.chains:
            found[file] = min(leaf.notAfter, found.get(file, leaf.notAfter))
    return found


class ExpiryWatch:
    """
    Warns of certificates that expire: when it is started, when they are loaded again,
    and while it runs.
    """

    _log = Logger()

    def __init__(
        self,
        certificates: Callable[[], Iterable[Certificates]],
        clock: IReactorTime,
        now: Callable[[], float] = time.time,
        besides: Callable[[], Iterable[Certificates]] = tuple,
    ) -> None:
        """
        @param certificates: gives the certificates in use.
        @param besides: gives the certificates that another watcher warns of,
            perhaps from the same files.
        @param clock: what schedules the next look.
        @param now: tells the time, in seconds since 1970.
        """
        self._certificates = certificates
        self._clock = clock
        self._now = now
        self._besides = besides
        self._call: IDelayedCall | None = None
        # Not kept by this: see L{SessionFactory.certificates}.
        self._watched: WeakSet[Certificates] = WeakSet()
        # When each certificate was warned of last: of its end to come, or past.
        self._warnedAt: dict[tuple[str, Certificate, bool], float] = {}

    def start(self) -> None:
        """
        Check now and every hour. Call it again when the certificates are others.
        """
        self.stop()
        self._watched = WeakSet(self._certificates())
        for each in self._watched:
            each.watchers.add(self.look)
        self.look()

    def stop(self) -> None:
        """
        Stop checking. A second call does nothing.
        """
        for each in self._watched:
            each.watchers.discard(self.look)
        self._watched = WeakSet()
        call, self._call = self._call, None
        if call is not None and call.active():
            call.cancel()

    def look(self) -> None:
        """
        Log a warning for each certificate that is about to expire or has expired.
        """
        if self._call is not None and self._call.active():
            self._call.cancel()
            self._call = None
        leaves = {leaf for each in self._watched for leaf in each.settings.chains}
        if leaves:
            self._call = self._clock.callLater(_HOUR, self.look)
        for each in self._besides():
            leaves.difference_update(each.settings.chains)
        warnedAt, self._warnedAt = self._warnedAt, {}
        for file, leaf in sorted(leaves, key=lambda each: each[0]):
            left = leaf.notAfter - self._now()
            if left <= WARNS_BEFORE:
                self._warn(file, leaf, left, warnedAt)

    def _warn(
        self,
        file: str,
        leaf: Certificate,
        left: float,
        warnedAt: dict[tuple[str, Certificate, bool], float],
    ) -> None:
        key, now = (file, leaf, left < 0), self._clock.seconds()
        last = warnedAt.get(key)
        if last is not None and now - last < _DAY:
            self._warnedAt[key] = last
            return
        self._warnedAt[key] = now
        # In days and hours, as far as it is that much.
        time = Seconds(abs(left) // _HOUR * _HOUR or abs(left) // 1)
        end = datetime.fromtimestamp(leaf.notAfter, UTC)
        if left < 0:
            self._log.error(
                "the certificate of {subject} in {file} expired {seconds} ago, at"
                " {notAfter}",
                event="certificate-expired",
                file=file,
                subject=shortened(leaf.subject),
                notAfter=f"{end:%Y-%m-%dT%H:%M:%SZ}",
                seconds=time,
            )
        else:
            self._log.warn(
                "the certificate of {subject} in {file} expires in {seconds}, at"
                " {notAfter}",
                event="certificate-expires",
                file=file,
                subject=shortened(leaf.subject),
                notAfter=f"{end:%Y-%m-%dT%H:%M:%SZ}",
                seconds=time,
            )

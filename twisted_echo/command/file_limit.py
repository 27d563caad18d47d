"""
The limit of open files, and how many sessions it leaves room for.

An embedder raises its own limit; only the command does it by itself.
"""

from twisted.logger import Logger

__all__ = ["fittingSessions", "mostSessions", "raiseFileLimit"]

_log = Logger()

_RESERVED_FILES = 256
"""
Descriptors kept for what is not a session: standard streams, the log and its successor,
the reactor's own, ports, the admin port's clients, channels of workers.
"""
_FEWEST_RESERVED = 24
"""
Descriptors kept where the limit is so low that half of it is less. About 14 are open
without any client; an eighth of the limit is for those of the admin port.
"""
_FILES_FOR_PORT = 2
"""
Descriptors of each further port: an adopted one has two.
"""
_MOST_SESSIONS = 100_000
"""
More than one process serves well; with a limit of a million descriptors it is
memory and the processor that run out.
"""


def raiseFileLimit() -> int:
    """
    Allow this process as many open files as the administrator allows it.

    @return: how many that is.
    """
    try:
        import resource
    except ImportError:
        return 1024
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
        except (ValueError, OSError) as error:
            # Some systems do not allow what they say is their limit.
            _log.warn(
                "cannot raise the limit of open files, which stays {soft}: {reason}",
                event="file-limit-kept",
                soft=soft,
                reason=str(error),
            )
    return 1 << 20 if soft == resource.RLIM_INFINITY else soft


def _room(files: int, ports: int) -> int:
    reserved = max(min(_RESERVED_FILES, files // 2), _FEWEST_RESERVED)
    return max(1, files - reserved - _FILES_FOR_PORT * (ports - 1))


def mostSessions(files: int, ports: int = 1) -> int:
    """
    How many sessions a process that may open so many files should take.

    @param ports: on how many it listens.
    """
    return min(_room(files, ports), _MOST_SESSIONS)


def fittingSessions(asked: int | None, files: int, ports: int = 1) -> int:
    """
    How many sessions a process takes that may open so many files. If its user has
    asked for more than that, the log says so.

    @param asked: 0 for no limit, which is left alone; None for as many as it should
        take.
    @param ports: on how many it listens.
    """
    if asked is None:
        return mostSessions(files, ports)
    most = _room(files, ports)
    if asked > most:
        _log.warn(
            "--max-sessions {asked} is lowered to {most}: the limit of open files is"
            " {openFiles}",
            event="max-sessions-lowered",
            asked=asked,
            most=most,
            openFiles=files,
        )
    return min(asked, most)

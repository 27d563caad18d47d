"""
Open files, event loop and TLS context, set up before a load connects.
"""

import asyncio
import ssl

from twisted_echo.bench.errors import BadRequest, BrokenServer
from twisted_echo.bench.plan import Target


def tls_context(target: Target) -> ssl.SSLContext | None:
    """
    Make the TLS context with which the load connects.

    @raise BadRequest: if the file of authorities cannot be used.
    """
    if not target.tls:
        return None
    try:
        context = ssl.create_default_context(cafile=target.ca)
    except (OSError, ssl.SSLError) as error:
        reason = error.strerror or error
        raise BadRequest(f"--ca {target.ca}: {reason}; a PEM file is needed") from None
    if target.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def allow_files(wanted: int) -> None:
    """
    Raise this process's limit of open files, as far as it may.
    """
    try:
        import resource
    except ImportError:  # pragma: no cover
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted += 64
    if soft != resource.RLIM_INFINITY and soft < wanted:
        if hard != resource.RLIM_INFINITY and hard < wanted:
            raise BadRequest(
                f"{wanted} open files are needed, this process may have {hard}:"
                " lower --connections, raise ulimit -n or, of load, --processes"
            )
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


async def connect(
    protocol: asyncio.Protocol,
    target: Target,
    context: ssl.SSLContext | None,
    timeout: float,
) -> None:
    """
    Connect a protocol to a target.

    @raise BrokenServer: if there is no connection within C{timeout} seconds.
    """
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(timeout):
            if target.path:
                await loop.create_unix_connection(lambda: protocol, target.path)
            else:
                await loop.create_connection(
                    lambda: protocol, target.host, target.port, ssl=context
                )
        return
    except TimeoutError:
        why = f"no answer within {timeout:g} s"
    except OSError as error:
        # Without words when a TLS handshake is broken off.
        why = str(error) or "closed by the server"
    raise BrokenServer(f"cannot connect: {why}")

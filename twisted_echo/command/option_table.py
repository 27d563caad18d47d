"""
The options that take a value, in the form of C{twisted.python.usage}: the name, the
letter, the default, and what it is for. L{twisted_echo.command.help} has the order in
which a person reads them.
"""

from twisted_echo.command.option_parsers import AUTO

__all__ = ["PARAMETERS"]

PARAMETERS = [
    [
        "framing",
        "f",
        "line",
        "What is sent back as a whole: 'line'; 'int8', 'int16' or 'int32', a frame"
        " with its length in as many bits before it; or 'raw', whatever has come.",
    ],
    [
        "delimiter",
        "d",
        "\\n",
        "What ends a line. \\n, \\r, \\0 and \\xHH stand for bytes.",
    ],
    [
        "max-length",
        "m",
        "64K",
        "The longest line or frame, its delimiter or length not counted. A client"
        " that sends a longer one is disconnected.",
    ],
    [
        "drain",
        None,
        "0s",
        "How long, at a stop, clients may finish by themselves before their"
        " connections are closed.",
    ],
    [
        "abort-after",
        None,
        "5s",
        "How long a closed connection waits for its client to read the rest and to"
        " close too, before it is cut off.",
    ],
    [
        "keepalive",
        "k",
        "1m,10s,6",
        "When to ask a silent client whether it is still there: after IDLE, every"
        " INTERVAL, COUNT times; or 'off'.",
    ],
    [
        "idle-timeout",
        None,
        "5m",
        "How long nothing may be sent either way, before the session is closed. 0"
        " for this and the other timeouts: none.",
    ],
    [
        "line-timeout",
        None,
        "1m",
        "How long a client may take from the first byte of a line or frame to its"
        " last.",
    ],
    [
        "write-timeout",
        None,
        "1m",
        "How long a client may take nothing of what waits for it, before it is cut"
        " off.",
    ],
    [
        "handshake-timeout",
        None,
        "10s",
        "How long a TLS handshake or a PROXY header may take.",
    ],
    [
        "max-sessions",
        None,
        AUTO,
        "How many sessions there may be at once; 0 for no limit. 'auto' is what"
        " the limit of open files allows, less a reserve, 100000 at most. A number"
        " that leaves no reserve is lowered.",
    ],
    [
        "max-sessions-per-peer",
        None,
        "0",
        "How many of them by one address (an IPv6 network of 64 bits, the path of a"
        " UNIX socket if its client has one); 0 for no limit. One more is refused.",
    ],
    [
        "when-full",
        None,
        "wait",
        "What becomes of one more than --max-sessions: 'wait' in the backlog,"
        " or 'refuse'.",
    ],
    [
        "max-buffered",
        None,
        "256M",
        "How much may be held for all sessions together; over it, the session that"
        " has been paused longest is cut off, then the one that holds most. 0 for"
        " no limit.",
    ],
    [
        "admin",
        None,
        "off",
        "Where to show metrics, health, readiness and sessions over HTTP: a port of"
        " this machine's loopback address, a Twisted endpoint, or 'off'. Needs the"
        " extra 'metrics'.",
    ],
    [
        "notice",
        None,
        "0s",
        "How long, at a stop, connections are still accepted when /readyz no longer"
        " reports ready, so that a balancer sends no new ones.",
    ],
    [
        "workers",
        None,
        "1",
        "How many processes serve. Limits are of each.",
    ],
    [
        "log-sessions",
        None,
        "problems",
        "Whose end, or refusal, is logged: 'none', 'problems' or 'all'.",
    ],
]

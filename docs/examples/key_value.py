"""
A key-value server with one answer for each line: GET key, SET key value, DEL key.

    twistd -ny key_value.py

    printf 'SET a 1\\r\\nGET a\\r\\n' | nc -N 127.0.0.1 7008

It limits the length of a line, the number of keys and the number of sessions. A client
that is silent for a minute is closed.
"""

from twisted.application.service import Application

from twisted_echo import (
    AnsweringLineReceiver,
    Deadlines,
    Limits,
    SessionFactory,
    SessionService,
)

MOST_KEYS = 10_000


class KeyValue(AnsweringLineReceiver):
    MAX_LENGTH = 1024
    values: dict[bytes, bytes] = {}  # noqa: RUF012 - shared by all sessions

    def answer(self, line: bytes) -> bytes:
        match line.split(b" ", 2):
            case [b"GET", key] if key in self.values:
                return b"VALUE " + self.values[key]
            case [b"SET", key, _] if (
                key not in self.values and len(self.values) >= MOST_KEYS
            ):
                return b"ERROR full"
            case [b"SET", key, value]:
                self.values[key] = value
                return b"OK"
            case [b"DEL", key] if self.values.pop(key, None) is not None:
                return b"OK"
            case [b"GET" | b"DEL", _]:
                return b"NONE"
        return b"ERROR GET key, SET key value or DEL key"


factory = SessionFactory.forProtocol(
    KeyValue, deadlines=Deadlines(idle=60), limits=Limits(sessions=1000)
)
application = Application("key-value")
service = SessionService("tcp:7008:interface=127.0.0.1", factory)
service.setServiceParent(application)

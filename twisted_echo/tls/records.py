"""
Encrypt and decrypt the bytes of one connection, with the standard library: an
C{ssl.SSLObject} between two C{ssl.MemoryBIO}s.

What has been received goes into the one BIO, and what the protocol is to get comes out
of the object. What the protocol writes goes into the object, and what comes out of the
other BIO is sent.

What must hold:

  - what the protocol writes is encrypted before its call returns, or, within
    C{dataReceived}, when that returns: one record and one send for many small writes;
  - OpenSSL is given one record's worth at a time, for its buffers never shrink.

It is an object apart from its owner for speed: every wrapper of Twisted's has a
C{__getattr__}, and Python looks up the attributes of such a class at four times the
cost.
"""

import sys
from collections.abc import Callable
from functools import partial
from ssl import MemoryBIO, SSLContext, SSLError, SSLObject, SSLWantReadError
from typing import Any, Protocol

from twisted_echo.tls.stage import Stage, Staged

__all__ = ["RECORD", "Input", "Output", "Records", "RecordsOwner"]

RECORD = 16384
"""
The most that one record carries, in bytes.
"""
_MOST_GATHERED = 65536
"""
How many bytes the protocol may write within one C{dataReceived} before they are
encrypted: what the transport holds pauses a producer, and what is gathered does not.
"""


# (To ask an enumeration for one of its members costs more than a whole call.)
_HELLO, _HANDSHAKE, _OPEN, _CLOSING, _FINISHED, _OVER = Stage


class RecordsOwner(Protocol):
    """
    The connection. It handles all input that is not one record of an open connection.
    """

    def receive(self, data: bytes) -> None:
        """
        Handle more than a record, or input while the connection is not open.
        """

    def readRest(self, plain: bytes) -> None:
        """
        Read the rest of the BIO, or handle a close_notify that was read.

        @param plain: what was read before.
        """

    def readFailed(self, error: SSLError) -> None:
        """
        Handle a read that gave nothing, because of less than a record, or of an error.
        """

    def connectionFailed(self, error: SSLError) -> None:
        """
        End the connection, which is broken.
        """


class Output(Protocol):
    """
    The transport that encrypted bytes are written to.
    """

    def write(self, data: bytes) -> object: ...


class Input(Protocol):
    """
    The protocol that gets the decrypted bytes.
    """

    def dataReceived(self, data: bytes) -> object: ...


class _Nobody:
    """
    Placeholder for the protocol until the handshake is done, and for protocol and owner
    at the end.
    """

    def receive(self, data: bytes) -> None: ...

    readRest = dataReceived = receive

    def readFailed(self, error: SSLError) -> None: ...

    connectionFailed = readFailed


_NOBODY = _Nobody()


class Records(Staged):
    """
    The records of one connection.

    @ivar bytesSent: how many bytes have been encrypted.
    @ivar tls: the object.
    @ivar incoming: the BIO of what was received.
    @ivar read: reads from the object.
    @ivar protocol: is given what was decrypted.
    @ivar owner: the connection.
    """

    __slots__ = (
        "_gathered",
        "_gatheredSize",
        "_outgoing",
        "_sslWrite",
        "_transport",
        "_waiting",
        "bytesSent",
        "incoming",
        "owner",
        "protocol",
        "read",
        "tls",
    )

    def __init__(
        self, context: SSLContext, transport: Output, owner: RecordsOwner
    ) -> None:
        super().__init__()
        self.bytesSent = 0
        self.incoming, self._outgoing = MemoryBIO(), MemoryBIO()
        self.tls: SSLObject = context.wrap_bio(
            self.incoming, self._outgoing, server_side=True
        )
        # Without the Python calls between: the object's own methods just call these.
        inner: Any = getattr(self.tls, "_sslobj", self.tls)
        self.read, self._sslWrite = inner.read, inner.write
        self._transport = transport
        self.owner: RecordsOwner = owner
        self.protocol: Input = _NOBODY
        # What the protocol writes while it is being given something.
        self._gathered: list[bytes] | None = None
        self._gatheredSize = 0
        # What it has written while nothing could be encrypted.
        self._waiting: list[bytes] | tuple[()] = ()

    def handshake(self) -> None:
        """
        Take the next step of the handshake.

        @raise SSLError: as C{SSLObject.do_handshake} does.
        """
        # If a peer asks for a name that is not ASCII, the `ssl` module does not raise.
        # It shows the name to this hook, which by default writes it to standard error.
        hook = sys.unraisablehook
        sys.unraisablehook = partial(_withoutNames, hook)
        try:
            self.tls.do_handshake()
        finally:
            sys.unraisablehook = hook

    def dataReceived(self, data: bytes) -> None:
        """
        Decrypt and deliver. Every line passes here.
        """
        if self.stage is not _OPEN or len(data) > RECORD:
            self.owner.receive(data)
            return
        incoming = self.incoming
        incoming.write(data)
        try:
            plain = self.read(RECORD)
        except SSLError as error:
            self.owner.readFailed(error)
            return
        if not plain or incoming.pending or self._gathered is not None:
            self.owner.readRest(plain)
            return
        gathered: list[bytes] = []
        self._gathered = gathered
        try:
            self.protocol.dataReceived(plain)
        finally:
            self._gathered = None
        if gathered:
            self._gatheredSize = 0
            self._encryptPieces(gathered)
        outgoing = self._outgoing
        if outgoing.pending:
            self._transport.write(outgoing.read())

    def write(self, data: bytes) -> None:
        """
        Encrypt and send; within L{dataReceived}, when that returns.

        @raise TypeError: if it is a C{str}.
        """
        gathered = self._gathered
        if gathered is None or type(data) is not bytes:
            self._writeNow(data)
            return
        gathered.append(data)
        self._gatheredSize += len(data)
        if self._gatheredSize > _MOST_GATHERED:
            self.encryptGathered()

    def _writeNow(self, data: bytes) -> None:
        if isinstance(data, str):
            raise TypeError(f"what is written must be bytes, got the str {data!r}")
        if type(data) is not bytes:
            # Such as a bytearray, which may change. (`bytes` of a number are zeros.)
            data = bytes(memoryview(data))
        if self._gathered is not None:
            self.write(data)
        else:
            self._encryptPieces([data])
            self.flush()

    def gather(self, call: Callable[[], object]) -> None:
        """
        Make a call and gather what the protocol writes meanwhile, which is then
        encrypted and sent behind what the BIO holds already.
        """
        # If it is called from within, what was written before goes before.
        self.encryptGathered()
        self._gathered = []
        try:
            call()
        finally:
            gathered, self._gathered = self._gathered, None
        if gathered:
            self._encryptPieces(gathered)
        self.flush()

    def encryptGathered(self) -> None:
        """
        Encrypt and send what is gathered.
        """
        if self._gathered:
            self._gatheredSize = 0
            self._encryptPieces(self._gathered)
            self.flush()

    def encryptWaiting(self) -> None:
        """
        Encrypt and send what was written when that was impossible.
        """
        if self._waiting:
            waiting, self._waiting = list(self._waiting), ()
            self._encryptPieces(waiting)
            self.flush()

    def _encryptPieces(self, pieces: list[bytes]) -> None:
        """
        Encrypt pieces. Keep them if it is too early for that; drop them if it is too
        late.
        """
        data = pieces.pop()
        if pieces:
            pieces.append(data)
            data = b"".join(pieces)
            pieces.clear()
        if not data or self.stage >= _FINISHED:
            return
        if self._waiting:
            self._waiting.append(data)
        elif self.stage < _OPEN:
            self._waiting = [data]
        elif len(data) > RECORD:
            for start in range(0, len(data), RECORD):
                self._encryptPieces([data[start : start + RECORD]])
                self.flush()
        else:
            try:
                self._sslWrite(data)
            except SSLWantReadError:
                # The peer has begun a handshake within the connection.
                self._waiting = [data]
            except SSLError as error:
                # As over TCP, it is the connection that fails, and not the protocol.
                self.owner.connectionFailed(error)
            else:
                self.bytesSent += len(data)

    def flush(self) -> None:
        """
        Send what OpenSSL has put into the outgoing BIO.
        """
        if self._outgoing.pending:
            self._transport.write(self._outgoing.read())

    @property
    def hasOutgoing(self) -> bool:
        """
        Whether the outgoing BIO holds something.
        """
        return bool(self._outgoing.pending)

    @property
    def hasWaiting(self) -> bool:
        """
        Whether something could not be encrypted yet.
        """
        return bool(self._waiting)

    def ownBytes(self) -> int:
        """
        How many bytes are held here, those included that a handshake which waits for
        its turn has not read.
        """
        written = sum(map(len, self._waiting)) + sum(map(len, self._gathered or ()))
        return written + self.incoming.pending

    def dropWaiting(self) -> None:
        """
        Give up what could not be encrypted yet.
        """
        self._waiting = ()

    def end(self) -> None:
        """
        Drop everything that is held, and the references to the protocol and the owner.
        """
        self.enter(_OVER)
        self.dropWaiting()
        self._gathered = None
        self.protocol = self.owner = _NOBODY


def _withoutNames(
    hook: Callable[["sys.UnraisableHookArgs"], object],
    unraisable: "sys.UnraisableHookArgs",
) -> None:
    """
    Call a hook of unraisable exceptions, unless the exception is for a peer's name.
    """
    isName = type(unraisable.object) is bytes
    if not (isName and unraisable.exc_type is UnicodeDecodeError):
        hook(unraisable)

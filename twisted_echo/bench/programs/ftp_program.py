"""
FTP: commands in an open connection, and downloads, each by a data connection.
"""

import asyncio
import io
import re
from collections.abc import Iterator, Sequence
from typing import Any

from twisted.internet.defer import Deferred, succeed

from twisted_echo.bench.errors import BrokenServer
from twisted_echo.bench.programs.dialogue import DialogueProgram, DialogueStep
from twisted_echo.bench.programs.kind import HOST, Program

CONTENT = b"one line of a file\n" * 54
"""
About 1 KiB.
"""

LOGIN = (
    DialogueStep(b"", re.compile(rb"220 [^\r\n]*\r\n")),
    DialogueStep(b"USER anonymous\r\n", re.compile(rb"331 [^\r\n]*\r\n")),
    DialogueStep(b"PASS some@localhost\r\n", re.compile(rb"230 [^\r\n]*\r\n")),
)


def factory() -> Any:
    """
    Make a server of one file that anonymous users may read.
    """
    # It uses the reactor when it is imported.
    from twisted.cred.checkers import AllowAnonymousAccess
    from twisted.cred.portal import IRealm, Portal
    from twisted.protocols import basic, ftp
    from zope.interface import implementer

    @implementer(ftp.IReadFile)
    class ReadFile:
        def send(self, consumer: Any) -> Deferred[Any]:
            file, sender = io.BytesIO(CONTENT), basic.FileSender()
            sent: Deferred[Any] = sender.beginFileTransfer(file, consumer)
            return sent

    class Shell(ftp.FTPAnonymousShell):
        def openForReading(self, path: Any) -> Deferred[Any]:
            return succeed(ReadFile())

    @implementer(IRealm)
    class Realm:
        def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> Any:
            return ftp.IFTPShell, Shell(None), lambda: None

    made: Any = ftp.FTPFactory(Portal(Realm(), [AllowAnonymousAccess()]))
    made.timeOut = None
    return made


class FTPCommands(DialogueProgram):
    opening = LOGIN
    operation: Sequence[DialogueStep] = (DialogueStep(b"PWD\r\n", b'257 "/"\r\n'),)

    def factory(self) -> Any:
        return factory()


class FTPDownload(Program):
    def factory(self) -> Any:
        return factory()

    async def connect(self, port: int) -> "DownloadClient":
        client = DownloadClient(*await asyncio.open_connection(HOST, port))
        for step in LOGIN:
            await client.command(step)
        return client


class DownloadClient:
    """
    Downloads the file, again and again.
    """

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._reader = reader
        self._writer = writer

    async def command(self, step: DialogueStep) -> bytes:
        """
        Send a command, and wait for the line that answers it.
        """
        self._writer.write(step.send)
        line = await self._reader.readline()
        if not step.is_answered(line):
            raise BrokenServer(f"wrong reply to {step.send!r}: {line!r}")
        return line

    async def converse(self, turns: Iterator[None]) -> None:
        for _ in turns:
            line = await self.command(
                DialogueStep(
                    b"PASV\r\n", re.compile(rb"227 [^(]*\([\d,]+\)[^\r\n]*\r\n")
                )
            )
            high, low = re.findall(rb"\d+", line)[-2:]
            port = int(high) * 256 + int(low)
            reader, writer = await asyncio.open_connection(HOST, port)
            await self.command(
                DialogueStep(b"RETR file\r\n", re.compile(rb"1[25][50] .*\r\n"))
            )
            content = await reader.read(-1)
            writer.close()
            if content != CONTENT:
                raise BrokenServer(f"wrong file of {len(content)} bytes")
            await self.command(DialogueStep(b"", re.compile(rb"226 .*\r\n")))

    def leave(self) -> None:
        self._writer.close()


commands = FTPCommands()
download = FTPDownload()

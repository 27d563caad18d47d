"""
L{twisted_echo.logs}: JSON that a parser reads, whatever is logged; and every event of
the package has a name.
"""

import ast
import json
import os
import re
import signal
import subprocess
from collections import Counter
from io import StringIO
from pathlib import Path
from typing import Any

from twisted.logger import ILogObserver, Logger
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.support.events import PACKAGE, calls_in, log_calls, loggers_in, sources
from tests.support.marks import slow
from tests.support.processes import (
    DEADLINE,
    EXEC,
    Server,
    connect,
    environment,
    finished,
    new_folder,
    read_to_end,
    round_trip,
    script,
)
from twisted_echo.logs import json_observer as logs
from twisted_echo.logs.json_observer import JSONObserver, checkLogging

HEAD = ["time", "level", "logger", "pid", "event", "message"]
"""
The fields that every line has.
"""

BROKEN = """\
from twisted.application.service import Application
from twisted.internet import reactor

def fail():
    raise ValueError("first\\nsecond")

application = Application("broken")
reactor.callLater(0, fail)
reactor.callLater(0, reactor.stop)
"""


FIELDS: dict[str, tuple[type | None, ...]] = {
    # Words that come from elsewhere: addresses, paths, versions, errors.
    **dict.fromkeys(
        (
            *("peer", "peerSubject", "address", "file", "option", "path", "line"),
            "session",
            *("version", "implementation", "twisted", "python", "reactor"),
            *("reason", "fault", "detail", "subject", "notAfter"),
        ),
        (str,),
    ),
    # One of some words.
    **dict.fromkeys(("state", "stream", "what", "cause"), (str,)),
    "hasListened": (bool,),
    "admin": (str, None),
    "addresses": (list,),
    "files": (list,),
    "variables": (list,),
    # How many, or in which.
    "workers": (int, list),
    "worker": (int, None),
    **dict.fromkeys(
        (
            *("sessions", "paused", "handshakes", "pending", "opened", "acceptErrors"),
            *("received", "lines", "bytesReceived", "count", "dropped"),
            *("soft", "tries", "process", "asked", "most", "openFiles"),
        ),
        (int,),
    ),
    **dict.fromkeys(("sent", "bytesSent"), (int, None)),
    **dict.fromkeys(("seconds", "delay", "sampleRate"), (int, float)),
    **dict.fromkeys(
        ("ended", "refused", "served", "restarts", "numbers", "limits", "exit"),
        (dict,),
    ),
}
"""
The fields of events, and what each is in JSON; None for null.
"""


UNNAMED = {"worker", "soft", "asked", "most", "count", "process", "tries"}
"""
Numbers of which a sentence says what they are, without their name.
"""


def assert_fields(event: dict[str, Any]) -> None:
    """
    An event has its fields as they are promised.
    """
    for name, value in event.items():
        if name in (*HEAD, "traceback") or name.startswith("log_"):
            continue
        allowed = FIELDS[name]
        kind = None if value is None else type(value)
        assert kind in allowed, f"{name} of {event['event']} is {value!r}"
        if isinstance(value, dict) and name not in ("limits", "exit"):
            for each in value.values():
                assert isinstance(each, (int, float)), f"{name}: {value!r}"


class EventTests(SynchronousTestCase):
    """
    What the source of the package logs.
    """

    def test_named(self) -> None:
        """
        Each event has a name, which no other has, and fields that none of the
        fixed ones hides.
        """
        calls = log_calls()
        self.assertGreater(len(calls), 10)
        for call in calls:
            self.assertRegex(call.event or "", r"^[a-z]+(-[a-z]+)*$", call.place)
            for field in call.fields:
                self.assertRegex(field, r"^[a-z]+([A-Z][a-z]+)*$", call.place)
                self.assertNotIn(field, [*HEAD, "traceback"], call.place)
        twice = {name for name, n in Counter(c.event for c in calls).items() if n > 1}
        self.assertEqual(twice, set())

    def test_fields(self) -> None:
        """
        Each field is text, a number, a list or an object: never a number in prose.
        """
        for call in log_calls():
            self.assertLessEqual(set(call.fields), set(FIELDS), call.place)

    def test_textHasAllFields(self) -> None:
        """
        What JSON has of an event, its text has, too.
        """
        elsewhere = {
            # Within another field of the text.
            *(("numbers", "detail"), ("option", "reason")),
            # As words of the text.
            ("hasListened", "hasListened"),
        }
        words = {field for field, place in elsewhere if place == field}
        self.assertGreater(len(words), 0)
        for call in log_calls():
            for field in call.fields:
                places = {field, *(place for name, place in elsewhere if name == field)}
                if field not in words:
                    self.assertTrue(
                        places & call.placeholders, f"{field} at {call.place}"
                    )
            self.assertLessEqual(call.placeholders, {*call.fields}, call.place)

    def test_sameNames(self) -> None:
        """
        The text calls a count what JSON calls it.
        """
        for call in log_calls():
            for field in call.fields:
                if FIELDS[field] not in ((int,), (int, None)) or field in UNNAMED:
                    continue
                for word in re.findall("[a-z]+|[A-Z][a-z]+", field):
                    word = word.lower().removesuffix("s")
                    self.assertIn(word, call.words, f"{field} at {call.place}")

    def test_nothingElse(self) -> None:
        """
        Nothing is logged in another way than those that were looked at; but what
        reads as the reactor does, the reactor and its transports, say what Twisted's
        say, as they do.
        """
        for path in sources():
            source = path.read_text()
            self.assertLessEqual(set(loggers_in(source)), {"_log"}, path)
            if path.name in (
                "receive_queue.py",
                "tls_layer.py",
                "accepting.py",
                "asyncio_reactor.py",
                "epoll_reactor.py",
                "reactor_mixin.py",
                "served.py",
                "unix_transports.py",
                "write_queue.py",
            ):
                continue
            for node in ast.walk(ast.parse(source)):
                if isinstance(node, ast.Attribute) and node.attr in ("msg", "err"):
                    self.assertNotEqual(getattr(node.value, "id", None), "log", path)

    def test_collected(self) -> None:
        """
        The collector sees what it should.
        """
        source = (
            "class A:\n"
            "    logger = Logger()\n"
            "    other._logger = Logger(observer=x)\n"
            "    def f(self):\n"
            "        self._log.info('a {b}', b=1)\n"
            "        _log.failure('a', failure=f, event='x-y', session=s)\n"
            "        _log.emit(level, 'a', event=name)\n"
            "        _log.info('a', **({} if c else {'c': c}), d=d, event='x')\n"
            "        other.info('a')\n"
        )
        found = [
            (call.level, call.event, call.fields)
            for call in calls_in(source, PACKAGE / "a.py")
        ]
        self.assertEqual(
            found,
            [
                ("info", None, ("b",)),
                ("failure", "x-y", ("session",)),
                ("emit", None, ()),
                ("info", "x", ("d", "c")),
            ],
        )
        self.assertEqual(list(loggers_in(source)), ["logger"])


class Hostile:
    """
    A value that cannot be formatted.
    """

    def __str__(self) -> str:
        raise RuntimeError("not me")


class JSONObserverTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.file = StringIO()
        self.log = Logger("some.where", observer=JSONObserver(self.file))

    def told(self) -> dict[str, Any]:
        """
        The one line that was written since the last time.
        """
        text = self.file.getvalue()
        self.file.seek(0)
        self.file.truncate()
        self.assertTrue(text.endswith("\n"))
        self.assertTrue(text[:-1].isascii() and text[:-1].isprintable(), ascii(text))
        fields: dict[str, Any] = json.loads(
            text, parse_constant=lambda name: self.fail(f"{name} is no JSON")
        )
        self.assertEqual(list(fields)[: len(HEAD)], HEAD)
        return fields

    def test_interface(self) -> None:
        verifyObject(ILogObserver, JSONObserver(self.file))

    def test_torn(self) -> None:
        """
        A line that was written in part, on a disk that was full, takes none along that
        comes later.
        """
        written = StringIO()
        room = [10]

        class Full(StringIO):
            def write(self, text: str) -> int:
                written.write(text[: room[0]])
                if len(text) > room[0]:
                    raise OSError("no space left")
                return len(text)

        log = Logger("some.where", observer=JSONObserver(Full()))
        log.info("lost")
        log.info("lost, too")
        room[0] = 1000
        log.info("kept")
        log.info("kept, too")
        *lost, kept, too = written.getvalue().splitlines()
        self.assertEqual([len(each) for each in lost], [10, 9])
        told = [json.loads(each)["message"] for each in (kept, too)]
        self.assertEqual(told, ["kept", "kept, too"])

    def test_fields(self) -> None:
        """
        The fixed fields first, then the event's own, and nothing of Twisted's.
        """
        self.log.warn("{peer} said {n}", event="it-said", peer="p", n=7, log_x=1)
        told = self.told()
        self.assertRegex(told.pop("time"), r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$")
        self.assertEqual(
            told,
            {
                "level": "warn",
                "logger": "some.where",
                "pid": os.getpid(),
                "event": "it-said",
                "message": "p said 7",
                "peer": "p",
                "n": 7,
            },
        )

    def test_time(self) -> None:
        """
        The time is the event's, in UTC.
        """
        JSONObserver(self.file)({"log_time": 86400.25, "log_format": "x"})
        self.assertEqual(self.told()["time"], "1970-01-02T00:00:00.250000Z")

    def test_foreign(self) -> None:
        """
        Of what others log, the message is told, and C{event} is null.
        """
        self.log.info("hello {who}", who="you", event=3)
        told = self.told()
        self.assertEqual((told["message"], told["event"]), ("hello you", None))
        self.assertEqual(list(told), HEAD)

    def test_values(self) -> None:
        """
        What JSON has not becomes text.
        """
        values = {
            "a": (1, [2.5, None]),
            "b": {"k": True, 3: b"\xff\n"},
            "c": float("nan"),
            "d": float("-inf"),
            "e": Hostile(),
            "f": Path("/x"),
            "g": {7},
        }
        self.log.info("values", event="values", **values)
        told = self.told()
        self.assertEqual(
            {key: told[key] for key in values},
            {
                "a": [1, [2.5, None]],
                "b": {"k": True, "3": "\\xff\n"},
                "c": "nan",
                "d": "-inf",
                "e": "<Hostile>",
                "f": "/x",
                "g": [7],
            },
        )

    def test_fixedFieldsStay(self) -> None:
        """
        No field of an event's replaces a fixed one.
        """
        self.log.info("right", event="x", message="wrong", time="wrong", pid="wrong")
        told = self.told()
        self.assertEqual((told["message"], told["pid"]), ("right", os.getpid()))
        self.assertNotEqual(told["time"], "wrong")

    def test_oneLine(self) -> None:
        """
        No text breaks the line, or is anything but ASCII.
        """
        evil = "\n\r\x1b[31m\x00\x85\u2028\ud800é\x7f"
        self.log.info("{text}", event="x", text=evil)
        told = self.told()
        self.assertEqual((told["text"], told["message"]), (evil, evil))

    def test_traceback(self) -> None:
        """
        A failure is one line, with its traceback.
        """
        try:
            raise ValueError("first\nsecond")
        except ValueError:
            self.log.failure("it failed", event="x", session="s")
        told = self.told()
        self.assertEqual((told["level"], told["message"]), ("critical", "it failed"))
        self.assertIn("ValueError: first\nsecond", told["traceback"])
        self.assertEqual(told["session"], "s")

    def test_cannotTell(self) -> None:
        """
        What cannot be written says so, in a line.
        """
        endless: list[Any] = []
        endless.append(endless)
        self.log.info("x", event="x", endless=endless)
        told = self.told()
        self.assertEqual(
            told["message"], "an event cannot be formatted: RecursionError"
        )
        self.log.failure("x", Failure(ValueError()), event="x", huge=10**5000)
        self.assertIn("cannot be formatted", self.told()["message"])

    def test_neverRaises(self) -> None:
        """
        Neither does a file that is closed or missing, nor an event that is none.
        """
        self.file.close()
        self.log.info("x")
        Logger(observer=JSONObserver(None)).info("x")
        JSONObserver(StringIO())({"log_time": "never"})


class CheckLoggingTests(SynchronousTestCase):
    def test_allowed(self) -> None:
        """
        In the foreground, with other loggers, and under C{twist}.
        """
        name = "twisted_echo.logs.json"
        for parent in (
            None,
            {},
            {"logger": None, "logfile": "x"},
            {"logger": "some.other", "logfile": "x", "nodaemon": 0},
            {"logger": name, "nodaemon": 1, "logfile": None, "syslog": 0},
            {"logger": name, "nodaemon": 1, "logfile": "-"},
            {"logger": logs.json, "debug": True},
        ):
            checkLogging(parent)

    def test_refused(self) -> None:
        """
        What would lose the log is named.
        """
        for more, named in (
            ({"nodaemon": 0}, "--nodaemon"),
            ({"logfile": "x.log"}, "--logfile=x.log"),
            ({"syslog": 1}, "--syslog"),
        ):
            for logger in ("twisted_echo.logs.json", logs.json):
                parent = {"logger": logger, "nodaemon": 1, "logfile": None, **more}
                with self.assertRaisesRegex(ValueError, named):
                    checkLogging(parent)


class CommandTests(SynchronousTestCase):
    """
    Real processes.
    """

    TWISTD = (
        script("twistd"),
        *("--nodaemon", "--pidfile=", "--logger=twisted_echo.logs.json"),
    )
    TWIST = (script("twist"), "--log-format=json")

    def lines(self, text: str) -> list[dict[str, Any]]:
        # (Twisted's own begin with a record separator.)
        return [json.loads(line.removeprefix("\x1e")) for line in text.split("\n")[:-1]]

    def json_server(self, *command: str) -> Server:
        server = Server(
            self,
            [
                *command,
                *("echo", "--listen", "tcp:0:interface=127.0.0.1"),
                *("--max-length", "10", "--max-sessions", "1"),
                *("--when-full", "refuse"),
            ],
            folder=new_folder(self),
        )
        server.wait_for(r'"event": "started".*\n')
        return server

    def events(self, *command: str) -> dict[str, dict[str, Any]]:
        """
        Run a server, in which one client is refused and another ends in disgrace.

        @return: its events by their names.
        """
        server = self.json_server(*command)
        (listening,) = (
            each for each in self.lines(server.stdout) if each.get("event") == "started"
        )
        address = "127.0.0.1", int(listening["addresses"][0].rpartition(":")[2])
        client = connect(self, address)
        client.sendall(b"a\n")
        self.assertEqual(client.recv(10), b"a\n")
        self.assertEqual(read_to_end(connect(self, address)), b"")
        client.sendall(b"b" * 11)
        self.assertEqual(read_to_end(client), b"")
        client.close()
        server.wait_for(r'"event": "session-ended".*\n')
        server.signal(signal.SIGTERM)
        self.assertEqual(server.stderr, "")
        return {
            each["event"]: each
            for each in self.lines(server.stdout)
            if each.get("event") is not None
        }

    def look(self, events: dict[str, dict[str, Any]]) -> None:
        ended, refused = events["session-ended"], events["connection-refused"]
        for each in (ended, refused):
            self.assertIn("127.0.0.1", each["peer"])
        self.assertEqual(ended["reason"], "line-too-long")
        self.assertEqual(ended["bytesReceived"], 13)
        self.assertIsInstance(ended["seconds"], float)
        self.assertIn("11", ended["detail"])
        self.assertEqual(ended["numbers"], {"length": 11, "limit": 10})
        self.assertEqual(refused["reason"], "refused-full")
        stopped = events["stopped"]
        self.assertEqual(stopped["sessions"], 0)
        self.assertEqual(stopped["served"], {"line-too-long": 1})
        self.assertEqual(stopped["refused"], {"refused-full": 1})
        for each in events.values():
            assert_fields(each)

    def test_twistd(self) -> None:
        """
        Every line of C{twistd} is JSON, and has the fields.
        """
        events = self.events(*self.TWISTD)
        self.look(events)
        for each in events.values():
            self.assertEqual(list(each)[: len(HEAD)], HEAD)
        self.assertEqual(events["session-ended"]["level"], "warn")
        self.assertIn("line-too-long", events["session-ended"]["message"])

    def test_twist(self) -> None:
        """
        In the JSON of C{twist} the events have the same names and fields.
        """
        self.look(self.events(*self.TWIST))

    def test_life(self) -> None:
        """
        The events of a life have their fields as they are promised.
        """
        self.assert_life()

    @slow
    def test_lifeOfWorkers(self) -> None:
        """
        So have those that a worker hands on.
        """
        self.assert_life("--workers", "2")

    def assert_life(self, *more: str) -> None:
        folder = new_folder(self)
        server = Server(
            self,
            [
                *self.TWISTD,
                *("echo", "--listen", "unix:echo.sock", "--log-sessions", "all"),
                *("--admin", "unix:admin.sock", "--notice", "10ms", "--drain"),
                *("1h", "--max-length", "1K", *more),
            ],
            folder=folder,
            launcher=EXEC.replace("os.execv", "signal.signal(1, 0); os.execv"),
        )
        server.wait_for(r'"event": "started".*\n')
        overlong, client = (connect(self, str(folder / "echo.sock")) for _ in range(2))
        overlong.sendall(b"x" * 1025 + b"\n")
        self.assertEqual(read_to_end(overlong), b"")
        overlong.close()
        server.wait_for(r'"event": "session-ended".*\n')
        self.assertEqual(round_trip(client, b"hello\n"), b"hello\n")
        server.process.send_signal(signal.SIGUSR2)
        server.wait_for(r'"event": "status".*\n')
        server.process.send_signal(signal.SIGHUP)
        server.wait_for(r'"event": "nothing-to-reload".*\n')
        server.process.send_signal(signal.SIGTERM)
        server.wait_for(r'"event": "notice".*\n')
        if more:
            server.wait_for(r'"event": "draining".*\n')
        server.signal(signal.SIGTERM)
        events = [each for each in self.lines(server.stdout) if each["event"]]
        for each in events:
            assert_fields(each)
        self.assertEqual(
            {"started", "session-ended", "status", "notice"}
            - {each["event"] for each in events},
            set(),
        )
        by_name = {each["event"]: each for each in events}
        started = by_name["started"]
        self.assertEqual(started["workers"], 2 if more else 1)
        self.assertEqual(started["limits"]["buffered"], 1 << 28)
        self.assertEqual(started["addresses"], ["unix:echo.sock"])
        self.assertIn("256M bytes buffered", started["message"])
        (problem,) = (each for each in events if each.get("reason") == "line-too-long")
        self.assertEqual(problem["numbers"], {"length": 1025, "limit": 1024})
        self.assertIn("over the limit of 1K", problem["message"])
        if more:
            self.assertIn(problem["worker"], (0, 1))
            self.assertIn("1h", by_name["draining"]["message"])
        last = by_name["workers-stopped" if more else "stopped"]
        self.assertEqual(last["served"]["line-too-long"], 1)

    def test_readerGone(self) -> None:
        """
        Whoever read the log has gone: the service goes on, and stops in order.
        """
        folder = new_folder(self)
        read, write = os.pipe()
        process = subprocess.Popen(
            [*self.TWISTD, "echo", "--listen", "unix:echo.sock", "--max-length", "9"],
            cwd=folder,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=write,
            stderr=subprocess.DEVNULL,
        )
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        os.close(write)
        with open(read) as log:
            self.assertTrue(any('"started"' in line for line in log))
        for _ in range(3):
            client = connect(self, str(folder / "echo.sock"))
            self.assertEqual(round_trip(client, b"a\n"), b"a\n")
            # This is logged.
            client.sendall(b"b" * 11)
            self.assertEqual(read_to_end(client), b"")
            client.close()
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(DEADLINE), -signal.SIGTERM)

    def test_traceback(self) -> None:
        """
        With a program of another's too each line is JSON, also that of an exception
        which nobody handles.
        """
        folder = new_folder(self)
        (folder / "broken.tac").write_text(BROKEN)
        words = [*self.TWISTD, "--python=broken.tac"]
        command = finished(self, words, folder=folder)
        self.assertEqual((command.wait(), command.stderr), (0, ""))
        (event,) = (each for each in self.lines(command.stdout) if "traceback" in each)
        self.assertIn("ValueError: first\nsecond", event["traceback"])
        self.assertEqual((event["level"], event["event"]), ("critical", None))

    def test_refused(self) -> None:
        """
        As a daemon, or with a log file, C{twistd} tells why not, and does not start.
        """
        for more, named in (
            ((), "--nodaemon"),
            (("-n", "--logfile=x.log"), "--logfile=x.log"),
        ):
            folder = new_folder(self)
            command = finished(
                self,
                [script("twistd"), "--logger=twisted_echo.logs.json", *more, "echo"],
                folder=folder,
            )
            self.assertEqual(command.wait(), 1)
            self.assertIn("--logger=twisted_echo.logs.json writes", command.stderr)
            self.assertIn(named, command.stderr)
            self.assertEqual(list(folder.iterdir()), [])

"""
L{twisted_echo.eager.compat}: what this Twisted lacks is told by name.
"""

import inspect
import subprocess
import sys
from typing import Any

from twisted.internet import abstract, epollreactor, tcp, unix
from twisted.python import context, log
from twisted.trial.unittest import SynchronousTestCase

from tests.support.paths import PROJECT
from tests.support.processes import DEADLINE, environment, new_folder
from twisted_echo.eager.compat import unfit
from twisted_echo.reactor import UnfitTwisted, install

CHANGED = """
import os, sys
from twisted.internet import abstract, epollreactor, posixbase, tcp, unix

for change in sys.argv[1:]:
    if os.fork():
        os.wait()
        continue
    exec(change)
    try:
        from twisted_echo.reactor import install

        install()
    except Exception as problem:
        print(f"{type(problem).__name__}: {problem}")
    else:
        print("installed")
    break
"""

ATTRIBUTES: dict[Any, tuple[str, ...]] = {
    abstract.FileDescriptor: (
        "_isSendBufferFull",
        "_maybePauseProducer",
        "_writeDisconnected",
        "_writeDisconnecting",
        "dataBuffer",
        "offset",
    ),
    tcp.Connection: ("_dataReceived",),
    tcp.Server: ("_fromConnectedSocket",),
    tcp.Port: ("_fromListeningDescriptor", "transport"),
    epollreactor.EPollReactor: ("doPoll",),
    log: ("ILogContext", "callWithLogger"),
}
"""
Some of what must be there, each of a class or module that does not inherit it.
"""


class UnfitTests(SynchronousTestCase):
    def remove(self, owner: Any, name: str) -> None:
        """
        Take an attribute away until the test ends.
        """
        value = vars(owner)[name]
        delattr(owner, name)
        self.addCleanup(setattr, owner, name, value)

    def test_fit(self) -> None:
        """
        This Twisted suits.
        """
        self.assertIsNone(unfit())

    def test_missing(self) -> None:
        """
        Each attribute that is missing is named, and nothing else is.
        """
        for owner, names in ATTRIBUTES.items():
            for name in names:
                value = vars(owner)[name]
                delattr(owner, name)
                try:
                    reason = unfit()
                finally:
                    setattr(owner, name, value)
                label = getattr(owner, "__qualname__", None)
                self.assertIsNotNone(reason, f"{owner}.{name}")
                if label is not None:
                    self.assertIn(f"{label}.{name}", str(reason))
                self.assertIn(f".{name}", str(reason))
        self.assertIsNone(unfit())

    def test_everyName(self) -> None:
        """
        So is every private name that the transports and the reactor use: this
        list is not shorter than what they lean on.
        """
        from twisted_echo.eager import compat, reactor, transports

        listed = inspect.getsource(compat)
        used = {
            name
            for module in (reactor, transports)
            for each in vars(module).values()
            if inspect.isclass(each) and each.__module__ == module.__name__
            for name in _private(each)
            if _stock(name)
        }
        self.assertIn("_disconnectSelectable", used)
        self.assertEqual({name for name in used if f'"{name}"' not in listed}, set())

    def test_several(self) -> None:
        """
        Several are told in one sentence, with the version.
        """
        from twisted import __version__

        self.remove(tcp.Port, "_fromListeningDescriptor")
        self.remove(log, "callWithLogger")
        reason = str(unfit())
        self.assertIn("Port._fromListeningDescriptor", reason)
        self.assertIn(".callWithLogger", reason)
        self.assertIn(f"Twisted {__version__} ", reason)
        self.assertNotIn("\n", reason)

    def test_instances(self) -> None:
        """
        What only instances have is looked for, too.
        """

        class Empty:
            """
            Without what instances have.
            """

            def __init__(self, *args: object, **kwargs: object) -> None:
                pass

        for owner, name, attribute in (
            (abstract, "FileDescriptor", "_tempDataBuffer"),
            (context, "ContextTracker", "contexts"),
        ):
            cls = getattr(owner, name)
            original = cls.__init__
            cls.__init__ = Empty.__init__
            try:
                reason = unfit()
            finally:
                cls.__init__ = original
            self.assertIn(f"{name}().{attribute}", str(reason))
        self.assertIsNone(unfit())

    def changed(self, *changes: str) -> list[str]:
        """
        Change Twisted in processes of their own, before any of ours is imported.

        @return: what C{install} says after each change alone, with the type of the
            error.
        """
        run = subprocess.run(
            [sys.executable, "-c", CHANGED, *changes],
            cwd=new_folder(self),
            env=environment({"PYTHONPATH": str(PROJECT)}),
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
        self.assertEqual(run.returncode, 0, run.stderr)
        said = run.stdout.splitlines()
        self.assertEqual(len(said), len(changes), said)
        return said

    def test_signature(self) -> None:
        """
        A function with other parameters is not what is called or overridden.
        """
        (said,) = self.changed(
            "abstract.FileDescriptor.write = lambda self, data, urgent=False: None"
        )
        self.assertIn("UnfitTwisted: ", said)
        self.assertIn("(self, data)", said)

    def test_constructor(self) -> None:
        (said,) = self.changed(
            "tcp.Server.__init__ = lambda self, sock, protocol: None"
        )
        self.assertIn("UnfitTwisted: ", said)
        self.assertIn("(self, sock, protocol, client, ", said)

    def test_missingBeforeImport(self) -> None:
        """
        What is missing when our modules are imported is told in the same way.
        """
        names = (
            "posixbase._DisconnectSelectableMixin._disconnectSelectable",
            "abstract.FileDescriptor._maybePauseProducer",
        )
        for name, said in zip(
            names, self.changed(*(f"del {each}" for each in names)), strict=True
        ):
            self.assertIn("UnfitTwisted: ", said, name)
            self.assertIn(name.rpartition(".")[2], said)

    def test_missingClass(self) -> None:
        """
        So is a class or a whole module.
        """
        paths = (
            "abstract.FileDescriptor",
            "tcp.Client",
            "tcp.Connection",
            "tcp.Connector",
            "tcp.Port",
            "unix.Client",
            "unix.Connector",
            "unix.Server",
            "epollreactor.EPollReactor",
        )
        *said, ofModule = self.changed(
            *(f"del {each}" for each in paths),
            "import twisted.internet;"
            "del twisted.internet.unix; sys.modules['twisted.internet.unix'] = None",
        )
        for path, each in zip(paths, said, strict=True):
            self.assertRegex(each, "^UnfitTwisted: Twisted .* lacks what ", path)
            self.assertIn(f" twisted.internet.{path}", each)
        self.assertRegex(ofModule, "^UnfitTwisted: .* twisted.internet.unix.Server, ")

    def test_installRefuses(self) -> None:
        """
        Nothing is installed then, and the error is one of import, which is what
        C{--reactor} reports.
        """
        self.remove(tcp.Port, "_fromListeningDescriptor")
        problem = self.assertRaises(UnfitTwisted, install)
        self.assertIsInstance(problem, ImportError)
        self.assertIn("Port._fromListeningDescriptor", str(problem))


def _stock(name: str) -> bool:
    """
    Whether a private name is Twisted's.
    """
    from twisted.internet.epollreactor import EPollReactor

    owners = (tcp.Server, tcp.Client, unix.Server, unix.Client, tcp.Port, unix.Port)
    return any(hasattr(owner, name) for owner in (*owners, EPollReactor))


def _private(cls: type) -> set[str]:
    """
    The private names that the methods of a class use.
    """
    names = set()
    for each in vars(cls).values():
        function = getattr(each, "__func__", each)
        code = getattr(function, "__code__", None)
        if code is not None:
            names |= {
                name
                for name in code.co_names
                if name.startswith("_") and not name.startswith("__")
            }
    return names

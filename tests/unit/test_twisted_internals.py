"""
L{twisted_echo.twisted_internals}: the list is complete, and a Twisted that lacks
something of it is refused by name.
"""

import ast
import functools
import importlib
import importlib.util
import inspect
import pkgutil
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from typing import Any

from twisted.internet import abstract, epollreactor, tcp
from twisted.python import context, log
from twisted.trial.unittest import SynchronousTestCase

import twisted_echo
from tests.support.paths import PROJECT
from tests.support.processes import DEADLINE, environment, new_folder
from twisted_echo.reactor import UnfitTwisted, install
from twisted_echo.twisted_internals.check import unfit
from twisted_echo.twisted_internals.table import INTERNALS

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
        "_maybePauseProducer",
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
        self.assertIsNone(unfit("eager"))

    def test_missing(self) -> None:
        """
        Each attribute that is missing is named, and nothing else is.
        """
        for owner, names in ATTRIBUTES.items():
            for name in names:
                value = vars(owner)[name]
                delattr(owner, name)
                try:
                    reason = unfit("eager")
                finally:
                    setattr(owner, name, value)
                label = getattr(owner, "__qualname__", None)
                self.assertIsNotNone(reason, f"{owner}.{name}")
                if label is not None:
                    self.assertIn(f"{label}.{name}", str(reason))
                self.assertIn(f".{name}", str(reason))
        self.assertIsNone(unfit("eager"))

    def test_without(self) -> None:
        """
        What only a module needs that is not used is not asked for: each of the eager
        reactors does without what the other one builds on.
        """
        epoll, asyncio = "eager.epoll_reactor", "eager.asyncio_reactor"
        self.assertIsNone(unfit("eager", without=asyncio))
        self.remove(epollreactor.EPollReactor, "_remove")
        self.assertIsNone(unfit("eager", without=epoll))
        self.assertIsNone(unfit(asyncio))
        for user, without in (("eager", None), ("eager", asyncio), (epoll, None)):
            self.assertIn("EPollReactor._remove", str(unfit(user, without)))
        # Another module, whose name only begins with the same words, is asked.
        self.assertIn("EPollReactor._remove", str(unfit("eager", "eager.epoll")))

    def test_several(self) -> None:
        """
        Several are told in one sentence, with the version.
        """
        from twisted import __version__

        self.remove(tcp.Port, "_fromListeningDescriptor")
        self.remove(log, "callWithLogger")
        reason = str(unfit("eager"))
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
                reason = unfit("eager")
            finally:
                cls.__init__ = original
            self.assertIn(f"{name}.{attribute}", str(reason))
        self.assertIsNone(unfit("eager"))

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
        self.assertRegex(ofModule, "^UnfitTwisted: .* twisted.internet.unix.Server$")

    def test_installRefuses(self) -> None:
        """
        Nothing is installed then, and the error is one of import, which is what
        C{--reactor} reports.
        """
        self.remove(tcp.Port, "_fromListeningDescriptor")
        problem = self.assertRaises(UnfitTwisted, install)
        self.assertIsInstance(problem, ImportError)
        self.assertIn("Port._fromListeningDescriptor", str(problem))


# The list is complete


_OF_PYTHON = frozenset(
    ("_accept", "_asdict", "_exit", "_fields", "_replace", "_sslobj")
)
"""
Private names of the standard library's, most of which are documented.
"""


def _modules() -> list[str]:
    """
    The names of all modules of the package that can be imported here.
    """
    found = []
    for each in pkgutil.walk_packages(twisted_echo.__path__, "twisted_echo."):
        if each.name.rpartition(".")[2] != "__main__":
            try:
                importlib.import_module(each.name)
            except ImportError:
                # An extra of the benchmark's, or another platform.
                continue
            if inspect.getsourcefile(sys.modules[each.name]) is not None:
                # (The compiled part has none that is Python's.)
                found.append(each.name)
    return found


def _tree(module: str) -> ast.Module:
    return ast.parse(inspect.getsource(sys.modules[module]))


def _is_private(name: object) -> bool:
    return isinstance(name, str) and name[:1] == "_" and name[:2] != "__"


def _is_own(node: ast.expr) -> bool:
    """
    Whether an expression is an instance's or a class's own: C{self}, C{cls} or
    C{super()}.
    """
    if isinstance(node, ast.Call):
        node = node.func
    return isinstance(node, ast.Name) and node.id in ("self", "cls", "super")


def _accesses(tree: ast.AST) -> Iterator[tuple[str, bool]]:
    """
    The private names that are accessed, and whether as one's own.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and _is_private(node.attr):
            yield node.attr, _is_own(node.value)
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in ("delattr", "getattr", "hasattr", "setattr")
            and isinstance(node.args[1], ast.Constant)
            and _is_private(node.args[1].value)
        ):
            yield node.args[1].value, _is_own(node.args[0])


def _definitions(tree: ast.AST) -> set[str]:
    """
    The private names that are defined or assigned, as attributes of one's own.
    """
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif (
            isinstance(node, ast.Attribute)
            and isinstance(node.ctx, ast.Store)
            and _is_own(node.value)
        ):
            names.add(node.attr)
        elif isinstance(node, ast.Assign):
            # Slots.
            names |= {
                each.value
                for each in ast.walk(node.value)
                if isinstance(each, ast.Constant) and isinstance(each.value, str)
            }
    return {name for name in names if _is_private(name)}


def _imported(tree: ast.AST) -> Iterator[str]:
    """
    What is imported from Twisted by a private name, or out of a private module.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            paths = [f"{node.module}.{each.name}" for each in node.names]
        elif isinstance(node, ast.Import):
            paths = [each.name for each in node.names]
        else:
            continue
        for path in paths:
            if path.startswith("twisted.") and re.search(r"\._(?!_)", path):
                yield path


def _mentions(module: str) -> set[str]:
    """
    All names of attributes that a module accesses, defines, or has as a string.
    """
    names = set()
    for node in ast.walk(_tree(module)):
        if isinstance(node, ast.Attribute):
            names.add(node.attr)
        elif isinstance(node, (ast.FunctionDef, ast.Name)):
            names.add(node.name if isinstance(node, ast.FunctionDef) else node.id)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names.add(node.value)
        elif isinstance(node, ast.alias):
            names.add(node.name)
    return names


@functools.cache
def _own(cls: type) -> frozenset[str]:
    """
    The private names that a class accesses as its own, or defines.
    """
    tree = ast.parse(textwrap.dedent(inspect.getsource(cls)))
    accessed = {name for name, isOwn in _accesses(tree) if isOwn}
    return frozenset(accessed | _definitions(tree))


@functools.cache
def _provided(cls: type) -> frozenset[str]:
    """
    The private names that one of Twisted's classes itself has or gives its instances.
    """
    names = set(vars(cls))
    try:
        source = textwrap.dedent(inspect.getsource(cls))
    except (OSError, TypeError):
        source = ""
    names |= {
        node.attr
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Store)
        and _is_own(node.value)
    }
    return frozenset(name for name in names if _is_private(name))


class ListTests(SynchronousTestCase):
    def listed(self, module: str) -> set[str]:
        return {
            word
            for row in INTERNALS
            if f"twisted_echo.{row.user}" == module
            for owner, names in row.names.items()
            for word in (*names.split(), *owner.split("."))
        }

    def test_twistedHasAll(self) -> None:
        """
        This Twisted has all that is listed, of every module.
        """
        for row in INTERNALS:
            self.assertIsNone(unfit(row.user))

    def test_others(self) -> None:
        """
        A private attribute of something else than one's own is one of Twisted's and
        listed; or of an object of a class of the same module.
        """
        unlisted = [
            f"{module}: {name}"
            for module in _modules()
            for tree in [_tree(module)]
            for name in {name for name, isOwn in _accesses(tree) if not isOwn}
            - _definitions(tree)
            - self.listed(module)
            - _OF_PYTHON
        ]
        self.assertEqual(unlisted, [])

    def test_imports(self) -> None:
        """
        So is what is imported by a private name.
        """
        listed = {
            path
            for row in INTERNALS
            for owner, names in row.names.items()
            for path in (owner, *(f"{owner}.{name}" for name in names.split()))
        }
        imported = {path for module in _modules() for path in _imported(_tree(module))}
        self.assertEqual(imported - listed, set())

    def test_inherited(self) -> None:
        """
        So is what a class of this package takes from one of Twisted's that it inherits
        from, or overrides there, itself or by one of its mixins.
        """
        unlisted = set()
        for module in _modules():
            for cls in vars(sys.modules[module]).values():
                if not inspect.isclass(cls) or cls.__module__ != module:
                    continue
                provided = frozenset().union(
                    *(
                        _provided(each)
                        for each in cls.__mro__
                        if each.__module__.startswith("twisted.")
                    )
                )
                for each in cls.__mro__ if provided else ():
                    if each.__module__.partition(".")[0] == "twisted_echo":
                        unlisted |= {
                            f"{each.__module__}.{each.__qualname__}: {name}"
                            for name in _own(each)
                            & provided - self.listed(each.__module__)
                        }
        self.assertEqual(unlisted, set())

    def test_noneLeftOver(self) -> None:
        """
        Every name that is listed is still used by the module for which it is listed,
        which has one row.
        """
        modules = _modules()
        stale = [
            f"{row.user}: {name}"
            for row in INTERNALS
            if f"twisted_echo.{row.user}" in modules
            for mentioned in [_mentions(f"twisted_echo.{row.user}")]
            for name in " ".join(row.names.values()).split()
            if name not in mentioned
        ]
        self.assertEqual(stale, [])
        users = [row.user for row in INTERNALS]
        self.assertEqual(len(users), len(set(users)))
        for user in users:
            self.assertTrue(importlib.util.find_spec(f"twisted_echo.{user}"), user)

    def test_required(self) -> None:
        """
        Each module that is listed calls for what it needs when it is imported, but for
        the reactor, which does so when it is installed, and for what serves tests only.
        """
        for user in {row.user for row in INTERNALS}:
            if user.partition(".")[0] not in ("eager", "testing"):
                source = inspect.getsource(
                    importlib.import_module(f"twisted_echo.{user}")
                )
                self.assertIn("\nrequire(__name__)\n", source, user)

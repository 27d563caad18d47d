"""
Whether the compiled part is used, by L{twisted_echo.compiled.choice}.
"""

import os
import subprocess
import sys
from pathlib import Path
from unittest import SkipTest

from twisted.trial.unittest import SynchronousTestCase

from tests.support.compiled import need_compiled
from tests.support.processes import DEADLINE, environment, new_folder
from twisted_echo.compiled import choice

SHOW = """\
from twisted_echo.compiled.choice import implementation, speedups
print(speedups is not None, implementation())
"""

USE = """\
from twisted_echo.compiled.choice import implementation
from twisted_echo.eager import reactor_mixin
print("python" if reactor_mixin.readReady is reactor_mixin._readReady else "C",
      implementation())
"""
"""
The same once it is known whether what uses it can use it.
"""

STALE = """\
import twisted_echo.compiled.speedups as speedups
speedups.SOURCE_DIGEST = "another"
"""

MISSING = """\
import sys
sys.modules["twisted_echo.compiled.speedups"] = None
"""

BROKEN = """\
import sys
class Broken:
    def find_spec(self, name, path, target=None):
        if name == "twisted_echo.compiled.speedups":
            raise ImportError("undefined symbol: PyOther")
sys.meta_path.insert(0, Broken())
"""

FREE_THREADED = """\
import sysconfig
sysconfig.get_config_vars()["Py_GIL_DISABLED"] = 1
"""


OTHER_SLOTS = """\
from twisted_echo.eager import slots
class Other:
    __slots__ = ("another", *slots.Slots.__slots__)
    _fillSlots = None
slots.Slots = Other
"""

OTHER_SOCKETS = """\
import socket
class Other:
    close = None
socket.socket = Other
"""

NO_SOCKETS = """\
import _socket, socket
class Full(_socket.socket):
    __new__ = _socket.socket.__new__
    def __init__(self):
        raise OSError(24, "Too many open files")
_socket.socket = Full
"""

GUARDED_SOCKETS = """\
import socket
class Guarded(socket.socket):
    def __new__(cls, *given, **named):
        raise RuntimeError("tests make no sockets")
socket.socket = Guarded
"""

ANEW = """\
import sys
import twisted_echo.eager.reactor_mixin
for name in [each for each in sys.modules if each.startswith("twisted_echo.eager")]:
    del sys.modules[name]
"""

REFUSED = """\
try:
    import twisted_echo.compiled.speedups
except ModuleNotFoundError:
    raise
except ImportError:
    pass
else:
    raise AssertionError("it is loaded")
"""

GUARDED_METHOD = """\
import socket
def refuse(*given, **named):
    raise RuntimeError("tests make no sockets")
socket.socket.__init__ = refuse
"""

SUBINTERPRETER = """\
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
def run(code):
    other = interpreters.create()
    try:
        failed = interpreters.run_string(other, code)
        assert not failed, failed
    finally:
        interpreters.destroy(other)
"""


class ChoiceTestCase(SynchronousTestCase):
    show = SHOW

    def run_with(self, value: str, before: str = "") -> tuple[int, str]:
        """
        Import it in a process of its own, with a value of the variable.

        @param before: what the process executes before.
        @return: the process's status, and the last line that it printed.
        """
        run = subprocess.run(
            [sys.executable, "-c", before + self.show],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=DEADLINE,
            cwd=new_folder(self),
            env={**environment(), choice.VARIABLE: value},
            check=False,
        )
        return run.returncode, run.stdout.splitlines()[-1]

    def assert_without(self, before: str, reason: str) -> None:
        """
        It is done without, for a reason; and if it must be there, this is an error.
        """
        without = "False" if self.show == SHOW else "python"
        self.assertEqual(
            self.run_with("", before), (0, f"{without} pure Python: {reason}")
        )
        self.assertEqual(
            self.run_with("yes", before),
            (1, f"ImportError: TWISTED_ECHO_COMPILED=yes, but {reason}"),
        )


class LoadTests(ChoiceTestCase):
    def test_unset(self) -> None:
        """
        Without the variable, or with an empty one, it is used if it is there.
        """
        need_compiled()
        self.assertEqual(self.run_with(""), (0, "True compiled"))
        self.assertEqual(self.run_with("yes"), (0, "True compiled"))

    def test_no(self) -> None:
        self.assertEqual(
            self.run_with("no"), (0, "False pure Python: TWISTED_ECHO_COMPILED=no")
        )

    def test_otherValue(self) -> None:
        message = "TWISTED_ECHO_COMPILED must be yes, no or unset, got 'false'"
        self.assertEqual(self.run_with("false"), (1, f"ValueError: {message}"))

    def test_missing(self) -> None:
        self.assert_without(MISSING, "the compiled part was not built")

    def test_cannotBeLoaded(self) -> None:
        """
        The reason is the one that Python gives.
        """
        self.assert_without(
            BROKEN, "the compiled part cannot be loaded: undefined symbol: PyOther"
        )

    def test_otherSource(self) -> None:
        """
        What was built from another source than the one that is there is not used.
        """
        need_compiled()
        if not Path(choice.__file__).with_name("speedups.c").exists():
            raise SkipTest("this needs an editable install")
        self.assert_without(
            STALE,
            "the compiled part was built from another speedups.c, "
            "install twisted-echo again to build it again",
        )

    def test_freeThreaded(self) -> None:
        self.assert_without(FREE_THREADED, "this Python is free-threaded")

    def test_subinterpreter(self) -> None:
        """
        It is the main interpreter's. Another, which may end first, does not take it.
        """
        need_compiled()
        self.assertEqual(
            self.run_with("", f"{SUBINTERPRETER}run({REFUSED!r})\n"),
            (0, "True compiled"),
        )
        last = f"{SHOW}{SUBINTERPRETER}run({REFUSED!r})\n"
        self.assertEqual(self.run_with("", last), (0, "True compiled"))

    def test_underCI(self) -> None:
        """
        CI tests the compiled part, unless a step of it says that it does without.
        """
        if os.environ.get("CI") == "true":
            wanted = os.environ.get(choice.VARIABLE) != "no"
            self.assertEqual(choice.implementation() == "compiled", wanted)
            self.assertEqual(choice.speedups is not None, wanted)


class UseTests(ChoiceTestCase):
    """
    What was loaded, and cannot be used, is not what is said to be used.
    """

    show = USE

    def setUp(self) -> None:
        need_compiled()

    def assert_refused(self, before: str, reason: str) -> None:
        self.assert_without(before, f"the compiled part cannot be used: {reason}")

    def test_used(self) -> None:
        self.assertEqual(self.run_with("yes"), (0, "C compiled"))

    def test_otherSlots(self) -> None:
        self.assert_refused(OTHER_SLOTS, "it does not suit this Python")

    def test_otherSockets(self) -> None:
        self.assert_refused(
            OTHER_SOCKETS,
            "socket.socket is not the standard library's: <class '__main__.Other'>",
        )

    def test_noSocket(self) -> None:
        self.assert_refused(NO_SOCKETS, "[Errno 24] Too many open files")

    def test_importedAnew(self) -> None:
        """
        It stays with the classes that use it, on whose objects it relies.
        """
        self.assert_refused(ANEW, "other classes use it already")

    def test_guardedSockets(self) -> None:
        """
        It is used where tests guard against the making of sockets for a while.
        """
        for guard in (GUARDED_SOCKETS, GUARDED_METHOD):
            self.assertEqual(self.run_with("yes", guard), (0, "C compiled"))

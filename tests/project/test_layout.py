"""
Rules of the source that no linter has: how long a file may be, what tests may import,
what a package says of itself.

An exception needs its reason, in the tables below.
"""

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.support.paths import PROJECT

PACKAGE = PROJECT / "twisted_echo"
MODULES = sorted(PACKAGE.rglob("*.py"))
TESTS = sorted((PROJECT / "tests").rglob("*.py"))

MODULE_LINES, CLASS_LINES, TEST_LINES, C_LINES = 350, 250, 700, 299

LONG_MODULES: dict[str, str] = {}
LONG_CLASSES: dict[str, str] = {
    "twisted_echo/session/factory.py: SessionFactory": (
        "each method is a line or two: what sessions, layers and the service call"
    ),
}
LONG_TESTS: dict[str, str] = {}
SAME_NAMES: dict[str, str] = {
    "__init__.py": "Python asks for it",
    "asyncio_reactor.py": "one is the public name of the other, in eager/",
}


def place(path: Path) -> str:
    return path.relative_to(PROJECT).as_posix()


def lines(path: Path) -> int:
    return len(path.read_text().splitlines())


def imports(path: Path) -> Iterator[str]:
    """
    What a module imports, by whole names.
    """
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{each.name}" for each in node.names)


class LengthTests(SynchronousTestCase):
    def assert_short(
        self, sizes: dict[str, int], most: int, allowed: dict[str, str]
    ) -> None:
        """
        What is longer is what is allowed to be, and no more.
        """
        self.assertTrue(sizes)
        long = {name: size for name, size in sizes.items() if size > most}
        self.assertEqual({k: v for k, v in long.items() if k not in allowed}, {})
        self.assertEqual([name for name in allowed if name not in long], [])

    def test_modules(self) -> None:
        sizes = {place(path): lines(path) for path in MODULES}
        self.assert_short(sizes, MODULE_LINES, LONG_MODULES)

    def test_compiled(self) -> None:
        """
        The part in C is one file, shorter than a module may be.
        """
        sizes = {place(path): lines(path) for path in PACKAGE.rglob("*.c")}
        self.assertEqual(len(sizes), 1)
        self.assert_short(sizes, C_LINES, {})

    def test_classes(self) -> None:
        sizes = {}
        for path in MODULES:
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ClassDef):
                    assert node.end_lineno is not None
                    size = node.end_lineno - node.lineno + 1
                    sizes[f"{place(path)}: {node.name}"] = size
        self.assert_short(sizes, CLASS_LINES, LONG_CLASSES)

    def test_tests(self) -> None:
        sizes = {place(path): lines(path) for path in TESTS}
        self.assert_short(sizes, TEST_LINES, LONG_TESTS)


class NameTests(SynchronousTestCase):
    def test_modules(self) -> None:
        """
        Each module has a name that no other one has.
        """
        names = Counter(path.name for path in MODULES)
        twice = {name for name, count in names.items() if count > 1}
        self.assertEqual(twice, set(SAME_NAMES))

    def test_classes(self) -> None:
        """
        Each public class has a name that no other one has.
        """
        names = Counter(
            node.name
            for path in MODULES
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
        )
        twice = {name for name, count in names.items() if count > 1}
        self.assertEqual(twice, set())

    def test_unitTests(self) -> None:
        """
        Unit tests are in the folder of the package that they test.
        """
        unit = PROJECT / "tests" / "unit"
        folders = {
            path.parent.relative_to(unit).as_posix() for path in unit.rglob("test_*.py")
        }
        packages = {
            path.parent.relative_to(PACKAGE).as_posix()
            for path in PACKAGE.rglob("__init__.py")
        }
        self.assertEqual(folders - packages, set())


class ImportTests(SynchronousTestCase):
    def test_noOtherTests(self) -> None:
        """
        What several tests use is in tests/support, and no test is imported.
        """
        found = {
            (place(path), name)
            for path in TESTS
            for name in imports(path)
            if name.startswith("tests.")
            and any(part.startswith("test_") for part in name.split("."))
        }
        self.assertEqual(found, set())


class PackageTests(SynchronousTestCase):
    def test_docstrings(self) -> None:
        """
        A package says what may import it, and what to read first.
        """
        silent = []
        for path in PACKAGE.rglob("__init__.py"):
            told = ast.get_docstring(ast.parse(path.read_text())) or ""
            flat = " ".join(told.split())
            if path.parent != PACKAGE and not (
                "import" in flat and "Begin with" in flat
            ):
                silent.append(place(path))
        self.assertEqual(silent, [])

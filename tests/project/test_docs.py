"""
What README.md, docs/ and the first lines of modules say is there, is there.
"""

import argparse
import ast
import re
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import twisted_echo
from tests.support.pages import PAGES, prose
from tests.support.paths import PROJECT
from twisted_echo.bench.cli import build_parser
from twisted_echo.command.options.option_table import OPTIONS

PACKAGE = Path(twisted_echo.__file__).parent
PLUGIN = PROJECT / "twisted" / "plugins" / "twisted_echo_plugin.py"
# Options of other programs, which the pages name.
FOREIGN = {
    "twistd": "--uid --gid --pidfile --logfile --logger --nodaemon --reactor --help",
    "twist": "--log-format",
    "podman": "--cap-drop --env --file --publish --read-only --rm --tag --time"
    " --ulimit",
    "kubectl": "--filename --namespace",
    "systemctl": "--now",
    "curl": "--retry --retry-connrefused",
    "mypy": "--strict",
    "ruff format": "--check",
    "pydoctor": "--html-output",
    "tests.support.leak_proof": "--one-by-one",
}


def names_in(path: Path) -> set[str]:
    """
    What a module defines or imports: C{name}, and C{Class.name}.
    """
    names = set()

    def look(body: list[ast.stmt], prefix: str) -> None:
        for node in body:
            match node:
                case ast.ClassDef(name=name, body=inside):
                    names.add(prefix + name)
                    look(inside, f"{prefix}{name}.")
                case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                    names.add(prefix + name)
                case ast.Assign(targets=targets):
                    names.update(prefix + ast.unparse(each) for each in targets)
                case ast.AnnAssign(target=target):
                    names.add(prefix + ast.unparse(target))
                case ast.ImportFrom(names=aliases):
                    names.update(alias.asname or alias.name for alias in aliases)
                case ast.If(body=inside) | ast.Try(body=inside):
                    look(inside, prefix)

    look(ast.parse(path.read_text()).body, "")
    return names


def is_there(dotted: str) -> bool:
    """
    Whether the package has what is called C{twisted_echo.module.Name.attribute}.
    """
    words = dotted.split(".")
    for size in range(len(words), 0, -1):
        path = PROJECT.joinpath(*words[:size])
        module = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        if module.exists():
            name = ".".join(words[size:])
            return not name or name in names_in(module)
    return False


def options_of(parser: argparse.ArgumentParser) -> Iterator[str]:
    for action in parser._actions:
        yield from action.option_strings
        if isinstance(action, argparse._SubParsersAction):
            for each in action.choices.values():
                yield from options_of(each)


class NameTests(SynchronousTestCase):
    def test_files(self) -> None:
        """
        What is said to be in a file, C{module.py: name}, is there.
        """
        said = {
            (page, file, name)
            for page, text in PAGES.items()
            for file, name in re.findall(r"`([\w/]+\.py): ([\w.]+)`", text)
        }
        self.assertGreater(len(said), 30)
        lacking = [
            each
            for each in said
            if not (PACKAGE / each[1]).exists()
            or each[2] not in names_in(PACKAGE / each[1])
        ]
        self.assertEqual(lacking, [])

    def test_otherFiles(self) -> None:
        """
        What is named of docs/ and tests/ is there.
        """
        said = {
            (page, path)
            for page, text in PAGES.items()
            for path in re.findall(r"`((?:docs|tests)/[a-z_./-]+)`", text)
        }
        self.assertGreater(len(said), 10)
        self.assertEqual(
            [each for each in said if not (PROJECT / each[1]).exists()], []
        )

    def test_dotted(self) -> None:
        """
        So is what is called by its whole name.
        """
        said = {
            (page, name)
            for page, text in PAGES.items()
            for name in re.findall(r"\btwisted_echo(?:\.\w+)+", text)
        }
        self.assertGreater(len(said), 5)
        self.assertEqual([each for each in said if not is_there(each[1])], [])

    def test_options(self) -> None:
        """
        Every option that is named is one of the command, of the benchmarks, or of
        another program that is known here.
        """
        known = {"--version", "--help", *(f"--{each.name}" for each in OPTIONS)}
        known.update(options_of(build_parser()))
        for options in FOREIGN.values():
            known.update(options.split())
        said = {
            (page, option)
            for page, text in PAGES.items()
            for option in re.findall(r"(?<![\w-])--[a-z][a-z-]*[a-z]", text)
        }
        self.assertGreater(len(said), 30)
        self.assertEqual([each for each in said if each[1] not in known], [])


class LinkTests(SynchronousTestCase):
    """
    A file of the checkout is linked where its path is written, in code quotes, from
    the checkout's top: C{[`docs/deploy/echo.service`](deploy/echo.service)}. In the
    HTML pages the link is a page or a copy of the file. What stands in the package is
    named as C{`stop.py: Stop.now`}, which docs/conf.py links.
    """

    def test_paths(self) -> None:
        """
        No path of a file is written without its link.
        """
        unlinked = [
            (page, path)
            for page, text in PAGES.items()
            for path in re.findall(r"(?<!\[)`([\w.-][\w./-]*)`", prose(text))
            if (PROJECT / path).is_file()
        ]
        self.assertEqual(unlinked, [])

    def test_targets(self) -> None:
        """
        Links lead to files that are there; where a path is the text, to that one.
        """
        links = [
            (PROJECT / page, text, target)
            for page, content in PAGES.items()
            for text, target in re.findall(r"\[([^]]+)\]\(([^)#:]+)\)", prose(content))
        ]
        self.assertGreater(len(links), 50)
        for page, text, target in links:
            file = page.parent.joinpath(target).resolve()
            self.assertTrue(file.exists(), (page, target))
            if (PROJECT / text.strip("`")).is_file():
                self.assertEqual(file, PROJECT / text.strip("`"), (page, target))


class ModuleTests(SynchronousTestCase):
    def test_first_lines(self) -> None:
        """
        A module begins with what it is for, in a sentence.
        """
        modules = [PLUGIN, *sorted(PACKAGE.rglob("*.py"))]
        self.assertGreater(len(modules), 60)
        silent = []
        for path in modules:
            told = ast.get_docstring(ast.parse(path.read_text())) or ""
            if len(told.split("\n\n")[0].split()) < 3:
                silent.append(str(path.relative_to(PROJECT)))
        self.assertEqual(silent, [])

    def test_descriptions(self) -> None:
        """
        What is described begins with what it is, and not with an argument or a result.
        (The arguments of a class stand with what makes its instances.)
        """
        makers = ("__init__", "__new__", "__post_init__")
        kinds = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
        headless = [
            f"{path.relative_to(PROJECT)}: {node.name}"
            for path in sorted(PACKAGE.rglob("*.py"))
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, kinds) and node.name not in makers
            if (ast.get_docstring(node) or "").startswith("@")
        ]
        self.assertEqual(headless, [])

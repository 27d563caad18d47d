"""
The API pages, C{docs/api/}, describe each public name, show how to use it, and leave
nothing undescribed. (C{test_snippets.py} runs the examples.)
"""

import ast
import importlib
import inspect
import re
import textwrap
from functools import cache, cached_property
from types import ModuleType
from typing import NamedTuple

from twisted.trial.unittest import SynchronousTestCase

import twisted_echo
import twisted_echo.testing
from tests.support.paths import DOCS
from twisted_echo import Session, SessionFactory, SessionService
from twisted_echo.session.hook_checks import FACTORY_WRAPPERS, SESSION_WRAPPERS

PAGES = {path.name: path.read_text() for path in sorted((DOCS / "api").glob("*.md"))}
DIRECTIVE = re.compile(
    r"^\.\. auto(?:class|function):: ([\w.]+)\n(?:   :members:(.*\n))?", re.M
)


DESCRIBED = (property, cached_property, classmethod, staticmethod)
"""
What has a description of its own beside functions.
"""


class Described(NamedTuple):
    """
    What one directive of a page describes.

    @ivar members: the listed ones; None for all; empty for none.
    """

    page: str
    name: str
    members: list[str] | None


@cache
def described() -> list[Described]:
    return [
        Described(page, name, _members(listed))
        for page, text in PAGES.items()
        for name, listed in DIRECTIVE.findall(text)
    ]


def _members(listed: str) -> list[str] | None:
    if not listed:
        return []
    return listed.replace(",", " ").split() or None


def found(name: str) -> object:
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute)


def examples(page: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", PAGES[page], re.M | re.S)


def with_descriptions(cls: type) -> dict[str, bool]:
    """
    Whether each public attribute of a class is described, by itself or by a class that
    it inherits from.
    """
    members: dict[str, bool] = {}
    for base in cls.__mro__[:-1]:
        for name, value in vars(base).items():
            if not name.startswith("_") and not members.get(name):
                # (A value has the description of its class, which says nothing of it.)
                is_code = inspect.isroutine(value) or isinstance(value, DESCRIBED)
                members[name] = is_code and bool(value.__doc__)
        doc = inspect.getdoc(base) or ""
        names = re.findall(r"^@[ic]var (\w+):", doc, re.M)
        if base.__module__.startswith("twisted_echo."):
            names += _after(base)
        members.update(dict.fromkeys(names, True))
    return members


def _after(cls: type) -> list[str]:
    """
    The attributes of a class that have a string behind them, which describes them.
    """
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    names = []
    for node, following in zip(tree.body, tree.body[1:], strict=False):
        if isinstance(node, ast.Assign | ast.AnnAssign) and (
            isinstance(following, ast.Expr)
            and isinstance(following.value, ast.Constant)
        ):
            target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
            names.append(ast.unparse(target))
    return names


class NameTests(SynchronousTestCase):
    def assert_described(self, module: ModuleType) -> None:
        names = {each.name for each in described()}
        lacking = {f"{module.__name__}.{name}" for name in module.__all__} - names
        self.assertEqual(lacking - {"twisted_echo.Answer"}, set())

    def test_exported(self) -> None:
        """
        Everything that the package exports is described. (C{Answer} is a union, and
        the page itself describes it.)
        """
        self.assertIn(".. py:data:: Answer\n\n   What", PAGES["answers.md"])
        self.assert_described(twisted_echo)

    def test_testing(self) -> None:
        """
        Likewise what it has for tests.
        """
        self.assert_described(twisted_echo.testing)

    def test_examples(self) -> None:
        """
        Each class and function that is exported is used by an example of its page.
        """
        for page, name, _ in described():
            if name.rpartition(".")[0] in ("twisted_echo", "twisted_echo.testing"):
                word = name.rpartition(".")[2]
                used = any(re.search(rf"\b{word}\b", each) for each in examples(page))
                self.assertTrue(used, f"{page} has no example with {name}")


class DescriptionTests(SynchronousTestCase):
    def test_first_lines(self) -> None:
        for _, name, _ in described():
            self.assertTrue(inspect.getdoc(found(name)), name)

    def test_members(self) -> None:
        """
        Every listed member is there, and says what it is. If all are to be listed, all
        do.
        """
        undescribed = []
        for _, name, listed in described():
            cls = found(name)
            if isinstance(cls, type):
                members = with_descriptions(cls)
                own = [each for each in vars(cls) if not each.startswith("_")]
                undescribed += [
                    f"{name}.{member}"
                    for member in (own if listed is None else listed)
                    if not members.get(member)
                ]
        self.assertEqual(undescribed, [])


class SuperTests(SynchronousTestCase):
    """
    A hook whose override must call the inherited method says so.
    """

    def assert_said(self, cls: type, hooks: list[str]) -> None:
        index = PAGES["index.md"]
        for hook in hooks:
            said = inspect.getdoc(getattr(cls, hook)) or ""
            self.assertIn(f"super().{hook}(", said, f"{cls.__name__}.{hook}")
            self.assertIn(f"`{hook}`", index)

    def test_session(self) -> None:
        hooks = [each for each in SESSION_WRAPPERS if each != "logPrefix"]
        self.assert_said(Session, hooks)

    def test_factory(self) -> None:
        self.assert_said(SessionFactory, [*FACTORY_WRAPPERS, "__init__"])

    def test_service(self) -> None:
        hooks = ["privilegedStartService", "startService", "stopService"]
        self.assert_said(SessionService, hooks)

"""
Each Python block of README.md and docs/ is whole: it runs as it stands, copied into a
file of its own.

A program is executed, with a name that is not C{__main__}, and no reactor turns. Tests
are run by pytest, by pytest with pytest-twisted, or by trial, whichever they are for.
The folder has a certificate and its key, C{cert.pem} and C{key.pem}. The blocks of the
tutorial belong together: C{test_tutorial.py} runs them.
"""

import ast
import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from unittest import skipIf

from twisted.trial.unittest import SynchronousTestCase

from tests.support.certificates import make_certificate
from tests.support.pages import PAGES, Block, blocks_of, indented_blocks
from tests.support.processes import environment, new_folder
from tests.support.python_process import PYTEST, TRIAL, need_pytest_twisted, run_to_end

# Their blocks belong together, and have tests of their own.
TOGETHER = ("README.md", "docs/tutorial.md")

# How many blocks show Python that is no program: functions of Twisted, patched.
EXCERPTS = {"docs/for-twisted.md": 2}

RUN_THEM = """
import json, sys
for place, source in json.load(sys.stdin):
    exec(compile(source, place, "exec"), {"__name__": "a_page"})
"""

DOES = (ast.Assign, ast.Call, ast.ClassDef, ast.FunctionDef, ast.Import, ast.ImportFrom)
TEST = re.compile(r"^ *(?:async )?def test_", re.M)


def kind_of(block: Block) -> str:
    """
    What runs a block.
    """
    if not TEST.search(block.source):
        return "python"
    if "pytest_twisted" in block.source:
        return "pytest-twisted"
    return "trial" if "twisted.trial" in block.source else "pytest"


def snippets(kind: str) -> list[Block]:
    """
    The Python blocks of all pages that something runs.
    """
    found = [
        block
        for page in PAGES
        if page not in TOGETHER
        for block in blocks_of(page)
        if block.language == "python" and kind_of(block) == kind
    ]
    assert found, kind
    return found


class SnippetTests(SynchronousTestCase):
    def run_tests(self, blocks: list[Block], command: list[str]) -> str:
        """
        Run blocks that are tests, each in a file of its own; nothing else may pass.
        """
        folder = new_folder(self)
        names = [f"./test_{number}.py" for number in range(len(blocks))]
        for name, block in zip(names, blocks, strict=True):
            (folder / name).write_text(block.source)
        done = run_to_end([*command, *names], folder, environment())
        places = ", ".join(block.place for block in blocks)
        self.assertEqual(done.returncode, 0, f"{places}:\n{done.stdout}")
        return done.stdout

    def test_programs(self) -> None:
        folder = new_folder(self)
        make_certificate(folder)
        blocks = [(block.place, block.source) for block in snippets("python")]
        run = subprocess.run(
            [sys.executable, "-W", "error", "-c", RUN_THEM],
            input=json.dumps(blocks),
            capture_output=True,
            text=True,
            timeout=60,
            cwd=folder,
        )
        self.assertEqual((run.returncode, run.stderr), (0, ""))

    @skipIf(shutil.which("openssl") is None, "openssl is missing")
    def test_pytest(self) -> None:
        blocks = snippets("pytest")
        told = self.run_tests(blocks, [*PYTEST, "-p", "no:twisted"])
        self.assertIn(f"{count_of(blocks)} passed", told)

    def test_pytestTwisted(self) -> None:
        """
        Where pytest-twisted is installed, its blocks need no option.
        """
        need_pytest_twisted()
        blocks = snippets("pytest-twisted")
        told = self.run_tests(blocks, PYTEST)
        self.assertIn(f"{count_of(blocks)} passed", told)

    def test_trial(self) -> None:
        blocks = snippets("trial")
        told = self.run_tests(blocks, TRIAL)
        self.assertIn(f"PASSED (successes={count_of(blocks)})", told)

    def test_all(self) -> None:
        """
        Python is always called C{python}, so that no block is left out but L{EXCERPTS}.
        """
        others = [
            block
            for page in PAGES
            if page != "README.md"
            for block in blocks_of(page)
            if block.language != "python"
        ]
        self.assertEqual([each.place for each in others if "py" in each.language], [])
        looks = re.compile(r"^(?:import|from|(?:async )?def|class) ", re.M)
        found = Counter(
            each.place.partition(":")[0] for each in others if looks.search(each.source)
        )
        self.assertEqual(found, EXCERPTS)

    def test_indented(self) -> None:
        """
        No block is Python that is not fenced.
        """
        self.assertTrue(is_python("x = 1"))
        blocks = [(page, block) for page in PAGES for block in indented_blocks(page)]
        self.assertGreater(len(blocks), 50)
        self.assertEqual([each for each in blocks if is_python(each[1])], [])


def is_python(text: str) -> bool:
    """
    Whether a text is Python that does something: most words of commands are no Python,
    and a word by itself does nothing.
    """
    try:
        parsed = ast.parse(text)
    except SyntaxError:
        return False
    return any(isinstance(node, DOES) for node in ast.walk(parsed))


def count_of(blocks: list[Block]) -> int:
    """
    How many tests blocks have.
    """
    return sum(len(TEST.findall(block.source)) for block in blocks)

"""
Tests of L{twisted_echo.command.options.generated_files}.
"""

from twisted.trial.unittest import SynchronousTestCase

from tests.support.paths import PROJECT
from tests.support.processes import new_folder
from twisted_echo.command.options.generated_files import main


class GeneratedFilesTests(SynchronousTestCase):
    def test_current(self) -> None:
        """
        What is in the project is what would be made now. If not: C{python -m
        twisted_echo.command.options.generated_files share}.
        """
        folder = new_folder(self)
        main([str(folder)])
        made, kept = (
            {
                path.relative_to(top): path.read_text()
                for path in top.rglob("*")
                if path.is_file()
            }
            for top in (folder, PROJECT / "share")
        )
        self.assertEqual(made, kept)

    def test_arguments(self) -> None:
        for arguments in ((), ("share", "more")):
            error = self.assertRaises(SystemExit, main, arguments)
            self.assertIn("one folder, such as share", str(error))

"""
Tests for C{python -m twisted_echo.bench plot}.
"""

from tests.support.bench import LoadCase, bench
from tests.support.comparisons import a_comparison
from tests.support.marks import slow
from tests.support.processes import new_folder
from twisted_echo.bench.cases import CASES, Case, servers_of
from twisted_echo.bench.comparison import Failed
from twisted_echo.bench.drawing import DARK, LIGHT
from twisted_echo.bench.servers import SERVERS


class PlotTests(LoadCase):
    def setUp(self) -> None:
        super().setUp()
        self.folder = new_folder(self)

    def comparison(self, *cases: Case) -> str:
        times = {
            name: 5.0 + at for at, name in enumerate(SERVERS) if "rloop" not in name
        }
        comparison = a_comparison(cases, times)
        comparison.failures.append(Failed("rloop-raw", cases[0].name, "no luck"))
        path = self.folder / "result.json"
        path.write_text(comparison.to_json())
        return str(path)

    def plot(self, path: str, name: str, *options: str) -> bytes:
        picture = self.folder / name
        self.assertEqual(bench("plot", path, "-o", str(picture), *options), (0, "", ""))
        return picture.read_bytes()

    @slow
    def test_formats(self) -> None:
        """
        Every case, with its servers and their figures; and latency.
        """
        path = self.comparison(*CASES.values())
        self.assertEqual(self.plot(path, "a.png")[:8], b"\x89PNG\r\n\x1a\n")
        svg = self.plot(path, "a.svg")
        self.assertIn(b"<svg", svg)
        for said in (
            "How much processor time an echo server needs",
            "CPython 3.99, Twisted 99.1, uvloop 9.9; 1999-12-31",
            "Medians of 2 rounds",
            "One line in flight",
            "A connection for each line",
            "2,000 connections, 64 B a line, 1 in flight",
            "← less is better      µs per connection",
            "Latency of that server",
            "Twisted LineReceiver",
            "5.25 µs",
            "fails",
            "not measured",
        ):
            self.assertIn(said.encode(), svg)
        self.assertNotIn(str(self.folder).encode(), svg)

    def test_dark(self) -> None:
        """
        For dark pages the same, on a dark background.
        """
        path = self.comparison(Case("own", 1, 64))
        for options, theme in ((), LIGHT), (("--dark",), DARK):
            svg = self.plot(path, "a.svg", *options)
            self.assertIn(f"fill: {theme.background}".encode(), svg)
            self.assertIn(b"own", svg)

    def test_colours(self) -> None:
        """
        Ours have a colour of their own.
        """
        for theme in (LIGHT, DARK):
            ours = {"echo", "echo-pure", *servers_of(CASES["by-line"])[:3]}
            for name in SERVERS:
                self.assertEqual(theme.of(name) == theme.ours, name in ours, name)

    def test_refused(self) -> None:
        path = self.comparison(Case("own", 1, 64))
        nonsense = self.folder / "nonsense.json"
        nonsense.write_text("nonsense")
        for source, picture, says in (
            (path, "a.jpg", "must end in .png or .svg, got a.jpg"),
            (path, "/nonsense/a.png", "--output /nonsense/a.png: No such file"),
            ("/nonsense.json", "a.png", "/nonsense.json: .*No such file"),
            (str(nonsense), "a.png", "nonsense.json is not what compare --json writes"),
        ):
            status, _, problems = bench("plot", source, "-o", picture)
            self.assertEqual(status, 2, problems)
            self.assertRegex(problems, says)

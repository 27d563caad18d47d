"""
What the pages promise in numbers, with the numbers that the code has; and that a page
names what shows its claims.
"""

import re

from twisted.internet import tcp
from twisted.trial.unittest import SynchronousTestCase

from tests.support import connection_memory, line_cost
from tests.support.pages import PAGES
from tests.support.paths import DOCS, PROJECT
from twisted_echo import EchoConfig, metrics, stop
from twisted_echo.admin import http_server, pages
from twisted_echo.admin.status_page import answers
from twisted_echo.bench.programs.kinds import KINDS
from twisted_echo.command import file_limit, status_report
from twisted_echo.command.workers import (
    hang_detector,
    kill_timers,
    unserved_backlogs,
    worker_monitor,
)
from twisted_echo.eager import accepting
from twisted_echo.endpoints import listener, tls_layer
from twisted_echo.framing import message_receiver
from twisted_echo.logs import rate_limit
from twisted_echo.net import addresses
from twisted_echo.scheduling import fair_clock, lateness, time_share
from twisted_echo.session import statistics
from twisted_echo.session.bounds import buffered_memory
from twisted_echo.session.bounds.limits import Deadlines
from twisted_echo.tls import counts, expiry, records, x509


def said(number: float) -> str:
    """
    A number as the pages write it: some as words.
    """
    words = {1: "one", 2: "two", 5: "five", 10: "ten", 20: "twenty"}
    return words.get(int(number), f"{number:g}")


def part(share: int) -> str:
    return {8: "an eighth", 10: "a tenth", 16: "a sixteenth"}[share]


def bounds(values: tuple[float, ...]) -> str:
    """
    Those of a histogram.
    """
    return ", ".join(f"{each:g}" for each in values)


ADMIN = http_server._MAX_CONNECTIONS
DAYS = expiry.WARNS_BEFORE / 86400
FORGIVEN = f"{fair_clock.MOST_FORGIVEN:g}"
GIVES_UP = f"{stop.GIVE_UP_AFTER:g}"
HELD = f"{message_receiver.WORTH_COUNTING >> 10} KiB"
HUNG = f"{hang_detector.HUNG_AFTER:g}"
MILLISECOND = {0.001: "one millisecond"}
OF_FILES = part(http_server._SHARE_OF_FILES)
PER_MINUTE = said(rate_limit._PER_MINUTE)
READ = f"{tcp.Server.bufferSize >> 10} KiB"
RESERVE = (
    f"{file_limit._RESERVED_FILES}, or half of {{}} if that is less, but at least"
    f" {file_limit._FEWEST_RESERVED}"
)
FREE = RESERVE.replace(",", " descriptors free,", 1)
SECOND = {1.0: "a second"}
SWEEPS = (
    Deadlines(idle=0.001).sweep,
    Deadlines(idle=0, line=0, write=0, handshake=0).sweep,
)

PROMISES = {
    "operations": (
        f"but at most {file_limit._MOST_SESSIONS}. The reserve is"
        f" {RESERVE.format('the limit')}.",
        f"except for {part(round(1 / fair_clock.HEARTBEAT))} of a second of each stall",
        f"they may compute for {time_share.SHARE * 1000:g} ms",
        f"hangs is killed after {said(kill_timers.STOP_NOW_WITHIN)} seconds",
        f"get that time back, up to {FORGIVEN} seconds in all",
        f"the log says every {said(status_report._REPORT_EVERY)} seconds how many",
        f"has listened and lived {said(worker_monitor.LIVED)} seconds, else after"
        f" {worker_monitor.FIRST_DELAY:g} seconds,",
        f"each further time, up to {worker_monitor.LONGEST_DELAY:g} seconds",
        "a question once a second. If a worker has not answered for"
        f" {hang_detector._UNRESPONSIVE_TICKS} seconds,",
        f"After {HUNG} seconds without an answer",
        f"A worker has {({60.0: 'a minute'})[hang_detector.STARTS_WITHIN]} to start",
        f"From {DAYS:g} days before a certificate expires",
    ),
    "monitoring": (
        f"at most `limit` of them ({pages._ROWS}; up to {statistics.MOST_ROWS})",
        f"in ASCII, and {x509.LONGEST} characters at most",
        f"at most {ADMIN} connections, or {OF_FILES} of the limit",
        f"From {100 * answers._NEARLY_FULL:g} % on it is nearly full",
        f"have waited for over {SECOND[answers._SLOW]}:",
        f"has up to {said(answers.MOST_WAITING)} sessions",
        f"it did not answer for {HUNG} seconds, and was killed",
        f"calls come late that are due {({0.5: 'twice'})[lateness._TICK]} a second",
        f"certificate of the server's expires within {DAYS:g} days",
        f"beyond {PER_MINUTE} a minute for each reason",
        f"`session_duration_seconds`: {bounds(metrics.DURATION_BOUNDS)} -",
        f"`tls_handshake_duration_seconds`: {bounds(counts.HANDSHAKE_BOUNDS)} -",
        f"`reactor_lateness_seconds`: {bounds(metrics.LATENESS_BOUNDS)} ",
    ),
    "security": (
        f"when it is exceeded by {part(buffered_memory._SHARE)},",
        f"less than {HELD} of input for each session",
        "two sweeps of the deadlines, which are {:g} to {:g} seconds apart".format(
            *SWEEPS
        ),
        f"the size of a record ({records.RECORD >> 10} KiB) each way",
        f"always leave {FREE.format('''the process's limit''')}.",
        f"The admin port takes at most {OF_FILES} of the limit",
        f"with a pause of {SECOND[listener._PAUSE]} in between",
        f"`--drain` + `--abort-after` + {GIVES_UP} seconds, or up to {FORGIVEN} ",
        f"of offence is logged {PER_MINUTE} times a minute",
        f"cut to {addresses._LONGEST} characters. The subject of a client's"
        f" certificate is cut to {x509.LONGEST}.",
        f"cut a name after {x509.LONGEST} characters",
        f"at most {ADMIN} connections. Each has one answer, and"
        f" {said(http_server._TIMEOUT)} seconds",
    ),
    "stopping": (
        f"has {said(tls_layer._LAST_FLIGHT)} second to finish its handshake",
        f"does it within {SECOND[unserved_backlogs._ANSWERED_WITHIN]}",
        f"`--drain` + `--abort-after` + {GIVES_UP} seconds later",
        f"the stop takes up to {FORGIVEN} seconds more",
    ),
    "deployment": (
        "longer than `--notice` + `--drain` + `--abort-after` +"
        f" {stop.longestStop(0, 0):g} seconds",
    ),
    "embedding": (
        f"those of other hooks: {PER_MINUTE} a minute",
        f"has grown by {HELD} or more",
    ),
    "eager-reactor": (
        f"one read, of {READ} (`bufferSize`)",
        f"two sends, of {tcp.Server.SEND_LIMIT >> 10} KiB each (`SEND_LIMIT`)",
        f"A port accepts for {MILLISECOND[accepting.SHARE]} (",
    ),
    "how-it-works": (
        f"recv, up to {READ}",
        f"reads once, at most {READ}, so that",
        f"accepts for {MILLISECOND[accepting.SHARE]} of a turn",
        f"leaves {HELD} or more unfinished",
    ),
}
"""
What pages of C{docs/} say, by the page.
"""

SCRIPT = {"PERIOD": 2000, "SPAN": 300, "RECENT": 100}
"""
What the page on monitoring says of the status page: every two seconds, five minutes,
the last hundred ends.
"""

ONE_SECTION = "docs/sizing.md"
"""
All sections of this page are about the figures of the first, and one has the command.
"""
WITHOUT_TESTS = {"index", "quick-start", "glossary", "changelog"}
"""
Pages of C{docs/} that promise nothing that another one does not.
"""
MEASURED = re.compile(r"µs|instructions|\d % more")
SHOWN = re.compile(r"python (?:-m|docs/)|\]\([./]*tests/|<!-- compare: ")
"""
A command, a test, or the marks of a comparison, which C{tables} writes.
"""


class PromisesTests(SynchronousTestCase):
    def test_said(self) -> None:
        """
        Every sentence is on its page, with the number of the code.
        """
        for page, sentences in PROMISES.items():
            text = " ".join(PAGES[f"docs/{page}.md"].split())
            for each in sentences:
                self.assertIn(each, text, page)

    def test_statusPage(self) -> None:
        """
        Likewise the numbers of the script.
        """
        page = PROJECT / "twisted_echo" / "admin" / "status_page" / "page.html"
        for name, number in SCRIPT.items():
            self.assertIn(f"const {name} = {number};", page.read_text())

    def test_haproxy(self) -> None:
        """
        Likewise those of the configuration that is shipped.
        """
        configuration = (DOCS / "deploy" / "haproxy.cfg").read_text()

        def value(name: str) -> float:
            lines = [each.partition("#")[0] for each in configuration.splitlines()]
            (found,) = re.findall(rf"\b{name} (\d+)(m?)", "\n".join(lines))
            return float(found[0]) / (1000 if found[1] else 1)

        fall = value("fall")
        noticed = value("inter") + (fall - 1) * value("fastinter")
        silent = noticed + fall * value("timeout check")
        for sentence in (
            f"`fastinter` = {noticed:g} s.",
            f"`timeout check`: {silent:g} s.",
            f"by the checks alone after {noticed:g} s",
            f"is out after {silent:g} s",
            f"goes to the next service after {value('timeout connect'):g} s",
            f"`maxconn {value('maxconn'):.0f}` keeps",
            f"waits for a place for {value('timeout queue'):g} s at most",
        ):
            self.assertIn(sentence, " ".join(PAGES["docs/deployment.md"].split()))
        # Deadlines are late by two sweeps at most.
        deadlines, late = EchoConfig().deadlines, 2 * SWEEPS[1]
        idle = deadlines.idle + late + EchoConfig().abortAfter
        self.assertIn(f"make {idle:g} s. HAProxy's", configuration)
        for side in ("client", "server"):
            self.assertGreater(value(f"timeout {side}"), idle)
            self.assertGreater(value(f"timeout {side}-fin"), deadlines.write + late)


class RowsTests(SynchronousTestCase):
    """
    The tables of figures have the rows that their commands print.
    """

    def names(self, page: str, head: str) -> list[str]:
        """
        The first cells of a table that begins like this.
        """
        _, _, table = PAGES[f"docs/{page}.md"].partition(f"\n| {head} |")
        rows = table.partition("\n\n")[0].splitlines()[2:]
        return [each.split(" | ")[0].removeprefix("| ") for each in rows]

    def test_memory(self) -> None:
        """
        What one connection costs.
        """
        names = self.names("security", "connection")
        plain = [re.sub(r" \(for `.*`\)", "", each) for each in names]
        self.assertEqual(plain, [each.name for each in connection_memory.KINDS])

    def test_unread(self) -> None:
        """
        How many clients that do not read the default of C{--max-buffered} is for.
        """
        text = PAGES["docs/security.md"]
        (held,) = re.findall(
            r"^\| a client that does not read \| .* \| (\d+) KiB \|$", text, re.M
        )
        clients = EchoConfig().limits.buffered / (int(held) << 10)
        self.assertEqual(round(clients, -3), 2000)
        self.assertIn("[two thousand clients]", PAGES["docs/operations.md"])

    def test_instructions(self) -> None:
        """
        What a line costs.
        """
        names = self.names("eager-reactor", "connections")
        plain = ",".join(each.replace(",", "") for each in names)
        self.assertEqual(plain, line_cost.CONNECTIONS)

    def test_gains(self) -> None:
        """
        What each kind of program gains.
        """
        named = self.names("eager-gains", "kind: an operation | epoll | eager | ratio")
        kinds = [f"{each.label}: {each.operation}" for each in KINDS.values()]
        self.assertEqual(named, kinds)


class SourcesTests(SynchronousTestCase):
    """
    What shows a claim stands beside it.
    """

    def test_figures(self) -> None:
        """
        A section with measured figures names the command that measures them, or a test.
        """
        sections = []
        for page, text in PAGES.items():
            parts = re.split("^(?=## )", text, flags=re.M)
            for part in [text] if page == ONE_SECTION else parts:
                if MEASURED.search(part):
                    title = part.partition("\n")[0]
                    sections.append((page, title, SHOWN.search(part) is not None))
        self.assertGreater(len(sections), 7)
        self.assertEqual([each for each in sections if not each[-1]], [])

    def test_commands(self) -> None:
        """
        Each command of this project that a page names is there.
        """
        named = {
            each
            for text in PAGES.values()
            for each in re.findall(r"python -m ((?:tests|twisted_echo)[.\w]*\w)", text)
        }
        self.assertGreater(len(named), 6)
        for each in named:
            path = PROJECT.joinpath(*each.split("."))
            path = path / "__main__.py" if path.is_dir() else path.with_suffix(".py")
            self.assertIn('__name__ == "__main__"', path.read_text(), each)

    def test_tests(self) -> None:
        """
        A page names the tests of what it says.
        """
        silent = set()
        for path in sorted(DOCS.glob("*.md")):
            if not re.search(r"\]\(\.\./tests/\w", path.read_text()):
                silent.add(path.stem)
        self.assertEqual(silent, WITHOUT_TESTS)

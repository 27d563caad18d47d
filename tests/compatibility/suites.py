"""
Other packages' suites: what installs them, and what runs them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["BOTH", "SUITES", "Suite"]

BOTH = frozenset(("epoll", "asyncio"))


@dataclass(frozen=True)
class Suite:
    """
    One package's suite.

    @ivar package: its name for pip.
    @ivar requirements: what its tests need, for pip.
    @ivar tests: what to run: names for trial, or files for pytest.
    @ivar source: what is taken of the package's source distribution, if the
        installed package has no tests.
    @ivar stock: the stock reactors that it runs on.
    @ivar by_pytest: for pytest, the further arguments on each of them.
    @ivar environment: what its tests ask to be set.
    """

    package: str
    requirements: tuple[str, ...]
    tests: tuple[str, ...]
    source: tuple[str, ...] = ()
    stock: frozenset[str] = BOTH
    by_pytest: Mapping[str, tuple[str, ...]] | None = None
    environment: Mapping[str, str] = field(default_factory=dict)


# pytest-twisted has no choices for reactors that it does not know, and needs none: its
# "default" is what is compared.
_PYTEST_TWISTED = {"epoll": ("--reactor=default",), "asyncio": ("--reactor=asyncio",)}

SUITES = (
    Suite(
        "treq",
        requirements=("treq[dev]", "twisted[tls,http2]"),
        tests=("treq",),
    ),
    Suite(
        "klein",
        requirements=("klein", "hypothesis", "idna", "treq", "twisted[tls]"),
        tests=("klein",),
    ),
    Suite(
        "autobahn",
        requirements=(
            "autobahn[compress,encryption,scram,serialization,twisted]",
            "pytest",
        ),
        # Not its tests of asyncio, which have no Twisted in them.
        tests=tuple(
            f"autobahn.{each}test"
            for each in ("", "twisted.", "websocket.", "rawsocket.", "wamp.", "nvx.")
        ),
        environment={"USE_TWISTED": "1"},
    ),
    Suite(
        "foolscap",
        requirements=("foolscap[dev]",),
        tests=("foolscap",),
    ),
    Suite(
        "magic-wormhole",
        requirements=(
            "magic-wormhole[dilate]",
            "magic-wormhole-mailbox-server",
            "magic-wormhole-transit-relay",
            "hypothesis",
            "pytest",
            "pytest-twisted",
        ),
        tests=("--pyargs", "wormhole"),
        by_pytest=_PYTEST_TWISTED,
    ),
    Suite(
        "txtorcon",
        requirements=("txtorcon",),
        tests=("test",),
        source=("test",),
    ),
    Suite(
        "daphne",
        requirements=("daphne", "django", "hypothesis", "pytest", "pytest-asyncio"),
        tests=("tests",),
        source=("tests", "pyproject.toml"),
        # It takes away any other reactor and installs the asyncio reactor.
        stock=frozenset(("asyncio",)),
        by_pytest={"asyncio": ()},
    ),
    Suite(
        "Scrapy",
        requirements=(
            "Scrapy",
            "pexpect",
            "psutil",
            "pyftpdlib",
            # 9.2 warns of the order of decorators, which is an error there.
            "pytest<9.2",
            "pytest-rerunfailures",
            "pytest-timeout",
            "pytest-twisted",
            "sybil",
            "testfixtures",
            "twisted[http2,tls]",
        ),
        tests=("tests",),
        source=("conftest.py", "pyproject.toml", "tests"),
        by_pytest={
            stock: (*arguments, "-m", "not requires_internet")
            for stock, arguments in _PYTEST_TWISTED.items()
        },
    ),
)

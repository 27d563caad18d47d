"""
How to install what is optional and missing: a command that works here.

This package is on no index, so a command that names it would fail. An extra of it is
installed from where the package itself came: the checkout that it runs from, or the
folder, archive or repository that it was installed from. Where that is gone, what the
extra consists of is installed by itself.

What must hold: the command is for the Python that runs, whatever folder it is typed in.
"""

import re
import shlex
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from json import loads
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

__all__ = ["MissingPackage", "install_extra", "install_packages"]

_NAME = "twisted-echo"

_EXTRA = re.compile(r"^(.*?)(?: and )?extra == ['\"]([\w-]+)['\"]$")


class MissingPackage(ImportError):
    """
    What was asked for needs a package that is not installed. The message has the
    command that installs it.
    """

    def __init__(self, missing: str, command: str) -> None:
        """
        @param missing: the name of the package, or of what it provides.
        @param command: by L{install_extra} or L{install_packages}.
        """
        super().__init__(f"{missing} is not installed; to install it: {command}")


def install_packages(*requirements: str) -> str:
    """
    Write the command that installs packages of others, such as C{twisted[tls]}.
    """
    return _pip(*requirements)


def install_extra(extra: str) -> str:
    """
    Write the command that installs an extra of this package, such as C{metrics}.
    """
    checkout = Path(__file__).absolute().parents[2]
    if _is_checkout(checkout):
        return _pip("-e", f"{checkout}[{extra}]")
    try:
        installed = distribution(_NAME)
    except PackageNotFoundError:
        return _pip(f"THE-CHECKOUT-OF-{_NAME}[{extra}]")
    origin = _origin(installed.read_text("direct_url.json"), extra)
    return _pip(origin) if origin else _pip(*_packages(installed.requires, extra))


def _pip(*arguments: str) -> str:
    return shlex.join([sys.executable or "python", "-m", "pip", "install", *arguments])


def _is_checkout(folder: Path) -> bool:
    try:
        text = (folder / "pyproject.toml").read_text(encoding="utf-8")
        return tomllib.loads(text)["project"]["name"] == _NAME  # type: ignore[no-any-return]
    except (OSError, ValueError, LookupError, TypeError):
        return False


def _origin(direct_url: str | None, extra: str) -> str | None:
    """
    Write a requirement for an extra of what was installed from a URL.

    @param direct_url: the record of PEP 610; None for a package of an index.
    @return: None if it is not there any more.
    """
    if direct_url is None:
        return None
    record: dict[str, Any] = loads(direct_url)
    url = urlsplit(record["url"])
    if url.scheme == "file":
        path = Path(url2pathname(url.path))
        return f"{path}[{extra}]" if path.exists() else None
    vcs = record.get("vcs_info", {}).get("vcs")
    return f"{_NAME}[{extra}] @ {vcs + '+' if vcs else ''}{record['url']}"


def _packages(requires: list[str] | None, extra: str) -> list[str]:
    """
    List the packages of an extra, by the metadata of this one.
    """
    packages = []
    for each in requires or ():
        package, _, marker = each.partition(";")
        found = _EXTRA.match(marker.strip())
        if found is not None and found[2] == extra:
            condition = found[1].strip()
            packages.append(package.strip() + (f"; {condition}" if condition else ""))
    return packages

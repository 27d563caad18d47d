"""
The image that docs/deploy/Containerfile describes, built by the real C{buildah}, and
containers of it in C{bubblewrap}.

No registry of images is needed. The two base images are made here: a root whose system
and whose Python are those of this machine, which are mounted there. Everything that the
Containerfile itself says is done as it stands.
"""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tests.support.containers import Container
from tests.support.paths import DOCS, PROJECT
from tests.support.processes import Test, environment, new_folder

__all__ = ["CANNOT_BUILD", "Image"]

CONTAINERFILE = DOCS / "deploy" / "Containerfile"

_PROGRAMS = ("buildah", "bwrap", "setpriv")
_MISSING = [name for name in _PROGRAMS if shutil.which(name) is None]

CANNOT_BUILD = (
    f"{' and '.join(_MISSING)} missing: no image can be built"
    if _MISSING
    else ""
    if os.getuid() == 0
    else "only root can build an image"
)
"""
Why this cannot be done here; empty if it can.
"""

_BUILD_WITHIN = 600.0
"""
Seconds for an installation by pip, which may have to download.
"""

_PYTHON = f"python{sys.version_info[0]}.{sys.version_info[1]}"
# (Importing it would change what setuptools does in this process.)
_PIP = Path(sysconfig.get_path("purelib"), "pip")


def _pip_settings() -> dict[str, str]:
    """
    What pip is told here, by its files and by the environment, which wins.
    """
    told = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"],
        # Quiet, it would say nothing at all.
        env=environment({"PIP_QUIET": "0"}),
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    # Such as  global.timeout='60'  or  :env:.timeout='60'.
    lines = sorted(told.splitlines(), key=lambda line: line.startswith(":env:"))
    return {
        name.rpartition(".")[2]: ast.literal_eval(value)
        for name, _, value in (line.partition("=") for line in lines)
    }


def _system() -> list[Path]:
    """
    The folders of this machine that stand for the system and Python of the base images.
    """
    folders = ["/usr", "/lib", "/lib64", "/bin", "/etc/alternatives", sys.base_prefix]
    return [
        each for each in map(Path, folders) if each.exists() and not each.is_symlink()
    ]


def _for_pip(settings: Mapping[str, str]) -> list[Path]:
    """
    What pip needs of this machine: itself, the files that its settings name, and the
    certificates of authorities.
    """
    told = []
    for word in " ".join(settings.values()).split():
        path = Path(word.removeprefix("file://"))
        # The pages of an index refer to files beside it.
        told.append(path if word.startswith("/") else path.parent)
    wanted = [_PIP, Path("/etc/ssl"), *(each for each in told if each.is_absolute())]
    return [each for each in wanted if each.exists()]


class Image:
    """
    The built image.

    @ivar root: its root folder.
    @ivar config: what it says of the process, as the OCI's specification has it.
    """

    def __init__(self, test: Test) -> None:
        self._folder = new_folder(test)
        # For the user of the container.
        self._folder.chmod(0o711)
        settings = _pip_settings()
        mounts = [*_system(), *_for_pip(settings)]
        self._make_base(settings, mounts)
        volumes = [f"--volume={each}:{each}:ro" for each in mounts]
        self._buildah(
            "build",
            "--isolation=chroot",
            "--network=host",
            "--pull=never",
            *volumes,
            "--tag=built",
            f"--file={CONTAINERFILE}",
            str(PROJECT),
        )
        described = json.loads(self._buildah("inspect", "--type=image", "built"))
        self.config: Mapping[str, Any] = described["OCIv1"]["config"]
        container = self._buildah("from", "built").strip()
        self.root = Path(self._buildah("mount", container).strip())

    def _make_base(self, settings: Mapping[str, str], mounts: Iterable[Path]) -> None:
        """
        Make what the Containerfile begins with.
        """
        base = self._folder / "base"
        for mounted in mounts:
            point = base.joinpath(*mounted.parts[1:])
            (point if mounted.is_dir() else point.parent).mkdir(
                parents=True, exist_ok=True
            )
            if not mounted.is_dir():
                point.touch()
        for name in ("lib", "lib64", "bin"):
            if Path("/", name).is_symlink():
                (base / name).symlink_to(Path("/", name).readlink())
        for name in ("tmp", "proc", "dev", "etc", "python"):
            (base / name).mkdir(exist_ok=True)
        lines = [
            f"{name} = {' '.join(text.split())}" for name, text in settings.items()
        ]
        (base / "etc" / "pip.conf").write_text("\n".join(["[global]", *lines, ""]))
        (base / "python" / "python").symlink_to(Path(sys.base_prefix, "bin", _PYTHON))
        (base / "python" / "pip").write_text(f'#!/bin/sh\nexec python {_PIP} "$@"\n')
        (base / "python" / "pip").chmod(0o755)
        (self._folder / "Base").write_text(
            "FROM scratch\nCOPY base /\nENV PATH=/python:/usr/sbin:/usr/bin:/bin\n"
        )
        told = re.findall(r"^FROM (\S+)", CONTAINERFILE.read_text(), re.M)
        (version,) = re.findall(r"^ARG PYTHON=(\S+)", CONTAINERFILE.read_text(), re.M)
        tags = [f"--tag={each.replace('${PYTHON}', version)}" for each in told]
        self._buildah(
            "build", *tags, f"--file={self._folder / 'Base'}", str(self._folder)
        )

    def _buildah(self, *arguments: str) -> str:
        """
        Run buildah on images of its own.

        @return: what it says.
        """
        told = subprocess.run(
            [
                "buildah",
                "--storage-driver=vfs",
                f"--root={self._folder / 'storage'}",
                f"--runroot={self._folder / 'run'}",
                *arguments,
            ],
            capture_output=True,
            text=True,
            env=environment(),
            timeout=_BUILD_WITHIN,
        )
        if told.returncode:
            raise AssertionError(f"buildah {arguments[0]}: {told.stdout}{told.stderr}")
        return told.stdout

    def run(self, test: Test, variables: Mapping[str, str]) -> Container:
        """
        Run a container: its root is read-only, its user is that of the image, has no
        privileges and gets none. It has the network of this machine.

        @param variables: its environment, beside that of the image.
        """
        user, group = self.config["User"].split(":")
        mounts = ["--ro-bind", str(self.root), "/"]
        for each in _system():
            mounts += ["--ro-bind", str(each), str(each)]
        return Container.run(
            test,
            [*mounts, "--dev", "/dev", "--chdir", self.config["WorkingDir"]],
            [
                *("setpriv", "--reuid", user, "--regid", group, "--clear-groups"),
                *("--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"),
                *self.config["Entrypoint"],
            ],
            folder=self.root,
            variables={
                **dict(each.split("=", 1) for each in self.config["Env"]),
                **variables,
            },
        )

    def files(self, folder: str = "") -> dict[str, tuple[int, ...]]:
        """
        All that is in a folder of the image: owners, rights, sizes and times.
        """
        found: dict[str, tuple[int, ...]] = {}
        for path in sorted(self.root.joinpath(folder).rglob("*")):
            status = path.lstat()
            found[str(path.relative_to(self.root))] = (
                *(status.st_uid, status.st_gid, status.st_mode),
                *(status.st_size, status.st_mtime_ns),
            )
        return found

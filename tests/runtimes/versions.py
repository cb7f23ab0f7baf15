"""Two versions of netdevns as pip installs them: wheels of this checkout, and virtual environments."""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import netdevns
from tests.csrc.compilers import digest, once
from tests.support.installation import without_notes
from tests.support.require import require_module

TOP = Path(__file__).parents[2]
NOW = netdevns.__version__
NEXT = f"{NOW}.1"
SOURCES = ["csrc", "netdevns", "share", *(path.name for path in TOP.glob("*.[mpt][dyo]*")), "LICENSE", "LICENSE-MIT"]
NO_SOURCES = ("*.so", "*.o", "__pycache__", "netdevns-hook", "build")
# Where the version stands: a test holds that they agree.
PLACES = {"netdevns/__init__.py": '__version__ = "{}"', "csrc/hook/hook.h": '#define HOOK_VERSION "{}"'}


def pip(*words: str | Path) -> None:
    """Without an index, and without what the machine's settings say of one."""
    argv = [
        sys.executable,
        "-I",
        "-m",
        "pip",
        "--isolated",
        "--disable-pip-version-check",
        "--no-input",
        *map(str, words),
    ]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@functools.cache
def wheel(version: str) -> Path:
    """Of this checkout with another version, built once."""
    require_module("ship", "setuptools")
    files = [path for name in ("csrc", "netdevns") for path in sorted((TOP / name).rglob("*.[chp]*")) if path.is_file()]
    files = [path for path in files if path.suffix in (".c", ".h", ".py")]

    def make(folder: Path) -> None:
        copy = folder / "source"
        copy.mkdir()
        for name in SOURCES:
            if (TOP / name).is_dir():
                shutil.copytree(TOP / name, copy / name, ignore=shutil.ignore_patterns(*NO_SOURCES[:-1]))
            else:
                shutil.copy(TOP / name, copy)
        for name, form in PLACES.items():
            text = (copy / name).read_text()
            assert form.format(NOW) in text, name
            (copy / name).write_text(text.replace(form.format(NOW), form.format(version)))
        pip("wheel", "--no-index", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, copy)
        shutil.rmtree(copy)

    (made,) = once(
        f"wheel-{version}", digest(version, *files, TOP / "setup.py", TOP / "pyproject.toml"), make
    ).iterdir()
    return made


class Venv:
    """A virtual environment with netdevns and cffi's backend, which has no other packages.

    Attributes:
        folder, bin: It, and its folder of programs.
    """

    def __init__(self, folder: Path, version: str) -> None:
        self.folder, self.bin = folder, folder / "bin"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
        (site,) = (folder / "lib").glob("python*/site-packages")
        backend = find_spec("_cffi_backend")
        assert backend is not None
        assert backend.origin is not None
        shutil.copy(backend.origin, site)
        self.install(version)

    def install(self, version: str) -> None:
        """Or upgrades."""
        pip(
            "--python",
            self.bin / "python3",
            "install",
            "--no-index",
            "--no-deps",
            "--no-compile",
            "--upgrade",
            wheel(version),
        )
        assert self.run("--version") == f"netdevns {version}\n"

    def run(self, *words: str) -> str:
        """Its command."""
        argv = [str(self.bin / "netdevns"), *words]
        done = subprocess.run(argv, env={}, cwd="/", capture_output=True, text=True, check=False)
        assert (done.returncode, without_notes(done.stderr)) == (0, ""), done.stderr
        return done.stdout

    def hooks(self, device: str) -> dict[str, list[object]]:
        """What `cdi` writes for a device, as config.json has it."""
        document = json.loads(self.run("cdi", "vendor.com/nic", device))
        found: dict[str, list[object]] = {}
        for edits in (document, *document["devices"]):
            for hook in edits.get("containerEdits", {}).get("hooks", ()):
                found.setdefault(hook.pop("hookName"), []).append(hook)
        return found

"""Attacks by way of the code that an installed hook's line runs as root: modules, interpreters and libraries."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import netdevns
from netdevns.oci import cdi, hook_line, hooks_dir
from tests.support.installation import Installation

from .ownership import KIND, OTHER, Change, mode, owned

pytestmark = pytest.mark.usefixtures("others")

PACKAGE = Path(netdevns.__file__).parent


# ---- the line ------------------------------------------------------------------------------------------------------


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The package and cffi's module, in a folder as an installation has them."""
    folder = tmp_path / "opt" / "site-packages"
    shutil.copytree(PACKAGE, folder / "netdevns", ignore=shutil.ignore_patterns("__pycache__"))
    core = hook_line.find_spec("_cffi_backend")
    assert core is not None
    assert core.origin is not None
    shutil.copy(core.origin, folder)
    (folder / "netdevns" / "__pycache__").mkdir()
    return folder


def written(folder: Path, *arguments: str, python: str = sys.executable) -> subprocess.CompletedProcess[str]:
    """What that installation's command does."""
    return subprocess.run(
        [python, "-B", "-S", "-m", "netdevns", *arguments],
        env={"PYTHONPATH": str(folder)}, cwd="/", capture_output=True, text=True, check=False,
    )  # fmt: skip


def _link_to_theirs(folder: Path) -> None:
    theirs = folder.parent / "theirs.py"
    (folder / "netdevns" / "oci" / "hook.py").rename(theirs)
    (folder / "netdevns" / "oci" / "hook.py").symlink_to(theirs)
    owned(theirs)


def _core(folder: Path) -> Path:
    (found,) = (folder / "netdevns").glob("_core*.so")
    return found


def _cffi(folder: Path) -> Path:
    (found,) = folder.glob("_cffi_backend*.so")
    return found


# Each leaves something that OTHER could change: the path that is named, of {folder}.
CODE: dict[str, tuple[str, Change]] = {
    "a module": ("netdevns/oci/hook.py", lambda folder: owned(folder / "netdevns" / "oci" / "hook.py")),
    "a module for all": ("netdevns/oci/hook.py", lambda folder: (folder / "netdevns" / "oci" / "hook.py").chmod(0o666)),
    "a module in a package": ("netdevns/engine/failed.py", lambda f: owned(f / "netdevns" / "engine" / "failed.py")),
    "the package": ("netdevns", lambda folder: owned(folder / "netdevns")),
    "the package for a group": ("netdevns", lambda folder: (folder / "netdevns").chmod(0o775)),
    "what is compiled": ("netdevns/__pycache__", lambda f: (f / "netdevns" / "__pycache__").chmod(0o1777)),
    "the core": ("netdevns/_core", lambda folder: owned(_core(folder))),
    "cffi": ("_cffi_backend", lambda folder: _cffi(folder).chmod(0o666)),
    "the folder": ("", mode(0o777)),
    "the sticky folder": ("", mode(0o1777)),
    "above": ("..", lambda folder: owned(folder.parent)),
    "a link": ("../theirs.py", _link_to_theirs),
    "a link of theirs": (
        "netdevns/x",
        lambda f: ((f / "netdevns" / "x").symlink_to("/etc"), owned(f / "netdevns/x"))[1],
    ),
}


@pytest.mark.sampled(15, 3)
@pytest.mark.parametrize(("named", "change"), CODE.values(), ids=CODE.keys())
def test_code_that_others_can_change(named: str, change: Change, installed: Path, tmp_path: Path) -> None:
    """Not installed: exit code 2, and a line with path, reason and remedy. Shown, with that as a warning."""
    cdi_folder = tmp_path / "cdi"
    cdi_folder.mkdir()
    change(installed)
    path = os.path.normpath(installed / named)
    done = written(installed, "cdi", KIND, "eth1", "--install", "--dir", str(cdi_folder))
    assert (done.returncode, done.stdout, list(cdi_folder.iterdir())) == (2, "", [])
    first, last = done.stderr.splitlines()
    assert first.startswith(f"netdevns: {path}")
    assert first.endswith(
        "; each container's start would run that as root; install netdevns, and its Python, where only root may write"
    )
    assert last == "netdevns: nothing was touched"
    shown = written(installed, "hooks-dir", "--allow", "x")
    assert (shown.returncode, "hook" in shown.stdout, shown.stderr.count("\n")) == (0, True, 1)
    assert shown.stderr.startswith(f"netdevns: {path}")
    assert "--install would refuse" in shown.stderr


@pytest.mark.thorough
def test_both_commands_ask(installed: Path, tmp_path: Path) -> None:
    """hooks-dir refuses, and what cdi shows comes with the warning."""
    owned(installed / "netdevns" / "oci" / "hook.py")
    (tmp_path / "hooks.d").mkdir()
    done = written(installed, "hooks-dir", "--allow", "x", "--install", "--dir", str(tmp_path / "hooks.d"))
    assert (done.returncode, list((tmp_path / "hooks.d").iterdir())) == (2, [])
    assert done.stderr.startswith(f"netdevns: {installed}/netdevns/oci/hook.py: it belongs to user {OTHER}")
    shown = written(installed, "cdi", KIND, "eth1")
    assert (shown.returncode, json.loads(shown.stdout)["kind"]) == (0, KIND)
    assert "--install would refuse" in shown.stderr


def test_code_that_others_cannot_change(installed: Path, tmp_path: Path) -> None:
    """The control of the tests above; a package beside ours that no hook imports is not looked at."""
    (installed / "others").mkdir()
    (installed / "others").chmod(0o777)
    done = written(installed, "cdi", KIND, "eth1", "--install", "--dir", str(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")


def test_without_a_hook_nothing_is_asked(installed: Path, tmp_path: Path) -> None:
    """CDI 1.1.0 has no line: the runtime moves the devices itself."""
    owned(installed / "netdevns" / "oci" / "hook.py")
    (tmp_path / "cdi").mkdir()
    arguments = ["cdi", KIND, "eth1", "--cdi-version", cdi.NATIVE, "--install", "--dir", str(tmp_path / "cdi")]
    done = written(installed, *arguments)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """An interpreter with its library, in a place of its own; the library is the machine's, behind links of root's."""
    prefix = tmp_path / "python"
    library = Path(os.__file__).parent
    (prefix / "bin").mkdir(parents=True)
    (prefix / "lib").mkdir()
    shutil.copy(os.path.realpath(sys.executable), prefix / "bin" / "python3")
    (prefix / "lib" / library.name).mkdir()
    for each in library.iterdir():
        if each.name not in ("site-packages", "dist-packages"):
            (prefix / "lib" / library.name / each.name).symlink_to(each)
    return prefix / "bin" / "python3"


PYTHON: dict[str, tuple[str, Change]] = {
    "interpreter": ("python3", owned),
    "interpreter for all": ("python3", mode(0o777)),
    "its folder": ("", lambda python: python.parent.chmod(0o777)),
    "its sticky folder": ("", lambda python: python.parent.chmod(0o1777)),  # a pyvenv.cfg there is obeyed
    "pyvenv.cfg": (
        "pyvenv.cfg",
        lambda python: ((python.parent / "pyvenv.cfg").touch(), owned(python.parent / "pyvenv.cfg"))[1],
    ),
    "pyvenv.cfg above": (
        "../pyvenv.cfg",
        lambda python: ((python.parents[1] / "pyvenv.cfg").touch(), owned(python.parents[1] / "pyvenv.cfg"))[1],
    ),
    "a sticky folder with one": (
        "",
        lambda python: ((python.parent / "pyvenv.cfg").touch(), python.parent.chmod(0o1777))[1],
    ),
    "the library": ("../lib", lambda python: (python.parents[1] / "lib").chmod(0o777)),
    "a sticky library": ("../lib", lambda python: (python.parents[1] / "lib").chmod(0o1777)),
    "a link": ("../lib/*/abc.py", lambda python: owned(next((python.parents[1] / "lib").glob("*/abc.py")))),
}


@pytest.mark.sampled(12, 3)
@pytest.mark.parametrize(("named", "change"), PYTHON.values(), ids=PYTHON.keys())
def test_an_interpreter_that_others_can_change(
    named: str, change: Change, python: Path, installed: Path, tmp_path: Path
) -> None:
    """The same for the interpreter, and what it reads before our first line, with -I and -S, too."""
    (tmp_path / "cdi").mkdir()
    arguments = ["cdi", KIND, "eth1", "--install", "--dir", str(tmp_path / "cdi")]
    before = written(installed, *arguments, python=str(python))
    assert (before.returncode, before.stderr) == (0, "")
    change(python)
    done = written(installed, *arguments, python=str(python))
    (path,) = python.parent.glob(named) if "*" in named else [Path(os.path.normpath(python.parent / named))]
    assert done.returncode == 2
    assert done.stderr.startswith(f"netdevns: {path.parent.resolve() / path.name}: ")


@pytest.mark.thorough
def test_an_interpreter_behind_a_link_of_others(installed: Path, tmp_path: Path) -> None:
    """The line has the interpreter's own path; but what started this command could be another one the next time."""
    link = tmp_path / "theirs" / "python3"
    link.parent.mkdir()
    link.symlink_to(os.path.realpath(sys.executable))
    link.parent.chmod(0o777)
    done = written(installed, "cdi", KIND, "eth1", "--install", "--dir", str(tmp_path), python=str(link))
    assert done.returncode == 2
    assert done.stderr.startswith(f"netdevns: {link.parent}: other users may write to it (mode 0777)")


@pytest.mark.thorough
def test_a_library_that_others_could_put_above(installed: Path, tmp_path: Path) -> None:
    """Without one beside it an interpreter looks for its library in each directory above, before the built-in place."""
    shared = tmp_path / "shared"
    python = shared / "mine" / "bin" / "python3"
    python.parent.mkdir(parents=True)
    shutil.copy(os.path.realpath(sys.executable), python)
    shared.chmod(0o1777)
    done = written(installed, "cdi", KIND, "eth1", "--install", "--dir", str(tmp_path), python=str(python))
    assert done.returncode == 2
    assert done.stderr.startswith(f"netdevns: {shared}: other users may write to it (mode 1777)")


# ---- the hook in C ---------------------------------------------------------------------------------------------------


def _module_of_a_pth(at: Installation) -> None:
    (at.site / "loaded.py").write_text("")
    (at.site / "more.pth").write_text("import loaded\n")
    owned(at.site / "loaded.py")


def _place_of_a_pth(at: Installation) -> None:
    """A folder that is not there yet, and that OTHER could make."""
    place = at.bin.parent / "open"
    place.mkdir()
    place.chmod(0o777)
    (at.site / "stale.pth").write_text(f"{place}/x\n")


# The path, below the environment, that OTHER could change.
STATIC: dict[str, tuple[str, Callable[[Installation], object]]] = {
    "the hook": ("bin/netdevns-hook", lambda at: owned(at.hook)),
    "the hook for all": ("bin/netdevns-hook", lambda at: at.hook.chmod(0o777)),
    "the command beside it": ("bin/netdevns", lambda at: owned(at.command)),
    "a module beside it": ("bin/later.py", lambda at: ((at.bin / "later.py").touch(), owned(at.bin / "later.py"))),
    "their folder": ("bin", lambda at: at.bin.chmod(0o777)),
    "their sticky folder": ("bin", lambda at: at.bin.chmod(0o1777)),
    "the interpreter's link": ("bin/python3", lambda at: owned(at.bin / "python3")),
    "pyvenv.cfg": ("pyvenv.cfg", lambda at: owned(at.bin.parent / "pyvenv.cfg")),
    "a module": ("{site}/netdevns/oci/hook.py", lambda at: owned(at.site / "netdevns" / "oci" / "hook.py")),
    "modules": ("{site}", lambda at: at.site.chmod(0o1777)),
    "what site reads": ("{site}/a.pth", lambda at: ((at.site / "a.pth").touch(), owned(at.site / "a.pth"))),
    "what that loads": ("{site}/loaded.py", _module_of_a_pth),
    "where that leads": ("open", _place_of_a_pth),
}


@pytest.mark.sampled(15, 3)
@pytest.mark.parametrize(("named", "change"), STATIC.values(), ids=STATIC.keys())
def test_hook_in_c_that_others_can_change(named: str, change: Callable[[Installation], object], tmp_path: Path) -> None:
    """The same for the hook in C, and all that the command beside it loads, to which it hands over."""
    at = Installation(tmp_path / "opt")
    (tmp_path / "cdi").mkdir()
    arguments = ["cdi", KIND, "eth1", "--install", "--dir", str(tmp_path / "cdi")]
    before = at.run(*arguments)
    assert (before.returncode, before.stderr) == (0, "")
    change(at)
    done = at.run(*arguments)
    assert done.returncode == 2
    path = at.bin.parent / named.format(site=at.site.relative_to(at.bin.parent))
    assert done.stderr.startswith(f"netdevns: {path}: "), done.stderr


def test_hook_in_c_that_is_not_trusted_is_not_started(tmp_path: Path) -> None:
    """Not even to ask for its version."""
    at = Installation(tmp_path / "opt")
    at.hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\necho netdevns-hook {netdevns.__version__}\n")
    owned(at.hook)
    assert at.run("cdi", KIND, "eth1").returncode == 0  # shown, with a warning
    assert not (tmp_path / "started").exists()


@pytest.mark.thorough
def test_command_of_an_isolated_interpreter(tmp_path: Path) -> None:
    """As the .deb has it in /usr/bin, where files of others may be: it looks for no module beside it, nor in site's."""
    at = Installation(tmp_path / "opt")
    at.command.write_text(
        f"#!{at.bin / 'python3'} -IS\nimport sys\nsys.path += [{str(at.site)!r}]\nimport netdevns.__main__\n"
    )
    for path in (at.bin / "later.py", at.site / "a.pth"):
        path.touch()
        owned(path)
    arguments = ["cdi", KIND, "eth1", "--install", "--dir", str(tmp_path)]
    done = at.run(*arguments)
    assert (done.returncode, done.stderr) == (0, "")
    owned(at.site / "netdevns" / "oci" / "hook.py")
    done = at.run(*arguments)
    assert (done.returncode, done.stderr.startswith(f"netdevns: {at.site}/netdevns/oci/hook.py: ")) == (2, True)


# ---- what a line runs ----------------------------------------------------------------------------------------------

PLANTED = "import os\nos.write(2, b'PLANTED ' + __name__.encode() + b'\\n')\n"


@pytest.fixture
def planted(tmp_path: Path) -> Path:
    """A folder with modules that say when they are run."""
    folder = tmp_path / "planted"
    for name in "sitecustomize", "usercustomize", "json", "netdevns/__init__", "_cffi_backend":
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.py").write_text(PLANTED)
    return folder


def lines() -> list[list[str]]:
    """Each hook's words that the commands write."""
    file = cdi.document(KIND, {"eth1": None})
    edits = [file["containerEdits"], *(device["containerEdits"] for device in file["devices"])]  # type: ignore[attr-defined]
    hooks = [hook for each in edits for hook in each["hooks"]]  # type: ignore[index]
    hooks += [file["hook"] for file in hooks_dir.documents(["x"]).values()]
    return [hook["args"] for hook in hooks]


@pytest.mark.thorough
def test_a_line_runs_nothing_from_outside(planted: Path, tmp_path: Path) -> None:
    """Neither PYTHONPATH nor the working directory, which is the bundle, nor a home directory has a part in it."""
    found = lines()
    assert len(found) == 4
    found.append([*Installation(tmp_path / "opt").words(), "createRuntime", "a/b"])
    environment = {
        "PYTHONPATH": str(planted),
        "PYTHONHOME": str(planted),
        "HOME": str(planted),
        "PYTHONUSERBASE": str(planted),
    }
    for words in found:
        done = subprocess.run(
            words, env=environment, cwd=planted, input="{}", capture_output=True, text=True, check=False
        )
        assert "PLANTED" not in done.stderr
        assert done.stderr.startswith("netdevns: ")  # it ran, and the state is none


@pytest.mark.thorough
def test_a_line_without_it_would(planted: Path) -> None:
    """That the test above can fail; and what SECURITY.md says of the console script."""
    words = [word for word in lines()[0] if word not in ("-I", "-S")]
    done = subprocess.run(
        words, env={"PYTHONPATH": str(planted)}, cwd="/", input="{}", capture_output=True, text=True, check=False
    )
    assert "PLANTED sitecustomize" in done.stderr

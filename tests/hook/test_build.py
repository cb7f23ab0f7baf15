"""csrc/hook/build: by which compiler, and what is left where there is none."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

import netdevns
from tests.csrc.compilers import CSRC
from tests.support.require import require

BUILD = CSRC / "hook" / "build"
TOOLS = ("sh", "dirname", "mktemp", "rm", "ln", "cp", "cat")
# Logs how it was called; makes the file that -o names, unless it is to fail.
COMPILER = """#!/bin/sh
[ "$1" != -print-multiarch ] || {{ echo here; exit; }}
echo {name} "$@" >>{log}
case " $* " in {fails}) echo {name}: cannot; exit 1 ;; esac
while [ "$1" != -o ]; do shift; done
echo "made by {name}" >"$2"
"""


def built(
    tmp_path: Path, environment: dict[str, str], **fails: str
) -> tuple[subprocess.CompletedProcess[str], Path, str]:
    """What it does with these compilers (name: a pattern of the arguments that it refuses): (end, its file, calls)."""
    folder, log, out = tmp_path / "bin", tmp_path / "log", tmp_path / "hook"
    folder.mkdir()
    for tool in TOOLS:
        found = shutil.which(tool)
        assert found, tool
        (folder / tool).symlink_to(found)
    for name, pattern in fails.items():
        compiler = folder / name.replace("_", "-")
        compiler.write_text(COMPILER.format(name=compiler.name, log=log, fails=pattern or "none"))
        compiler.chmod(0o755)
    done = subprocess.run(
        [BUILD, out], env={"PATH": str(folder), **environment}, capture_output=True, text=True, check=False
    )
    return done, out, log.read_text() if log.exists() else ""


@pytest.mark.parametrize(
    ("environment", "compilers", "by"),
    [
        ({}, {"musl_gcc": "", "cc": ""}, "musl-gcc -static"),
        ({}, {"cc": "", "gcc": ""}, "cc -static"),
        ({}, {"musl_gcc": "*-static*", "gcc": ""}, "gcc -static"),
        ({}, {"musl_gcc": "*-idirafter*", "cc": "*-static*"}, "cc"),
        ({"CC": "mine -m32"}, {"mine": "", "musl_gcc": "", "cc": ""}, "mine -m32 -static"),
        ({"CC": "mine"}, {"mine": "*-static*", "musl_gcc": ""}, "mine"),
    ],
)
def test_by_which_compiler(environment: dict[str, str], compilers: dict[str, str], by: str, tmp_path: Path) -> None:
    """$CC and no other, where it is set; musl before glibc, static before dynamic."""
    done, out, _ = built(tmp_path, environment, **compilers)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{by}\n", "")
    assert out.read_text() == f"made by {by.split()[0]}\n"


def test_by_none(tmp_path: Path) -> None:
    """It says why, in the compilers' words, and makes nothing; nor does it leave its scratch folder."""
    done, out, _ = built(tmp_path, {"TMPDIR": str(tmp_path)}, gcc="*", clang="*")
    assert done.returncode == 1
    assert "gcc: cannot\n" in done.stderr
    assert "clang: cannot\n" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bin", "log"]
    assert not out.exists()


def test_options_of_the_caller(tmp_path: Path) -> None:
    """CPPFLAGS and CFLAGS before the sources, LDFLAGS behind them."""
    options = {"CPPFLAGS": "-DA", "CFLAGS": "-g -m64", "LDFLAGS": "-Wl,-z,now"}
    _, _, calls = built(tmp_path, options, cc="")
    (call,) = calls.splitlines()
    assert " -DA -g -m64 -o " in call
    assert call.endswith(" -Wl,-z,now")
    assert " binding.c" not in call
    assert " example.c" not in call


@pytest.mark.thorough
def test_odd_environment(tmp_path: Path) -> None:
    """A folder for scratch with odd letters, and a CDPATH that leads elsewhere."""
    odd, elsewhere = tmp_path / "t|c d", tmp_path / "elsewhere"
    odd.mkdir()
    shutil.copytree(CSRC, elsewhere / "csrc")
    done = subprocess.run(
        ["sh", "csrc/hook/build", tmp_path / "out"], cwd=CSRC.parent, capture_output=True, text=True, check=False,
        env=dict(os.environ) | {"TMPDIR": str(odd), "CDPATH": str(elsewhere), "CC": "gcc"},
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "gcc -static\n", "")
    assert list(odd.iterdir()) == []


@pytest.mark.thorough
def test_make_without_python(tmp_path: Path) -> None:
    """`make -C csrc hook`, in a copy of csrc/ alone: the program says the version of this package."""
    if shutil.which("make") is None:
        require("compilers", "there is no make")
    copy = shutil.copytree(CSRC, tmp_path / "csrc", ignore=shutil.ignore_patterns("netdevns-hook"))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")} | {
        "PATH": "/usr/bin:/bin"
    }
    subprocess.run(["make", "-s", "-C", copy, "hook"], env=environment, capture_output=True, check=True)
    done = subprocess.run([copy / "hook" / "netdevns-hook", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"netdevns-hook {netdevns.__version__}\n"

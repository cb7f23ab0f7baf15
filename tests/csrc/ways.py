"""The ways in which a program of tests/csrc or tests/embed is built and started; valgrind is one."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support import require

from .compilers import BUILDS, DEBUGGABLE

# Of a child that becomes another program nothing is said, as it never frees what it was forked with.
VALGRIND = ["valgrind", "--quiet", "--error-exitcode=99", "--leak-check=full", "--show-leak-kinds=all",
            "--errors-for-leak-kinds=all", "--track-fds=yes", "--child-silent-after-fork=yes"]  # fmt: skip
# Without --full: one compiler, with its sanitizers. (As it is shipped: tests/embed.)
QUICK = "gcc-sanitized"


def ways(*names: str, full: tuple[str, ...]) -> list[Any]:
    """Parameters of tests: QUICK by default, `full` with --full, too, and the others with --all."""
    marks = {**dict.fromkeys(full, (pytest.mark.thorough,)), QUICK: ()}
    return [pytest.param(name, marks=marks.get(name, (pytest.mark.exhaustive,))) for name in names]


ALL_WAYS = ways(*BUILDS, "valgrind", full=("musl", "valgrind"))
# For what takes the kernel time: valgrind takes ten times as long as all others.
FEW_WAYS = ways("gcc", "gcc-sanitized", "musl", "valgrind", full=("musl",))

Run = Callable[[list[str]], "subprocess.CompletedProcess[str]"]
Start = Callable[..., "subprocess.CompletedProcess[str]"]


def run_here(argv: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, capture_output=True, text=True, timeout=250, check=False)


def starter(way: str, tmp_path: Path, run: Run = run_here) -> Start:
    """What starts one of compilers.PROGRAMS in that way: start(program, argument, ...)."""
    if way == "valgrind":
        if shutil.which("valgrind") is None:
            require("compilers", "there is no valgrind")
        DEBUGGABLE.check()
        return _under_valgrind(tmp_path / "valgrind.log", run)
    build = BUILDS[way]
    build.check()
    return lambda program, *arguments: run([str(build.program(program)), *arguments])


def _under_valgrind(log: Path, run: Run) -> Start:
    """Its findings become a failure: errors and leaks by its exit code, open descriptors by its log."""

    def start(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        done = run([*VALGRIND, f"--log-file={log}", str(DEBUGGABLE.program(program)), *arguments])
        said = log.read_text()
        assert done.returncode != 99, said
        assert not re.search(r"Open file descriptor \d+:.*\n==\d+== +at ", said), said  # not those inherited
        return done

    return start

"""Fixtures: the programs in tests/csrc, built and started in each way that this machine has."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import require

from .compilers import BUILDS, DEBUGGABLE

VALGRIND = ["valgrind", "--quiet", "--error-exitcode=99", "--leak-check=full", "--show-leak-kinds=all",
            "--errors-for-leak-kinds=all", "--track-fds=yes"]  # fmt: skip

Start = Callable[..., "subprocess.CompletedProcess[str]"]


def _run(argv: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, capture_output=True, text=True, timeout=100, check=False)


def _under_valgrind(log: Path) -> Start:
    """Its findings become a failure: errors and leaks by its exit code, open descriptors by its log."""

    def start(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        done = _run([*VALGRIND, f"--log-file={log}", str(DEBUGGABLE.program(program)), *arguments])
        said = log.read_text()
        assert done.returncode != 99, said
        assert not re.search(r"Open file descriptor \d+:.*\n==\d+== +at ", said), said  # not those inherited
        return done

    return start


@pytest.fixture(params=[*BUILDS, "valgrind"])
def start(request: pytest.FixtureRequest, tmp_path: Path) -> Start:
    """Starts one of compilers.PROGRAMS: start(program, argument, ...)."""
    return _starter(request.param, tmp_path)


@pytest.fixture(params=["gcc", "clang-sanitized", "musl", "valgrind"])
def start_few(request: pytest.FixtureRequest, tmp_path: Path) -> Start:
    """The same in fewer ways: for what takes the kernel time."""
    return _starter(request.param, tmp_path)


def _starter(way: str, tmp_path: Path) -> Start:
    if way == "valgrind":
        if shutil.which("valgrind") is None:
            require("compilers", "there is no valgrind")
        DEBUGGABLE.check()
        return _under_valgrind(tmp_path / "valgrind.log")
    build = BUILDS[way]
    build.check()
    return lambda program, *arguments: _run([str(build.program(program)), *arguments])

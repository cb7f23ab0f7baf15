"""The C core's unit test program (unit.c): each of its cases, in each build and under valgrind."""

from __future__ import annotations

import subprocess

import pytest

from .compilers import BUILDS
from .ways import Start


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "case" not in metafunc.fixturenames:
        return
    build = BUILDS["gcc"]
    cases = ["no-compiler"]
    if build.why_not() is None:
        command = [build.program("unit"), "--list"]
        listed = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        cases = listed.stdout.split()
    metafunc.parametrize("case", cases)


def test_case(start: Start, case: str) -> None:
    """What the case checks holds."""
    done = start("unit", case)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    assert done.stdout == f"ok 1 - {case}\n1..1\n"


def test_unknown_case_fails(start: Start) -> None:
    """No case ran: that is no success."""
    done = start("unit", "no-such-case")
    assert (done.returncode, done.stdout) == (1, "1..0\n")

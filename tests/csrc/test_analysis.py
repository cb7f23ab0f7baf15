"""Static analysis of the C code: gcc's and clang's analysers have no finding; of the tests' own gcc's alone."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support import require

from .compilers import CSRC, HERE, PROGRAMS

pytestmark = pytest.mark.thorough

ANALYSERS = {
    "gcc": ["gcc", "-O2", "-fanalyzer", "-Wall", "-Werror", "-fdiagnostics-plain-output", "-c", "-o", "/dev/null"],
    "clang": ["clang", "--analyze", "-Xclang", "-analyzer-werror", "-o", "/dev/null"],
}
SOURCES = sorted({*CSRC.glob("*.c"), *CSRC.glob("hook/*.c"), *PROGRAMS["embed"]})

# What an analyser that looks at all must find.
WRONG = """
#include <stdlib.h>
int first(void) { int *p = malloc(sizeof *p); if (!p) return 0; free(p); return *p; }
"""


# clang's takes five times as long as gcc's.
@pytest.fixture(params=["gcc", pytest.param("clang", marks=pytest.mark.exhaustive)])
def analyse(request: pytest.FixtureRequest):
    if shutil.which(request.param) is None:
        require("compilers", f"there is no {request.param}")

    def run(source: Path) -> subprocess.CompletedProcess[str]:
        command = [*ANALYSERS[request.param], "-std=c11", f"-I{CSRC}", str(source)]
        return subprocess.run(command, capture_output=True, text=True, timeout=250, check=False)

    return run


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
def test_no_finding(analyse, source: Path) -> None:
    """The analyser has nothing to say."""
    done = analyse(source)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("source", sorted(HERE.glob("*.c")), ids=lambda path: path.name)
@pytest.mark.parametrize("analyse", ["gcc"], indirect=True)
def test_no_finding_in_tests(analyse, source: Path) -> None:
    """The same of the C programs of the tests."""
    test_no_finding(analyse, source)


def test_analyser_looks(analyse, tmp_path: Path) -> None:
    """It does find a use after free."""
    source = tmp_path / "wrong.c"
    source.write_text(WRONG)
    done = analyse(source)
    assert done.returncode != 0
    assert "free" in done.stderr

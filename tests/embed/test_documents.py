"""csrc/README.md and docs/embedding.md: their snippets build, and the files and bits that they list are there."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support import require
from tests.support.readme import snippets

TOP = Path(__file__).parents[2]
CSRC, EMBEDDING = TOP / "csrc", TOP / "docs" / "embedding.md"
HEADER = (CSRC / "netdevns.h").read_text()
# Calls the page's function with a descriptor that is no namespace.
MAIN = """
static int start(void) { return 0; }
int main(void) { return give_and_start(0, 0, start) == -22 ? 0 : 1; }
"""
STRICT = "CFLAGS=-O2 -Wall -Wextra -Werror"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A program in C, and the files that csrc/README.md says to vendor."""
    for tool in ("make", "gcc", "nm"):
        if shutil.which(tool) is None:
            require("compilers", f"there is no {tool}")
    vendored = tmp_path / "vendor" / "netdevns"
    vendored.mkdir(parents=True)
    for path in {*CSRC.glob("*.c"), *CSRC.glob("*.h")} - {CSRC / "example.c"}:
        shutil.copy(path, vendored)
    (program,) = snippets("c", EMBEDDING)
    (tmp_path / "runtime.c").write_text(program + MAIN)
    return tmp_path


def make(folder: Path, lines: str, *words: str) -> None:
    (folder / "Makefile").write_text(lines)
    run(folder, "make", "-s", STRICT, *words)


def run(folder: Path, *words: str | Path) -> str:
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.thorough
def test_sources_in_a_program(folder: Path) -> None:
    """The first two lines, which csrc/README.md has, too, build the program that the page shows."""
    lines, _ = snippets("make", EMBEDDING)
    assert snippets("make", CSRC / "README.md") == [lines]
    assert len(lines.splitlines()) == 2
    make(folder, lines)
    run(folder, folder / "runtime")


@pytest.mark.thorough
def test_shared_library(folder: Path) -> None:
    """The other two build a library, which exports the functions of netdevns.h and nothing else."""
    _, lines = snippets("make", EMBEDDING)
    assert len(lines.splitlines()) == 2
    make(folder, lines)
    exported = {line.split()[0] for line in run(folder, "nm", "-DP", "--defined-only", "libnetdevns.so").splitlines()}
    assert exported == set(re.findall(r"^[a-z].*?\b(netdevns_\w+)\(", HEADER, re.MULTILINE))
    run(folder, "gcc", "-Ivendor/netdevns", "runtime.c", "-L.", "-lnetdevns", "-Wl,-rpath,.", "-o", "runtime")
    run(folder, folder / "runtime")


def test_bits_are_those_of_the_header() -> None:
    """csrc/README.md lists each bit of enum netdevns_state, in its order."""
    listed = re.findall(r"^\| `(NETDEVNS_\w+)` \|", (CSRC / "README.md").read_text(), re.MULTILINE)
    assert listed == re.findall(r"^\t(NETDEVNS_\w+) = 1 << ", HEADER, re.MULTILINE)

"""Each case of cases.py with runc and crun, and netdevns as their hook; what docs/runtimes.md says of them."""

from __future__ import annotations

import functools
import re

import pytest

from tests.support.require import require
from tools.losses_run import PACKAGES
from tools.runtimes_page import NO, PAGE, YES, Cell, Column, failures, page

from .cases import CASES, Make, play, summary
from .container import Runtime
from .players import Bundled

# Those with netDevices of their own.
NATIVE = {"runc": PACKAGES / "usr/sbin/runc", "crun": PACKAGES / "usr/bin/crun"}


def made(name: str) -> Make:
    return functools.partial(Bundled, name=name)


@pytest.mark.sampled(3)
@pytest.mark.parametrize("case", CASES)
def test_case(runtime: Runtime, case: str) -> None:
    """S1-S12: with any runtime the devices arrive complete, or there is no container and all is as before."""
    assert summary(play(CASES[case], made(runtime.name), Runtime.PREPARE[runtime.name])) == ""


@pytest.mark.thorough
@pytest.mark.sampled(3)
@pytest.mark.parametrize("case", CASES)
def test_native_runtime_ends_alike(runtime: Runtime, case: str) -> None:
    """S6: where a runtime that moves the devices itself is right, they are what they are after the hook."""
    program = NATIVE[runtime.name]
    if not program.is_file():
        require("native", f"no {runtime.name} with netDevices of its own; tools/runtimes fetches one")
    prepare = Runtime.PREPARE[runtime.name]
    native = play(
        CASES[case], functools.partial(Bundled, name=runtime.name, program=str(program), native=True), prepare
    )
    if not native.findings:
        assert native.final == play(CASES[case], made(runtime.name), prepare).final


# ---- docs/runtimes.md -----------------------------------------------------------------------------------------------

A, B = Column("a", "runc 1, hook"), Column("b", "runc 2, native")
CELLS = {
    ("x", "a"): Cell(YES), ("x", "b"): Cell(NO, "down"), ("y", "a"): Cell("n/a", "why"), ("y", "b"): Cell(NO, "down"),
}  # fmt: skip
ENDS = dict.fromkeys(CELLS)


def test_page_numbers_what_is_wrong() -> None:
    """A reason that is given twice is one note; a cell without one stands alone."""
    lines = page("Linux 7", [A, B], {"x": "this", "y": "that"}, CELLS).splitlines()
    rows = ["| `x` | this | yes | no [1] |", "| `y` | that | n/a [2] | no [1] |"]
    assert lines[-5:] == [*rows, "", "1. down", "2. why"]
    assert "Seen with Linux 7." in lines


def test_native_losses_are_no_failure_of_ours() -> None:
    """Only what does not hold with the hook counts."""
    assert failures([A, B], CELLS, ENDS) == []
    assert failures([A, B], {**CELLS, ("x", "a"): Cell(NO, "up")}, ENDS) == ["x, a: up"]


def test_different_ends_are_a_failure() -> None:
    """Two runtimes with which a case holds leave the same devices."""
    cells = {key: Cell(YES) for key in CELLS}
    assert failures([A, B], cells, ENDS) == []
    (line,) = failures([A, B], cells, {**ENDS, ("y", "b"): "net0"})
    assert line.startswith("y: not the same in the end")


def test_committed_page_is_one_of_the_tools() -> None:
    """docs/runtimes.md, taken apart and put together again by tools/runtimes, is the same; with the hook all holds."""
    text = PAGE.read_text(encoding="utf-8")
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    columns = [Column(label, label) for label in rows[0][2:]]
    notes = dict(re.findall(r"^(\d+)\. (.*)$", text, re.MULTILINE))
    cells = {
        (row[0].strip("`"), column.id): Cell(mark, notes[number.rstrip("]")] if number else "")
        for row in rows[1:]
        for column, shown in zip(columns, row[2:], strict=True)
        for mark, _, number in [shown.partition(" [")]
    }
    system = re.findall(r"^Seen with (.*)\.$", text, re.MULTILINE)[0]
    assert page(system, columns, {case.id: case.promise for case in CASES.values()}, cells) == text
    assert failures(columns, cells, dict.fromkeys(cells)) == []
    assert {cell.mark for cell in cells.values()} <= {YES, NO, "n/a"}

"""The compiled core's own work: executed instructions, counted by valgrind (callgrind). No clock is involved."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.support.require import require

from . import trace
from .source import Source

POINTS = (125, 250, 500)  # addresses on the device
EACH = 30_000  # instructions for one more address: snapshot, late, replay and read back


def instructions(addresses: int, out: Path) -> int:
    """Of the core's functions, with what these call, in one move."""
    counted = ("--tool=callgrind", "--toggle-collect=_cffi_f_nd_*", "--log-file=/dev/null")
    with Source(addresses=addresses).made() as (_, target):
        trace.moved((1,), "native", target, under=("valgrind", *counted, f"--callgrind-out-file={out}"))
    found = re.search(r"^totals: (\d+)$", out.read_text(), re.MULTILINE)
    assert found, "no totals"
    return int(found[1])


@pytest.mark.native
@pytest.mark.thorough
def test_work_of_the_core_is_linear_in_addresses(tmp_path: Path) -> None:
    """As much for the second half of them as for the first: their order is compared in one pass."""
    if not shutil.which("valgrind"):
        require("compilers", "there is no valgrind")
    few, some, many = (instructions(n, tmp_path / f"{n}.out") for n in POINTS)
    text = f"instructions for {POINTS} addresses: {few:,}, {some:,}, {many:,}"
    assert (many - some) / (some - few) <= 2 * 1.07, text
    assert (many - some) / (POINTS[2] - POINTS[1]) <= EACH, text
    print(f"\n{text}: {(many - some) / (POINTS[2] - POINTS[1]):,.0f} each")

"""What csrc/ adds to a program: the functions of netdevns.h, and no data that can be written.

That a shared library exports nothing else: tests/embed/test_documents.py.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from .compilers import BUILDS, CORE, CSRC

FUNCTIONS = [
    "netdevns_batch_add",
    "netdevns_batch_check",
    "netdevns_batch_close",
    "netdevns_batch_device",
    "netdevns_batch_finding",
    "netdevns_batch_move",
    "netdevns_batch_open",
    "netdevns_batch_record",
    "netdevns_batch_undo",
    "netdevns_recover",
]


def test_functions_of_the_header() -> None:
    """At most a dozen, all on one handle but the recovery."""
    header = re.sub(r"/\*.*?\*/", "", (CSRC / "netdevns.h").read_text(encoding="utf-8"), flags=re.DOTALL)
    assert sorted(re.findall(r"\b(netdevns_\w+)\(", header)) == FUNCTIONS
    assert len(FUNCTIONS) <= 12


@pytest.mark.thorough
def test_no_globals(tmp_path: Path) -> None:
    """No writable data of ours: a handle has all state, so that threads do not meet."""
    build = BUILDS["gcc"]
    build.check()
    for source in CORE:
        made = tmp_path / f"{source.stem}.o"
        build.run("-c", "-fno-pie", source, "-o", made)  # else tables of texts count as data: they are relocated
        listed = subprocess.run(["nm", "--format=posix", made], capture_output=True, text=True, check=True).stdout
        writable = [line for line in listed.splitlines() if line.split()[1] in "BbDdC"]
        assert not writable, (source.name, writable)

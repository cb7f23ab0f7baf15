"""The C core's unit test program (unit.c): each of its cases, in each build and under valgrind."""

from __future__ import annotations

import re

import pytest

from .compilers import PROGRAMS
from .ways import Start

# As the program lists them (test_every_case_is_tried); read here, for collecting tests compiles nothing.
CASES = [
    name
    for source in PROGRAMS["unit"]
    for table in re.findall(r"struct unit_case \w+\[\] = \{(.*?)^\};", source.read_text(), re.MULTILINE | re.DOTALL)
    for name in re.findall(r'\{ "(\w+)",', table)
]


def test_every_case_is_tried(start: Start) -> None:
    """The program has no other cases."""
    assert start("unit", "--list").stdout.split() == CASES


@pytest.mark.parametrize("case", CASES)
def test_case(start: Start, case: str) -> None:
    """What the case checks holds."""
    done = start("unit", case)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    assert done.stdout == f"ok 1 - {case}\n1..1\n"


def test_unknown_case_fails(start: Start) -> None:
    """No case ran: that is no success."""
    done = start("unit", "no-such-case")
    assert (done.returncode, done.stdout) == (1, "1..0\n")

"""A send or a receipt of a move fails: all arrives, or all is as before, or what is not is reported."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.attacks import LONG

from .faults import AS_BEFORE, COMPLETE, attack
from .runners import RECEIVES, SENDS, Runner
from .table import ROWS

TYPICAL = [
    "address both families",
    "name exchanged",
    "name template",
    "link many settings",
    "stack macvlan and lower",
    "ifindex taken",
    "loss route by a gateway",
]
BY_ID = {row.id: row for row in ROWS}


# By id: a difference that is known.
KNOWN: dict[str, str] = {}


def marked(id_: str) -> Any:
    marks = [] if id_ == TYPICAL[0] else [pytest.mark.thorough]
    if id_ in KNOWN:
        marks.append(pytest.mark.xfail(reason=KNOWN[id_], strict=True))
    return pytest.param(id_, marks=marks)


@pytest.mark.sampled(3, 2)
@pytest.mark.parametrize("id_", [marked(id_) for id_ in TYPICAL])
def test_a_send_fails(id_: str, runners: list[Runner], show: Callable[[str], None]) -> None:
    """Each of its sends, once, and some of them with all that follow."""
    judge(id_, runners, SENDS, show)


@pytest.mark.sampled(3, 2)
@pytest.mark.thorough
@pytest.mark.parametrize("id_", [marked(id_) for id_ in TYPICAL])
def test_a_receipt_fails(id_: str, runners: list[Runner], show: Callable[[str], None]) -> None:
    """Each of its receipts, once, and some of them with all that follow: the kernel has done what was asked."""
    judge(id_, runners, RECEIVES, show)


def judge(id_: str, runners: list[Runner], what: int, show: Callable[[str], None]) -> None:
    attacks = attack(BY_ID[id_], runners, what, is_long=LONG)
    for each in attacks:
        ends = ", ".join(f"{count} {end}" for end, count in sorted(each.ends.items()))
        show(f"{id_}, {each.runner.name}: {each.calls} {('sends', 'receipts')[what]}, {ends}")
    wrong = [line for each in attacks for line in each.wrong]
    assert not wrong, "\n".join(wrong)
    assert all(each.calls > 3 and each.ends[AS_BEFORE] and each.ends[COMPLETE] for each in attacks)

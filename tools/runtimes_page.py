"""docs/runtimes.md: the table runtime by case, made of what tools/runtimes saw."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

PAGE = Path(__file__).resolve().parents[1] / "docs/runtimes.md"
COMMAND = "./tools/runtimes --write"
YES, NO, ABSENT = "yes", "no", "n/a"
NATIVE_TIMES = 5

INTRO = f"""\
# Runtimes

For operators who choose a runtime: the network devices of a container, case by case, with netdevns as the runtime's
`createRuntime` hook, and with runtimes that have `linux.netDevices` of their own ("native"). Each case is played in
fresh namespaces and judged by raw dumps of the kernel ([cases.py](../tests/runtimes/cases.py)); `{COMMAND}` plays
all and writes this page. Where a case holds, the devices are the same in the end with each runtime: name, state,
MAC, MTU, and their addresses with all attributes, in order. runc takes devices in random order, so a native runtime
plays each case up to {NATIVE_TIMES} times: what does not hold each time does not hold."""


@dataclass(frozen=True)
class Column:
    """A runtime in one way of use."""

    id: str
    label: str  # with its version


@dataclass(frozen=True)
class Cell:
    """What was seen; `text`: what is wrong, or why it cannot be played; empty where all holds."""

    mark: str
    text: str = ""


By = tuple[str, str]  # a case's id, a column's


def page(system: str, columns: Sequence[Column], promises: Mapping[str, str], cells: Mapping[By, Cell]) -> str:
    """The page.

    Args:
        system: What it was seen on.
        columns: The runtimes.
        promises: What each case demands, by its id.
        cells: By case and column.
    """
    notes: dict[str, int] = {}

    def marked(cell: Cell) -> str:
        if not cell.text:
            return cell.mark
        return f"{cell.mark} [{notes.setdefault(cell.text, len(notes) + 1)}]"

    lines = [INTRO, "", f"Seen with {system}.", ""]
    lines += [f"| case | must hold | {' | '.join(column.label for column in columns)} |"]
    lines += ["|---" * (len(columns) + 2) + "|"]
    for case, promise in promises.items():
        marks = [marked(cells[case, column.id]) for column in columns]
        lines.append(f"| `{case}` | {promise} | {' | '.join(marks)} |")
    lines += ["", *(f"{number}. {text}" for text, number in notes.items())]
    return "\n".join(lines).rstrip() + "\n"


def failures(columns: Sequence[Column], cells: Mapping[By, Cell], finals: Mapping[By, object]) -> list[str]:
    """What must not be: a case that does not hold with the hook, and different ends where it holds."""
    hooked = [column.id for column in columns if column.label.endswith("hook")]
    found = [f"{case}, {id_}: {cell.text}" for (case, id_), cell in cells.items() if id_ in hooked and cell.mark == NO]
    for case in dict.fromkeys(case for case, _ in cells):
        ends = {c.id: repr(finals[case, c.id]) for c in columns if cells[case, c.id].mark == YES}
        if len(set(ends.values())) > 1:
            found.append(f"{case}: not the same in the end: {json.dumps(ends, indent=1)}")
    return found

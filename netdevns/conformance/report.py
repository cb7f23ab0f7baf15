"""The conformance command's output for people: a table by subject, and unexpected values."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ..text import tables
from .expected import Result
from .probe import Probe, Value

MARKS = {"ok": "bold green", "changed": "bold magenta", "FAILED": "bold red", "n/a": "bold"}
WHOLE = 40  # up to so many probes are listed one by one


def run(results: Sequence[Result], release: str, width: int | None, *, chosen: bool) -> str:
    """Subjects with counts, or, for a few selected probes, each with its value; then the verdict."""
    parts = [tables.table(["PROBE", "RESULT", "CLASS", "VALUE"], [_row(r) for r in results], width, 1, MARKS)]
    if not chosen or len(results) > WHOLE:
        titles = ["SUBJECT", "RESULT", "PROBES", "SPEC", "ABI", "VARIES", "N/A"]
        parts = [tables.table(titles, _subjects(results), width, 1, MARKS)]
        odd = [result for result in results if result.status in ("changed", "error")]
        if odd:
            parts += ["", tables.table(["PROBE", "RESULT", "CLASS", "WHAT"], [_row(r) for r in odd], width, 1, MARKS)]
        missing = Counter(result.reason for result in results if result.status == "n/a")
        if missing:
            parts += ["", *(f"n/a  {count:4}  {reason}" for reason, count in sorted(missing.items()))]
    return "\n".join([*parts, "", _verdict(results, release, width)])


def _subjects(results: Sequence[Result]) -> list[list[list[str]]]:
    rows = []
    for subject in dict.fromkeys(result.probe.subject for result in results):
        mine = [result for result in results if result.probe.subject == subject]
        done = [result for result in mine if result.status != "n/a"]
        failed = sum(result.fails for result in mine)
        changed = sum(result.status == "changed" for result in mine)
        word = f"FAILED {failed}" if failed else f"changed {changed}" if changed else "ok" if done else "n/a"
        kinds = [str(sum(r.probe.kind == kind for r in done) or "-") for kind in ("spec", "abi", "varies")]
        rows.append(
            [[subject], [word], [str(len(mine))], *([kind] for kind in kinds), [str(len(mine) - len(done) or "-")]]
        )
    return rows


def _row(result: Result) -> list[list[str]]:
    word = f"FAILED {result.status}" if result.fails else result.status
    if result.status in ("n/a", "error"):
        return [[result.probe.id], [word], [result.probe.kind], [result.reason or ""]]
    lines = [shown(result.value)]
    if result.status == "changed":
        lines += [result.reason or f"expected: {shown(result.expected)}", result.probe.sentence]
    return [[result.probe.id], [word], [result.probe.kind], lines]


def shown(value: Value) -> str:
    """A value in a table."""
    return value if isinstance(value, str) else json.dumps(value)


def _verdict(results: Sequence[Result], release: str, width: int | None) -> str:
    counts = Counter(result.status for result in results)
    summary = ", ".join(f"{counts[status]} {status}" for status in ("ok", "changed", "n/a", "error") if counts[status])
    failed = sum(result.fails for result in results)
    word = f"{failed} failed" if failed else "none failed"
    text = f"Linux {release}: {len(results)} probes: {summary}; {word}"
    return tables.styled(text, "bold red" if failed else "bold green", width)


def listing(probes: Sequence[Probe], width: int | None) -> str:
    """Id, class and sentence of each probe."""
    rows = [[[probe.id], [probe.kind], [probe.sentence]] for probe in probes]
    return tables.table(["PROBE", "CLASS", "WHAT"], rows, width, 1, {})


def difference(before: Mapping[str, Any], after: Mapping[str, Any], width: int | None) -> tuple[str, bool]:
    """The differences between two documents, and whether there are any."""
    old, new = ({probe["id"]: probe for probe in document["probes"]} for document in (before, after))
    rows = []
    for id_ in dict.fromkeys([*old, *new]):
        texts = [_answer(document.get(id_)) for document in (old, new)]
        if texts[0] != texts[1]:
            rows.append([[id_], [(new.get(id_) or old[id_])["class"]], *([text] for text in texts)])
    if not rows:
        return f"no difference: {before['kernel']} and {after['kernel']}", False
    return tables.table(["PROBE", "CLASS", before["kernel"], after["kernel"]], rows, width, 1, {}), True


def _answer(probe: Mapping[str, Any] | None) -> str:
    if probe is None:
        return "(no such probe)"
    if probe["status"] in ("n/a", "error"):
        return f"{probe['status']}: {probe['reason']}"
    return shown(probe["value"])

"""Merges documents of `netdevns conformance --format json` from several kernels into expected.json.

Refuses a probe of class spec or abi that differs between kernels: its class, or the probe, must be corrected first.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from netdevns.conformance import expected
from netdevns.conformance.probe import VARIES, Value

Document = Mapping[str, Any]
Data = Mapping[str, Any]
# Of one kernel, by id: ("ok", value) or ("n/a", reason).
Answers = dict[str, tuple[str, Value]]

UNASKED = "not asked yet"
EMPTY: Data = {"kernels": {}, "absent": {}, "probes": {}}


class Refused(Exception):
    """The documents cannot be expectations; one reason per line."""


def version(release: str) -> str:
    """6.18 of 6.18.44-local."""
    return ".".join(map(str, expected.version(release)))


def known(data: Data, name: str) -> Answers:
    """The known answers of a kernel version."""
    absent = {id_: reason for reason, ids in data["absent"].get(name, {}).items() for id_ in ids}
    answers: Answers = {}
    for id_ in data["probes"]:
        there = (False, None) if id_ in absent else expected.expectation(data, id_, name)
        answers[id_] = ("ok", there[1]) if there[0] else ("n/a", absent.get(id_, UNASKED))
    return answers


def merged(documents: Sequence[Document], classes: Mapping[str, str], before: Data = EMPTY) -> dict[str, Any]:
    """The data of expected.json. Raises Refused.

    Args:
        documents: One for each kernel; two of one version may differ in n/a, not in values.
        classes: The class of each existing probe, in order; other probes in the documents are ignored.
        before: The data so far: kept for other versions, and for answers that the documents lack.
    """
    bad: list[str] = []
    fresh: dict[str, Answers] = {}
    releases = dict(before["kernels"])
    for document in documents:
        name = version(document["kernel"])
        releases[name] = document["kernel"].partition("-")[0]  # without the suffix of a local build
        bad += _add(fresh.setdefault(name, {}), document, classes)
    versions = sorted(releases, key=expected.version)
    answers: dict[str, Answers] = {}
    for name in versions:
        answers[name] = known(before, name) if name in before["kernels"] else {}
        for id_, answer in fresh.get(name, {}).items():
            if answer[0] == "ok" or answers[name].get(id_, answer)[0] != "ok":
                answers[name][id_] = answer
    rows = {id_: _rows(id_, kind, answers, bad) for id_, kind in classes.items()}
    if bad:
        raise Refused("\n".join(bad))
    absent: dict[str, dict[str, list[str]]] = {}
    for name in versions:
        for id_ in classes:
            status, reason = answers[name].get(id_, ("n/a", UNASKED))
            if status == "n/a":
                absent.setdefault(name, {}).setdefault(str(reason), []).append(id_)
    return {"kernels": {name: releases[name] for name in versions}, "absent": absent, "probes": rows}


def _add(answers: Answers, document: Document, classes: Mapping[str, str]) -> Iterator[str]:
    """Adds a document to the answers of its version; yields errors."""
    for probe in document["probes"]:
        id_, status, value = probe["id"], probe["status"], probe["value"]
        if id_ not in classes:
            continue
        if status == "error":
            yield f"{id_}: an error on {document['kernel']}: {probe['reason']}"
        elif status == "n/a":
            answers.setdefault(id_, ("n/a", probe["reason"]))
        elif answers.setdefault(id_, ("ok", value))[0] == "n/a":
            answers[id_] = ("ok", value)
        elif not same(answers[id_][1], value):
            yield f"{id_}: two answers on {version(document['kernel'])}: not repeatable"


def same(one: Value, other: Value) -> bool:
    """As JSON: true is not 1."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def _rows(id_: str, kind: str, answers: Mapping[str, Answers], bad: list[str]) -> list[list[Any]]:
    """[version, value] wherever the value changes."""
    rows: list[list[Any]] = []
    for name, of_kernel in answers.items():
        status, value = of_kernel.get(id_, ("n/a", None))
        if status == "ok" and not (rows and same(rows[-1][1], value)):
            rows.append([name, value])
    if not rows:
        bad.append(f"{id_}: no kernel answered it")
    elif len(rows) > 1 and kind != VARIES:
        values = "; ".join(f"{name}: {json.dumps(value)}" for name, value in rows)
        bad.append(f"{id_}: class {kind}, but it differs between kernels: {values}")
    return rows


def changes(before: Data, after: Data) -> list[str]:
    """The differences, one line each; a kernel's fixes do not count."""
    lines = [f"{id_}: the probe is gone" for id_ in before["probes"] if id_ not in after["probes"]]
    for name in after["kernels"]:
        was, is_ = known(before, name) if name in before["kernels"] else {}, known(after, name)
        for id_, answer in is_.items():
            old = was.get(id_, ("n/a", UNASKED))
            if old[0] != answer[0] or not same(old[1], answer[1]):
                lines.append(f"{name}: {id_}: {_shown(old)} -> {_shown(answer)}")
    return lines


def _shown(answer: tuple[str, Value]) -> str:
    return json.dumps(answer[1]) if answer[0] == "ok" else f"n/a, {answer[1]}"


def text(data: Data) -> str:
    """Formats the data with one probe per line, for readable diffs."""
    absent = []
    for name, reasons in data["absent"].items():
        lines = [f"{json.dumps(why)}: {json.dumps(ids)}" for why, ids in reasons.items()]
        absent.append(f"{json.dumps(name)}: {{\n" + ",\n".join(lines) + "\n}")
    lines = ["{", f'"kernels": {json.dumps(data["kernels"])},', '"absent": {', ",\n".join(absent), "},", '"probes": {']
    lines += [",\n".join(f"{json.dumps(id_)}: {json.dumps(rows)}" for id_, rows in data["probes"].items())]
    return "\n".join(line for line in [*lines, "}", "}"] if line) + "\n"

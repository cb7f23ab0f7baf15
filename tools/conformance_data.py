"""Writes netdevns/conformance/expected.json from documents of `netdevns conformance --format json`, one a kernel.

It takes no opinion: a probe whose class is spec or abi and that differs between the kernels is refused, so that the
class, or the probe, is made right first. Every kernel that counts must be among the documents.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from netdevns.conformance import expected
from netdevns.conformance.probe import VARIES
from netdevns.conformance.subjects import every

Document = Mapping[str, Any]


class Refused(Exception):
    """The documents cannot be expectations; one line a reason."""


def merged(documents: Sequence[Document], ids: Sequence[str]) -> dict[str, Any]:
    """The data of expected.json. Raises Refused.

    Args:
        documents: One for each kernel; two of one version may differ in what they lack, not in values.
        ids: The probes that there are, in their order: what else is in the documents is left out.
    """
    by_version: dict[str, dict[str, Any]] = {}
    bad: list[str] = []
    for document in documents:
        name = ".".join(map(str, expected.version(document["kernel"])))
        known = by_version.setdefault(name, {})
        for probe in document["probes"]:
            if probe["status"] == "error":
                bad.append(f"{probe['id']}: an error on {name}: {probe['reason']}")
            elif probe["status"] != "n/a" and known.setdefault(probe["id"], probe)["value"] != probe["value"]:
                bad.append(f"{probe['id']}: two answers of {name}: it is not repeatable")
    versions = sorted(by_version, key=expected.version)
    rows = {id_: _rows(id_, [(name, by_version[name].get(id_)) for name in versions], bad) for id_ in ids}
    if bad:
        raise Refused("\n".join(bad))
    absent = {name: [id_ for id_ in ids if id_ not in by_version[name]] for name in versions}
    return {"kernels": versions, "absent": {name: ids for name, ids in absent.items() if ids}, "probes": rows}


def _rows(id_: str, answers: Sequence[tuple[str, Any]], bad: list[str]) -> list[list[Any]]:
    """[version, value] wherever the value changes."""
    there = [(name, probe) for name, probe in answers if probe is not None]
    rows: list[list[Any]] = []
    for name, probe in there:
        if not rows or json.dumps(rows[-1][1], sort_keys=True) != json.dumps(probe["value"], sort_keys=True):
            rows.append([name, probe["value"]])
    if not rows:
        bad.append(f"{id_}: no kernel answered it")
    elif len(rows) > 1 and any(probe["class"] != VARIES for _, probe in there):
        told = "; ".join(f"{name}: {json.dumps(value)}" for name, value in rows)
        bad.append(f"{id_}: class {there[0][1]['class']}, but it differs between kernels: {told}")
    return rows


def text(data: Mapping[str, Any]) -> str:
    """One probe a line, so that a change of one is a line of a diff."""
    lines = ["{", f'"kernels": {json.dumps(data["kernels"])},', '"absent": {']
    lines += [",\n".join(f"{json.dumps(name)}: {json.dumps(ids)}" for name, ids in data["absent"].items())]
    lines += ["},", '"probes": {']
    lines += [",\n".join(f"{json.dumps(id_)}: {json.dumps(rows)}" for id_, rows in data["probes"].items())]
    return "\n".join(line for line in [*lines, "}", "}"] if line) + "\n"


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="tools/conformance-data", description=__doc__)
    parser.add_argument("files", nargs="+", metavar="JSON", help="one for each kernel")
    documents = []
    for file in parser.parse_args(argv).files:
        with open(file, encoding="utf-8") as opened:
            documents.append(json.load(opened))
    try:
        data = merged(documents, [probe.id for probe in every()])
    except Refused as e:
        print(e, file=sys.stderr)
        return 1
    with open(expected.FILE, "w", encoding="utf-8") as opened:
        opened.write(text(data))
    same = [probe.id for probe in every() if probe.kind == VARIES and len(data["probes"][probe.id]) == 1]
    if same:
        print(f"of class varies, but the same on all of these kernels: {', '.join(same)}")
    print(f"{len(data['probes'])} probes, measured on {', '.join(data['kernels'])}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

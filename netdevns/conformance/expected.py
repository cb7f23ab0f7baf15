"""The expected value of each probe on the running kernel, and the comparison with its answer.

tools/conformance writes the data, expected.json, from measurements:

    kernels  measured version -> the release on which it was measured
    absent   version -> reason -> the probes without an answer there, for lack of a device kind or a permission
    probes   id -> rows of [version, value]: from this version on
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from .probe import VARIES, Probe, Value
from .runner import Answer

FILE = os.path.join(os.path.dirname(__file__), "expected.json")
NEVER = "never measured"

Data = Mapping[str, Any]
Version = tuple[int, int]


@dataclasses.dataclass(frozen=True)
class Result:
    """One probe of the document."""

    probe: Probe
    status: str
    value: Value
    expected: Value
    reason: str | None

    @property
    def fails(self) -> bool:
        """Whether it fails the run: an error always, a change unless the probe varies."""
        return self.status == "error" or (self.status == "changed" and self.probe.kind != VARIES)

    def document(self) -> dict[str, Value]:
        return {
            "id": self.probe.id,
            "class": self.probe.kind,
            "status": self.status,
            "value": self.value,
            "expected": self.expected,
            "reason": self.reason,
        }


def load() -> Data:
    with open(FILE, encoding="utf-8") as file:
        data: Data = json.load(file)
    return data


def version(release: str) -> Version:
    """(6, 18) for 6.18.44-local: fixes do not count."""
    major, _, rest = release.partition(".")
    minor = rest[: next((at for at, letter in enumerate(rest) if not letter.isdigit()), len(rest))]
    return (int(major), int(minor)) if major.isdigit() and minor else (0, 0)


def is_measured(data: Data, release: str) -> bool:
    """Whether this version was measured; another one may differ."""
    return any(version(name) == version(release) for name in data["kernels"])


def expectation(data: Data, id: str, release: str) -> tuple[bool, Value]:  # noqa: A002  # the document's key
    """Whether there is an expectation, and which: the last row that is not newer than the kernel, else the oldest.

    A probe whose kind of device is missing on old kernels has no row for them.
    """
    rows: Sequence[tuple[str, Value]] = data["probes"].get(id, ())
    if not rows:
        return False, None
    value = rows[0][1]
    for since, then in rows:
        if version(since) <= version(release):
            value = then
    return True, value


def judge(probe: Probe, answer: Answer, data: Data, release: str) -> Result:
    """Compares an answer with the expectation."""
    known, expected = expectation(data, probe.id, release)
    if answer.status != "ok":
        return Result(probe, answer.status, None, expected, answer.reason)
    # As JSON: a probe's tuple is a list there, and true is not 1.
    same = json.dumps(answer.value, sort_keys=True) == json.dumps(expected, sort_keys=True)
    if known and same:
        return Result(probe, "ok", answer.value, expected, None)
    return Result(probe, "changed", answer.value, expected, None if known else NEVER)

"""`netdevns conformance`: chooses probes, runs them, and tells what this kernel does."""

from __future__ import annotations

import fnmatch
import json
import os
import shutil
import sys
import time
from collections.abc import Sequence
from typing import Any

from ..text import tables
from . import expected, ktap, report, runner
from .probe import CLASSES, Probe
from .subjects import every

FAILED, REFUSED = 1, 2  # exit codes
LIVE_S = 0.1  # between two drawings of the progress
KEYS = {"kernel", "arch", "probes"}


class Refused(Exception):
    """Nothing can be done; the text says why."""


def select(probes: Sequence[Probe], wanted: Sequence[str]) -> list[Probe]:
    """Probes by ids, globs and classes, in their own order. Raises Refused for a word that is none of these."""
    if not wanted:
        return list(probes)
    ids: set[str] = set()
    for word in wanted:
        found = {p.id for p in probes if (p.kind == word if word in CLASSES else fnmatch.fnmatchcase(p.id, word))}
        if not found:
            raise Refused(f'"{word}": no probe, glob or class; netdevns conformance --list shows all probes')
        ids |= found
    return [probe for probe in probes if probe.id in ids]


def judged(
    probes: Sequence[Probe], release: str, jobs: int, on_answer: runner.OnAnswer | None
) -> list[expected.Result]:
    """Runs probes, and compares. Raises Refused where this user may have no namespaces."""
    data = expected.load()
    try:
        answers = runner.run(probes, jobs=jobs, on_answer=on_answer)
    except runner.NoNamespaces as e:
        raise Refused(f"cannot make fresh namespaces: {e}; run it as root, or allow user namespaces") from None
    return [expected.judge(probe, answer, data, release) for probe, answer in zip(probes, answers, strict=True)]


def document(results: Sequence[expected.Result], release: str) -> dict[str, object]:
    """The JSON document: without dates and times, so that two runs can be compared."""
    return {"kernel": release, "arch": os.uname().machine, "probes": [result.document() for result in results]}


def run(wanted: Sequence[str], *, form: str = "table", listed: bool = False, jobs: int = 0) -> tuple[str, int]:
    """Text for stdout, and the exit code: 0 all that must hold holds, 1 something does not.

    Args:
        wanted: Ids, globs and classes; empty: all probes.
        form: "table", "json" or "ktap".
        listed: Only tell which probes there are.
        jobs: How many probes at a time; 0: one for each processor.

    Raises:
        Refused: An unknown probe, or no right to make namespaces.
    """
    probes = select(every(), wanted)
    width = tables.columns(sys.stdout)
    if listed:
        return report.listing(probes, width), 0
    release = os.uname().release
    with _Progress() as progress:
        results = judged(probes, release, jobs, progress)
    code = FAILED if any(result.fails for result in results) else 0
    if form == "json":
        return json.dumps(document(results, release), indent=2), code
    if form == "ktap":
        return ktap.stream(results), code
    return report.run(results, release, width, chosen=bool(wanted)), code


def diff(files: Sequence[str]) -> tuple[str, int]:
    """What differs between the documents of two runs; 1 where anything does. Raises Refused."""
    if len(files) != 2:
        raise Refused("diff: two files are needed, each made by netdevns conformance --format json")
    text, differs = report.difference(_load(files[0]), _load(files[1]), tables.columns(sys.stdout))
    return text, FAILED if differs else 0


def _load(file: str) -> dict[str, Any]:
    try:
        with open(file, encoding="utf-8") as opened:
            loaded = json.load(opened)
    except (OSError, ValueError) as e:
        raise Refused(f"{file}: {e}") from None
    if not isinstance(loaded, dict) or not loaded.keys() >= KEYS:
        raise Refused(f"{file}: this is no document of netdevns conformance --format json")
    return loaded


class _Progress:
    """One line on a terminal that says how far it is; nothing elsewhere."""

    def __init__(self) -> None:
        self._stream = sys.stderr if sys.stderr is not None and sys.stderr.isatty() else None
        self._due = 0.0

    def __call__(self, done: int, count: int) -> None:
        now = time.monotonic()
        if now >= self._due:
            self._due = now + LIVE_S
            self._write(f"netdevns: {done} of {count} probes")

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *exc: object) -> None:
        self._write("")

    def _write(self, text: str) -> None:
        if self._stream is None:
            return
        blank = " " * (shutil.get_terminal_size().columns - 1)
        try:
            self._stream.write(f"\r{blank}\r{text}")
            self._stream.flush()
        except (OSError, ValueError):
            self._stream = None  # nobody reads it (any more)

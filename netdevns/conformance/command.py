"""`netdevns conformance`: selects probes, runs them, and compares their values with the expected ones."""

from __future__ import annotations

import argparse
import fnmatch
import json
import os
import shutil
import sys
import time
from collections.abc import Sequence
from typing import Any

from ..text import tables
from ..text.outcome import FAILED, REFUSED, answered
from ..text.output import complain, end_by_exception, print_text
from ..text.quote import quoted
from . import expected, ktap, report, runner
from .probe import CLASSES, Probe
from .subjects import every

LIVE_S = 0.1  # between two updates of the progress line
KEYS = {"kernel", "arch", "probes"}


class Refused(Exception):
    """The request is refused; the text says why."""


def main(args: argparse.Namespace) -> int:
    """Runs `netdevns conformance`; returns its exit code."""
    end_by_exception()  # the probes must clean up processes and namespaces
    try:
        if args.probes[:1] == ["diff"]:
            text, code = diff(args.probes[1:])
        else:
            text, code = run(args.probes, form=args.format, listed=args.list, jobs=max(0, args.jobs))
    except Refused as e:
        return complain([f"conformance: {e}"], REFUSED)
    return answered(print_text(text), code)


def select(probes: Sequence[Probe], wanted: Sequence[str]) -> list[Probe]:
    """Selects probes by ids, globs and classes, in their order. Raises Refused for a word that selects nothing."""
    if not wanted:
        return list(probes)
    ids: set[str] = set()
    for word in wanted:
        found = {p.id for p in probes if (p.kind == word if word in CLASSES else fnmatch.fnmatchcase(p.id, word))}
        if not found:
            raise Refused(f'"{word}": no probe, glob or class; netdevns conformance --list shows all probes')
        ids |= found
    return [probe for probe in probes if probe.id in ids]


def run_and_judge(
    probes: Sequence[Probe], release: str, jobs: int, on_answer: runner.OnAnswer | None
) -> list[expected.Result]:
    """Runs probes and judges their answers. Raises Refused where this user may make no namespaces."""
    data = expected.load()
    try:
        answers = runner.run(probes, jobs=jobs, on_answer=on_answer)
    except runner.NoNamespaces as e:
        raise Refused(f"cannot make fresh namespaces: {e}; run it as root, or allow user namespaces") from None
    return [expected.judge(probe, answer, data, release) for probe, answer in zip(probes, answers, strict=True)]


def document(results: Sequence[expected.Result], release: str) -> dict[str, object]:
    """The JSON document, without dates and times, so that two runs compare equal."""
    return {"kernel": release, "arch": os.uname().machine, "probes": [result.document() for result in results]}


def run(wanted: Sequence[str], *, form: str = "table", listed: bool = False, jobs: int = 0) -> tuple[str, int]:
    """Returns the text for stdout and the exit code: 0, or 1 if a probe fails.

    Args:
        wanted: Ids, globs and classes; empty: all probes.
        form: "table", "json" or "ktap".
        listed: Only list the probes.
        jobs: Number of probes at a time; 0: one for each processor.

    Raises:
        Refused: An unknown probe, or no permission to make namespaces.
    """
    probes = select(every(), wanted)
    width = tables.columns(sys.stdout)
    if listed:
        return report.listing(probes, width), 0
    release = os.uname().release
    with _Progress() as progress:
        results = run_and_judge(probes, release, jobs, progress)
    code = FAILED if any(result.fails for result in results) else 0
    if form == "json":
        return json.dumps(document(results, release), indent=2), code
    if form == "ktap":
        return ktap.stream(results), code
    return report.run(results, release, width, chosen=bool(wanted)), code


def diff(files: Sequence[str]) -> tuple[str, int]:
    """Compares the documents of two runs; exit code 1 if they differ. Raises Refused."""
    if len(files) != 2:
        raise Refused("diff: name two files, each made by netdevns conformance --format json")
    text, differs = report.difference(_load(files[0]), _load(files[1]), tables.columns(sys.stdout))
    return text, FAILED if differs else 0


def _load(file: str) -> dict[str, Any]:
    try:
        with open(file, encoding="utf-8") as opened:
            loaded = json.load(opened)
    except OSError as e:
        raise Refused(f"{quoted(file)}: {e.strerror}") from None
    except ValueError as e:
        raise Refused(f"{quoted(file)}: {e}") from None
    if not isinstance(loaded, dict) or not loaded.keys() >= KEYS:
        raise Refused(f"{file}: not a document of netdevns conformance --format json")
    return loaded


class _Progress:
    """The progress line on a terminal; nothing elsewhere."""

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
            self._stream = None  # stderr is closed

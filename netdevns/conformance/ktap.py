"""Results as a KTAP stream, for kernel CI (Documentation/dev-tools/ktap.rst, version 1)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from .expected import Result


def stream(results: Sequence[Result]) -> str:
    return "\n".join(_lines(results))


def _lines(results: Sequence[Result]) -> Iterator[str]:
    yield "KTAP version 1"
    yield f"1..{len(results)}"
    for number, result in enumerate(results, 1):
        if result.status in ("changed", "error"):
            yield from (f"# {line}" for line in _diagnostics(result))
        skip = f" # SKIP {_plain(result.reason or '')}" if result.status == "n/a" else ""
        yield f"{'not ok' if result.fails else 'ok'} {number} {result.probe.id}{skip}"


def _diagnostics(result: Result) -> Iterator[str]:
    yield _plain(f"{result.probe.id} ({result.probe.kind}): {result.probe.sentence}")
    if result.reason:
        yield _plain(f"reason: {result.reason}")
    if result.status == "changed":
        yield f"expected: {json.dumps(result.expected)}"
        yield f"value: {json.dumps(result.value)}"


def _plain(text: str) -> str:
    """One line without `#`, which begins a directive."""
    return " ".join(text.replace("#", "").split())

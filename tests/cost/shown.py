"""Costs as text: for a test's message, `pytest -s` and tools/cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def aligned(rows: Sequence[Sequence[object]]) -> str:
    """A table: the first column to the left, numbers to the right."""
    texts = [[f"{cell:,.4g}" if isinstance(cell, float) else str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))])
        for row in texts
    )


def by_name(columns: Mapping[str, Mapping[str, int]]) -> str:
    """Calls by name, a column for each move, and their sums."""
    names = sorted({name for calls in columns.values() for name, n in calls.items() if n})
    rows: list[list[object]] = [["call", *columns]]
    rows += [[name, *(calls.get(name, 0) for calls in columns.values())] for name in names]
    rows.append(["sum", *(sum(calls.values()) for calls in columns.values())])
    return aligned(rows)

"""The table that tools/sriov prints: what was seen, line by line, with each engine."""

from __future__ import annotations

from collections.abc import Sequence


class Facts:
    """What was seen in a number of cycles, by column."""

    def __init__(self, columns: Sequence[str]) -> None:
        self.columns = tuple(columns)
        self.column = self.columns[0]  # the one that is filled
        self._seen: dict[str, dict[str, list[str]]] = {}
        self.good = True  # all that must hold held

    def seen(self, what: str, value: str) -> None:
        """A fact that is shown and not judged."""
        self._seen.setdefault(what, {}).setdefault(self.column, []).append(value)

    def must(self, what: str, holds: bool) -> None:
        """Something that must hold."""
        self.seen(what, "yes" if holds else "NO")
        self.good &= holds

    def _cell(self, what: str, column: str) -> str:
        """Each value, with its number where there are several."""
        values = self._seen[what].get(column, [])
        counts = {value: values.count(value) for value in values}
        return ", ".join(f"{value} ({n} of {len(values)})" if len(counts) > 1 else value for value, n in counts.items())

    def table(self) -> str:
        """Lines of columns; what was not looked at in a column is "-" there."""
        rows = [("", *self.columns)]
        rows += [(what, *(self._cell(what, column) or "-" for column in self.columns)) for what in self._seen]
        widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
        return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)

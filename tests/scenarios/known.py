"""Differences between the runners, or from the table, that are known: a row that holds again must leave this list."""

from __future__ import annotations

KNOWN: dict[str, str] = {
    "link addr_gen_mode": "C: after an undo, a stable-privacy link-local of the kernel's has other flags",
}

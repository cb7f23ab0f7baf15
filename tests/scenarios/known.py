"""Differences between the runners, or from the table, that are known: a row that holds again must leave this list."""

from __future__ import annotations

KNOWN: dict[str, str] = {
    "ifindex taken, the next ones, too": "C chooses another free ifindex than Python",
    **{
        f"refused {word}": "C: a finding's text has the control character of the name in it"
        for word in ("tab", "newline", "vertical tab", "form feed", "carriage return")
    },
}

"""Snippets of README.md and of the pages in docs/, and the table of docs/losses.md."""

from __future__ import annotations

import re
from pathlib import Path

README = Path(__file__).resolve().parents[2] / "README.md"
DOCS = README.parent / "docs"
OPERATOR = DOCS / "operator.md"
LOSSES = DOCS / "losses.md"


def snippets(language: str, page: Path = README) -> list[str]:
    """The code blocks of a language, in their order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def commands(page: Path) -> list[list[str]]:
    """The lines behind `#` of each console block."""
    return [[line.removeprefix("# ") for line in text.splitlines()] for text in snippets("console", page)]


def losses() -> dict[str, list[str]]:
    """The rows of the table that `tools/losses --markdown` prints: id -> the other cells."""
    found = re.findall(r"^\| `([a-z0-9-]+)` \| (.*) \|$", LOSSES.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(dict(found)) == len(found), "a row is there twice"
    return {name: cells.split(" | ") for name, cells in found}

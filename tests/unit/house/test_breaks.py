"""The list of tools/breaks: each break can be made, and names tests that are there."""

from __future__ import annotations

from pathlib import Path

from tools.breaks import breaks

ROOT = Path(__file__).resolve().parents[3]
ALL = breaks()


def test_breaks_can_be_made() -> None:
    """What a break takes the place of stands once in its file, and its tests exist."""
    for each in ALL:
        sound = (ROOT / each.file).read_text(encoding="utf-8")
        assert each.made(sound) != sound
        words = each.tests.split()
        paths = words[: words.index("-k")] if "-k" in words else words
        assert paths
        assert [path for path in paths if not (ROOT / path).exists()] == [], each.id


def test_names_are_unique() -> None:
    """A break is asked for by its name."""
    assert len({each.id for each in ALL}) == len(ALL) >= 60

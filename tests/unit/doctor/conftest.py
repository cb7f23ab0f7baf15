"""The fixture `tree`: a made-up host."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from netdevns.system import programs

from .made import Tree


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path / "root")


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The command lines of the programs that the test has started: they can leave no trace by themselves."""
    run, seen = programs.run, list[list[str]]()

    def recorded(words: list[str], **how: Any) -> object:
        seen.append([*words])
        return run(words, **how)

    monkeypatch.setattr(programs, "run", recorded)
    return seen

"""The commands of tools/ that README.md, CONTRIBUTING.md and docs/ name: the tool, its options and its files exist.

Those that take seconds are run: tests/runtimes/test_losses.py.
"""

from __future__ import annotations

import fnmatch
import itertools
import os
import re
import shlex
from pathlib import Path

import pytest

from bench.scenario import SCENARIOS
from tests.support import readme

TOP = readme.README.parent
PAGES = [TOP / "README.md", TOP / "CONTRIBUTING.md", TOP / "SECURITY.md", *sorted(readme.DOCS.rglob("*.md"))]


def commands(page: Path) -> list[list[str]]:
    """The words of each command line, in a console block or between backticks, that begins with a tool."""
    text = page.read_text(encoding="utf-8")
    lines = re.findall(r"^# (\./tools/.*)$", text, re.MULTILINE) + re.findall(r"`(\./tools/[^`]*)`", text)
    return [shlex.split(line, comments=True) for line in lines]


NAMED = [(page, words) for page in PAGES for words in commands(page)]


@pytest.mark.parametrize(("page", "words"), NAMED, ids=lambda each: each.name if isinstance(each, Path) else None)
def test_command_can_be_typed(page: Path, words: list[str]) -> None:
    """The tool is an executable of this checkout and knows each option; paths exist; -k, --scenarios choose some."""
    del page
    assert os.access(TOP / words[0], os.X_OK)
    tool = Path(words[0]).name
    sources = [TOP / "tools" / tool, *(TOP / "tools").glob(f"{tool.replace('-', '_')}*.py")]
    sources += (TOP / "bench").glob("*.py") if tool == "bench" else []
    code = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    for option, value in itertools.pairwise([*words[1:], ""]):
        if option.startswith("--"):
            ways = f'"{option}"', f'"{option[2:]}"', f"{option})"  # argparse, a loop around it, a shell's case
            assert any(way in code for way in ways), f"{tool} has no {option}"
        elif "/" in option:
            assert (TOP / option).exists(), option
        if option == "-k":  # a part of a test's name, in the file before it
            tests = re.findall(r"def test_\w+", (TOP / words[words.index("-k") - 1]).read_text(encoding="utf-8"))
            assert any(value in test for test in tests), value
        if option == "--scenarios" and value not in ("NAME", "..."):
            for pattern in value.split(","):
                assert fnmatch.filter(SCENARIOS, pattern), pattern


FOLDERS = "bench|csrc|docs|examples|netdevns|tests|tools"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_named_files_are_there(page: Path) -> None:
    """A path of this checkout between backticks is there."""
    named = set(re.findall(rf"`((?:{FOLDERS})/[\w./-]+)`", page.read_text(encoding="utf-8")))
    assert [path for path in sorted(named) if not (TOP / path).exists()] == []


def test_commands_are_found() -> None:
    """The pages whose subject is a tool name it."""
    found = {(page.name, words[0]) for page, words in NAMED}
    pages = {"README.md": "demo", "CONTRIBUTING.md": "test", "losses.md": "losses", "performance.md": "bench"}
    for page, tool in pages.items():
        assert (page, f"./tools/{tool}") in found

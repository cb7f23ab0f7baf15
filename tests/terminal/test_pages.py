"""share/: the man page and the completions are what the parser says today, and what their readers accept."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

pytest.importorskip("shtab", reason="there is no shtab; tools/test installs it")
from tests.support.require import require
from tools import pages


@pytest.mark.parametrize("path", pages.pages(), ids=lambda path: path.name)
def test_page_is_what_the_parser_says(path: Path) -> None:
    """If not: run tools/pages."""
    assert path.read_text(encoding="utf-8") == pages.pages()[path], "run tools/pages"


def test_page_has_every_command_and_option() -> None:
    """Each command has a section, and each of its options a paragraph in it."""
    sections = dict(re.findall(r'^\.SS "netdevns ([\w-]+)"\n(.*?)(?=^\.S[SH])', pages.man(), re.MULTILINE | re.DOTALL))
    commands = pages.commands(pages.parser())
    assert set(sections) == set(commands)
    for name, (command, _) in commands.items():
        for action in command._actions:
            for option in {*action.option_strings} - {"-h", "--help"}:
                assert re.search(rf"^\.TP\n.*{re.escape(pages.escaped(option))}\b", sections[name], re.MULTILINE), (
                    option
                )


def test_page_changes_with_the_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is added to the parser is in all of them: none is kept by hand."""
    before = pages.pages()
    parser = pages.parser

    def longer() -> object:
        top = parser()
        pages.commands(top)["show"][0].add_argument("--quite-new", metavar="NETNS", help="a new option")
        return top

    monkeypatch.setattr(pages, "parser", longer)
    for path, text in pages.pages().items():
        assert text != before[path], path
        assert re.search(r"quite\\?-new", text), path


@pytest.mark.parametrize("page", [pages.MAN, pages.MAN.with_name("netdevns-hook.8")], ids=lambda page: page.name)
@pytest.mark.parametrize("command", [["groff", "-man", "-ww", "-z"], ["mandoc", "-Tlint"]], ids=["groff", "mandoc"])
def test_page_is_clean(command: list[str], page: Path) -> None:
    """Neither formatter has a word to say about it."""
    if shutil.which(command[0]) is None:
        require("shells", f"there is no {command[0]}; tools/test installs it")
    done = subprocess.run([*command, page], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")

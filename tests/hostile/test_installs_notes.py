"""Attacks on an operator who removes a hook: forged notes of the folders that netdevns made."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from .ownership import FILE, KIND, OTHER, Change, mode, owned, plant, run

pytestmark = pytest.mark.usefixtures("others")


def test_a_note_of_ours_is_obeyed(default: Path) -> None:
    """The control of the tests below: both folders go, and the one above stays."""
    assert run("cdi", KIND, "--uninstall") == (0, "")
    assert list(default.parents[1].iterdir()) == []


CONTENTS: dict[str, str] = {
    "root": "/", "base": "{base}", "above base": "{base}/..", "beside": "{base}/b", "inside": "{base}/a/cdi/x",
    "relative": "a", "dots": "{base}/a/cdi/..", "slash": "{base}/a/", "two lines": "{base}/a\n{base}", "empty": "",
    "blank": " {base}/a", "nul": "{base}/a\0", "long": "{base}/a\n" + "x" * 5000,
}  # fmt: skip


@pytest.mark.sampled(12, 3)
@pytest.mark.parametrize("text", CONTENTS.values(), ids=CONTENTS.keys())
def test_a_note_with_another_place(text: str, default: Path) -> None:
    """Only the default folder, or one above it that netdevns makes, and exactly so: else nothing is removed."""
    note = default / ".netdevns-made"
    note.write_text(text.format(base=default.parents[1]))
    code, err = run("cdi", KIND, "--uninstall")
    assert (code, list(default.iterdir())) == (0, [note])
    assert err.startswith(f"netdevns: {note}: ignored: it ")
    assert err.endswith("; the folder stays\n")


def _link(note: Path) -> None:
    note.rename(note.parents[2] / "elsewhere")
    note.symlink_to(note.parents[2] / "elsewhere")


def _fifo(note: Path) -> None:
    note.unlink()
    os.mkfifo(note)


def _directory(note: Path) -> None:
    note.unlink()
    note.mkdir()


def _socket(note: Path) -> None:
    note.unlink()
    here = os.open(note.parent, os.O_PATH)  # a socket's path has 107 bytes at most
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(f"/proc/self/fd/{here}/{note.name}")
    os.close(here)


FORGED: dict[str, Change] = {
    "link": _link,
    "fifo": _fifo,
    "directory": _directory,
    "socket": _socket,
    "hard link": lambda note: os.link(note, note.parents[2] / "other"),
    "owner": owned,
    "others write": mode(0o646),
    "the group writes": mode(0o664),
    "4 GB": lambda note: os.truncate(note, 4 << 30),
    "folder of another": lambda note: owned(note.parent),
    "folder for all": lambda note: note.parent.chmod(0o777),
    "sticky folder for all": lambda note: note.parent.chmod(0o1777),
    "folder above of another": lambda note: owned(note.parents[1]),
    "folder above for all": lambda note: note.parents[1].chmod(0o777),
    "base for all": lambda note: note.parents[2].chmod(0o777),
}


@pytest.mark.sampled(12, 3)
@pytest.mark.parametrize("forge", FORGED.values(), ids=FORGED.keys())
def test_a_note_of_others(forge: Change, default: Path) -> None:
    """With the right words, but perhaps another user's: our file goes, the folders stay, and a line says why."""
    forge(default / ".netdevns-made")
    code, err = run("cdi", KIND, "--uninstall")
    assert (code, [path.name for path in default.iterdir()]) == (0, [".netdevns-made"])
    assert err.startswith(f"netdevns: {default}/.netdevns-made: ignored: ")
    assert err.count("\n") == 1


def test_a_default_folder_behind_a_link(default: Path) -> None:
    """An operator has put it elsewhere: it is used there, and not removed."""
    elsewhere = default.parents[1] / "elsewhere"
    default.parent.rename(elsewhere)
    default.parent.symlink_to(elsewhere)
    code, err = run("cdi", KIND, "--uninstall")
    assert code == 0
    assert ": ignored: " in err
    assert [path.name for path in (elsewhere / "cdi").iterdir()] == [".netdevns-made"]


@pytest.mark.sampled(4)
@pytest.mark.parametrize("top", ["/", "{tmp}", "{tmp}/a", "{tmp}/a/given"])
@pytest.mark.parametrize("command", [["cdi", KIND], ["hooks-dir"]], ids=["cdi", "hooks-dir"])
@pytest.mark.parametrize("owner", [0, OTHER])
def test_a_note_in_a_folder_of_the_operators(top: str, command: list[str], owner: int, tmp_path: Path) -> None:
    """With --dir a note is not read, of any owner: the folder and its parents stay."""
    folder = tmp_path / "a" / "given"
    plant(folder)
    note = folder / ".netdevns-made"
    note.write_text(top.format(tmp=tmp_path))
    for path in folder, note:
        os.chown(path, owner, owner)
    assert run(*command, "--uninstall", "--dir", str(folder)) == (0, "")
    assert sorted(path.name for path in folder.iterdir() if path.name != FILE) == [".netdevns-made"]
    assert (folder / FILE).exists() == (command == ["hooks-dir"])

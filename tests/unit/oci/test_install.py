"""Installed files: written completely or not at all; others' files are never replaced or removed."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from netdevns.cli.main import main
from netdevns.oci import cdi, install
from netdevns.oci.hook_line import Refused

FOREIGN = {
    "not JSON": "{",
    "empty": "",
    "a list": "[]",
    "no hook": json.dumps({"cdiVersion": "0.5.0", "kind": "vendor.com/nic", "devices": []}),
    "another hook": json.dumps({"containerEdits": {"hooks": [{"path": "/a", "args": ["netdevns", "hook"]}]}}),
    "args of another type": json.dumps({"containerEdits": {"hooks": [{"args": {"a": 1}}]}}),
    "another annotation": json.dumps({"annotations": {"org.netdevns.file": "x"}}),
    "deep": "[" * 100_000,
}  # fmt: skip


def everything(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


@pytest.mark.sampled(4)
@pytest.mark.parametrize("text", FOREIGN.values(), ids=FOREIGN.keys())
@pytest.mark.parametrize("action", ["--install", "--uninstall"])
def test_a_foreign_file_stays(text: str, action: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With any contents: exit code 2, and the file is unchanged."""
    (tmp_path / "vendor.com-nic.json").write_text(text)
    devices = ["eth1"] if action == "--install" else []
    assert main(["cdi", "vendor.com/nic", *devices, action, "--dir", str(tmp_path)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "vendor.com-nic.json: netdevns did not write this file and does not change it" in err
    assert everything(tmp_path) == {"vendor.com-nic.json": text}


def test_one_foreign_file_stops_both(tmp_path: Path) -> None:
    """hooks-dir has two files: neither is written or removed if one of them is of another origin."""
    assert main(["hooks-dir", "--allow", "x", "--install", "--dir", str(tmp_path)]) == 0
    (tmp_path / "netdevns-poststop.json").write_text("theirs")
    before = everything(tmp_path)
    assert main(["hooks-dir", "--allow", "y", "--install", "--dir", str(tmp_path)]) == 2
    assert main(["hooks-dir", "--uninstall", "--dir", str(tmp_path)]) == 2
    assert everything(tmp_path) == before


@pytest.mark.sampled(3)
@pytest.mark.parametrize("what", ["link", "fifo", "folder"])
def test_other_types_than_files_stay(what: str, tmp_path: Path) -> None:
    """A symbolic link is not followed, also to a file of netdevns; a FIFO does not block; a folder stays."""
    folder = tmp_path / "cdi"
    folder.mkdir()
    path = folder / "vendor.com-nic.json"
    ours = {"other.json": cdi.document("vendor.com/nic", {"eth1": None})}
    install.write(str(tmp_path), ours, cdi.is_ours, [])
    if what == "link":
        path.symlink_to(tmp_path / "other.json")
    elif what == "fifo":
        os.mkfifo(path)
    else:
        path.mkdir()
    for arguments in ["eth1", "--install"], ["--uninstall"]:
        assert main(["cdi", "vendor.com/nic", *arguments, "--dir", str(folder)]) == 2
    assert [p.name for p in folder.iterdir()] == ["vendor.com-nic.json"]
    assert path.is_symlink() == (what == "link")


@pytest.fixture
def default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The default folder; neither it nor the one above it exists."""
    (tmp_path / "etc").mkdir()
    monkeypatch.setattr(cdi, "FOLDER", str(tmp_path / "etc" / "a" / "cdi"))
    monkeypatch.setattr(cdi, "BASE", str(tmp_path / "etc"))
    return tmp_path / "etc" / "a" / "cdi"


def test_a_default_folder_comes_and_goes(default: Path) -> None:
    """--install makes it with the one above it; both are removed with the last file, and no others."""
    for kind in "vendor.com/nic", "vendor.com/other":
        assert main(["cdi", kind, "eth1", "--install"]) == 0
    assert main(["cdi", "vendor.com/nic", "--uninstall"]) == 0
    assert sorted(path.name for path in default.glob("*.json")) == ["vendor.com-other.json"]
    assert main(["cdi", "vendor.com/other", "--uninstall"]) == 0
    assert list(default.parents[1].iterdir()) == []
    assert default.parents[1].exists()
    assert main(["cdi", "vendor.com/nic", "--uninstall"]) == 0  # again: nothing to remove, and no complaint


@pytest.mark.parametrize("where", [".", ".."])
def test_a_folder_with_something_else_in_it_stays(where: str, default: Path) -> None:
    """Others' files in it or beside it stay, with their folders; the files of netdevns are removed."""
    assert main(["cdi", "vendor.com/nic", "eth1", "--install"]) == 0
    (default / where / "theirs.json").write_text("{}")
    assert main(["cdi", "vendor.com/nic", "--uninstall"]) == 0
    left = [path for path in default.parents[1].rglob("*") if path.is_file()]
    assert left == [(default / where / "theirs.json").resolve()]
    assert default.exists() == (where == ".")


def test_a_folder_that_was_there_stays(default: Path) -> None:
    """A folder that --install did not make stays, also if it is empty."""
    default.mkdir(parents=True)
    assert main(["cdi", "vendor.com/nic", "eth1", "--install"]) == 0
    assert main(["cdi", "vendor.com/nic", "--uninstall"]) == 0
    assert everything(default) == {}


def test_a_failing_write_makes_no_folder(default: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders made for a file are removed when writing it fails."""
    real = os.rename

    def refuse(*paths: str, **_: int) -> None:
        raise OSError(30, "Read-only file system", *paths)

    monkeypatch.setattr(install.os, "rename", refuse)
    assert main(["cdi", "vendor.com/nic", "eth1", "--install"]) == 1
    monkeypatch.setattr(install.os, "rename", real)
    assert list(default.parents[1].iterdir()) == []


def test_operators_folder_is_neither_made_nor_removed(tmp_path: Path) -> None:
    """--dir must exist, and is not removed."""
    missing = tmp_path / "missing"
    assert main(["cdi", "vendor.com/nic", "eth1", "--install", "--dir", str(missing)]) == 2
    assert not missing.exists()
    missing.mkdir()
    for arguments in ["eth1", "--install"], ["--uninstall"]:
        assert main(["cdi", "vendor.com/nic", *arguments, "--dir", str(missing)]) == 0
    assert everything(missing) == {}


def test_others_can_read_it(tmp_path: Path) -> None:
    """Mode 0644 with any umask, so that other users' container managers can read it."""
    before = os.umask(0o077)
    try:
        install.write(str(tmp_path), {"a.json": {}}, lambda _: False, [])
    finally:
        os.umask(before)
    assert (tmp_path / "a.json").stat().st_mode & 0o7777 == 0o644


def test_a_failing_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the disk is full for the second file, neither is written, and no temporary file is left."""
    written = []

    def full(fd: int) -> None:
        written.append(fd)
        if len(written) == 2:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(install.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        install.write(str(tmp_path), {"a.json": {}, "b.json": {}}, lambda _: True, [])
    assert len(written) == 2
    assert everything(tmp_path) == {}


def test_a_reader_sees_the_old_file_or_the_new_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The old file stays until the new one is complete; readers ignore the temporary file's name."""
    install.write(str(tmp_path), {"a.json": {"old": 1}}, lambda _: True, [])
    seen = []

    def look(fd: int) -> None:  # noqa: ARG001  # fsync's signature
        seen.append({path.name: path.read_text() for path in tmp_path.glob("*.json") if not path.name.startswith(".")})
        assert not [p for p in tmp_path.iterdir() if p.suffix == ".json" and p.name != "a.json"]

    monkeypatch.setattr(install.os, "fsync", look)
    install.write(str(tmp_path), {"a.json": {"new": 2}}, lambda _: True, [])
    assert [json.loads(files["a.json"]) for files in seen] == [{"old": 1}]
    assert json.loads((tmp_path / "a.json").read_text()) == {"new": 2}


def test_an_error_of_the_kernel_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """/proc accepts no files: exit code 1, the path and the reason."""
    assert main(["cdi", "vendor.com/nic", "eth1", "--install", "--dir", "/proc/self"]) == 1
    first, last = capsys.readouterr().err.splitlines()
    assert first.startswith("netdevns: /proc/self/")
    assert last == "netdevns: nothing was touched"


def test_refusal_has_a_remedy(tmp_path: Path) -> None:
    """The line has the path and the remedy."""
    (tmp_path / "a.json").touch()
    with pytest.raises(Refused, match=rf"^{tmp_path}/a\.json: .*move it away first$"):
        install.remove(str(tmp_path), ["a.json"], lambda _: False, [])

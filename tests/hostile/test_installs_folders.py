"""Attacks on an operator who installs or removes a hook: folders and links of another user, and oversized files."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from netdevns import limits
from netdevns.cli.main import main
from netdevns.oci import cdi, install, trust
from tests.support.attacks import rounds
from tests.support.namespaces import enter_user_namespace, in_child, unshare

from .ownership import FILE, KIND, OTHER, Change, mode, owned, plant, run

pytestmark = pytest.mark.usefixtures("others")

CLONE_NEWNS, PR_SET_DUMPABLE = 0x20000, 4


# ---- folders -------------------------------------------------------------------------------------------------------

FOLDERS: dict[str, Change] = {
    "for all": mode(0o777),
    "sticky, for all": mode(0o1777),
    "for a group": mode(0o775),
    "of another": owned,
    "above, for all": lambda folder: folder.parent.chmod(0o777),
    "above, of another": lambda folder: owned(folder.parent),
}


@pytest.mark.sampled(6, 3)
@pytest.mark.parametrize("change", FOLDERS.values(), ids=FOLDERS.keys())
@pytest.mark.parametrize(
    "command", [["cdi", KIND, "eth1"], ["hooks-dir", "--allow", "x"], ["units"]], ids=["cdi", "hooks-dir", "units"]
)
def test_nothing_is_installed_where_others_write(change: Change, command: list[str], tmp_path: Path) -> None:
    """They could exchange the file, and with it what root's runtimes start: exit code 2, and one line says where."""
    folder = tmp_path / "above" / "folder"
    folder.mkdir(parents=True)
    change(folder)
    code, err = run(*command, "--install", "--dir", str(folder))
    assert (code, list(folder.iterdir())) == (2, [])
    first, last = err.splitlines()
    assert first.startswith(f"netdevns: {tmp_path}/above")
    assert first.endswith("; its files are started as root: choose another folder")
    assert last == "netdevns: nothing was touched"


def test_it_can_be_taken_away_from_there(tmp_path: Path) -> None:
    """A folder that was given away afterwards: our file goes, what its new owner has in it stays."""
    folder = tmp_path / "folder"
    plant(folder)
    (folder / "theirs.json").touch()
    owned(folder)
    assert run("cdi", KIND, "--uninstall", "--dir", str(folder)) == (0, "")
    assert [path.name for path in folder.iterdir()] == ["theirs.json"]


@pytest.mark.thorough
def test_the_default_folder_is_looked_at_too(default: Path) -> None:
    """It was there, and others may write in it."""
    default.chmod(0o777)
    code, err = run("cdi", KIND, "eth1", "--install")
    assert code == 2
    assert f"{default}: other users may write to it (mode 0777)" in err


@pytest.mark.thorough
@pytest.mark.sampled(2)
@pytest.mark.parametrize("action", [["eth1", "--install"], ["--uninstall"]], ids=["install", "uninstall"])
@pytest.mark.parametrize("owner", [0, OTHER])
@pytest.mark.parametrize("above", [False, True], ids=["the folder", "above it"])
def test_a_link_on_the_way(action: list[str], owner: int, above: bool, tmp_path: Path) -> None:
    """The operator's own are followed; one of another user could lead root anywhere: exit code 2."""
    target = tmp_path / "target" / "cdi"
    file = plant(target)
    before = file.read_text()
    link = tmp_path / "link"
    link.symlink_to(target.parent if above else target)
    os.chown(link, owner, owner, follow_symlinks=False)
    code, err = run("cdi", KIND, *action, "--dir", str(link / "cdi" if above else link))
    if owner == 0:
        assert (code, err) == (0, "")
        assert not file.exists() or file.read_text() != before
    else:
        assert (code, file.read_text()) == (2, before)
        assert f"{link}: this symbolic link belongs to user {OTHER}, who could redirect it" in err


@contextlib.contextmanager
def elsewhere(root: Path) -> Iterator[Path]:
    """A process whose root directory is a mount of its own at that path, with a file of ours: that root, in /proc."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            unshare(CLONE_NEWNS)
            subprocess.run(["mount", "--make-rprivate", "/"], check=True)
            subprocess.run(["mount", "-t", "tmpfs", "tmpfs", root], check=True)
            plant(root / "cdi")
            os.chroot(root)
            os.write(write, b"ready")
            signal.pause()
        finally:
            os._exit(1)
    os.close(write)
    try:
        assert os.read(read, 5) == b"ready"
        yield Path(f"/proc/{pid}/root")
    finally:
        os.close(read)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_a_link_of_proc(tmp_path: Path) -> None:
    """The text of /proc/PID/root is not where it leads: refused, rather than followed to a place of that name."""
    here = plant(tmp_path / "cdi")
    with elsewhere(tmp_path) as root:
        code, err = run("cdi", KIND, "--uninstall", "--dir", str(root / "cdi"))
        assert (code, here.exists(), (root / "cdi" / FILE).exists()) == (2, True, True)
        assert f"{root}/cdi: the path contains a link of /proc" in err


def test_links_in_a_circle(tmp_path: Path) -> None:
    """The kernel's error, in one line."""
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    code, err = run("cdi", KIND, "--uninstall", "--dir", str(tmp_path / "a"))
    assert code == 1
    assert err.startswith("netdevns: ")
    assert "Too many levels of symbolic links" in err


def test_owners_that_a_user_namespace_does_not_map(tmp_path: Path) -> None:
    """There the machine's root appears as the overflow uid and is trusted; in the initial namespace that uid is not."""
    overflow = int(Path("/proc/sys/kernel/overflowuid").read_text())
    file = tmp_path / "file"
    file.touch()
    os.chown(file, overflow, overflow)
    with pytest.raises(trust.Untrusted, match=f"it belongs to user {overflow}"):
        trust.check(str(file))

    def child() -> int:
        os.setresuid(OTHER, OTHER, OTHER)
        ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 1)  # else its own files in /proc are root's
        enter_user_namespace()
        assert os.stat("/usr").st_uid == overflow
        trust.check("/usr")
        return 0

    assert in_child(child) == 0


def test_a_refused_install_changes_nothing(default: Path) -> None:
    """A file of another program in the default folder: that, our note and both folders stay."""
    (default / FILE).write_text("{}")
    code, err = run("cdi", KIND, "eth1", "--install")
    assert code == 2
    assert "netdevns did not write this file" in err
    assert sorted(path.name for path in default.iterdir()) == [".netdevns-made", FILE]


@pytest.mark.thorough
def test_a_note_that_cannot_be_written(default: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk: the folders that were made for it go again."""
    assert run("cdi", KIND, "--uninstall") == (0, "")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    code, err = run("cdi", KIND, "eth1", "--install")
    assert (code, list(default.parents[1].iterdir())) == (1, [])
    assert err.startswith(f"netdevns: {default}/.netdevns-made: No space left on device\n")


@pytest.fixture
def swapped(tmp_path: Path) -> Iterator[Path]:
    """A folder of another user's, who turns its name between a folder and a link to the operator's, all the time."""
    mine = tmp_path / "mine"
    mine.mkdir()
    owned(mine)
    tmp_path.chmod(0o755)
    pid = os.fork()
    if pid == 0:
        try:
            os.chdir(mine)  # the way to it is root's alone
            os.setresgid(OTHER, OTHER, OTHER)
            os.setresuid(OTHER, OTHER, OTHER)
            os.mkdir("folder")
            os.symlink("../operators", "link")
            while True:
                os.rename("folder", "kept")
                os.rename("link", "folder")
                os.rename("folder", "link")
                os.rename("kept", "folder")
        finally:
            os._exit(1)
    yield mine / "folder"
    os.kill(pid, signal.SIGKILL)
    assert os.WIFSIGNALED(os.waitpid(pid, 0)[1])  # it was at work until now


@pytest.mark.thorough
def test_a_race_for_the_folder(swapped: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The owner of a path replaces it while root uninstalls there: the operator's own file stays, in each round."""
    file = plant(tmp_path / "operators")
    before = file.read_text()
    codes = set()
    for _ in rounds(150, 20_000):
        codes.add(main(["cdi", KIND, "--uninstall", "--dir", str(swapped)]))
        codes.add(main(["cdi", KIND, "eth9", "--cdi-version", cdi.NATIVE, "--install", "--dir", str(swapped)]))
        assert file.read_text() == before
    assert "internal error" not in capsys.readouterr().err
    assert {0, 2} <= codes <= {0, 1, 2}  # it met the folder, and the link


# ---- files ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [install.SIZE_MAX, install.SIZE_MAX + 1, 4 << 30])
def test_a_file_beyond_the_limit_is_not_ours(size: int, tmp_path: Path) -> None:
    """1 MiB: what is longer is not read, and left alone."""
    file = plant(tmp_path / "folder")
    text = file.read_text()
    if size < 1 << 30:
        file.write_text(text + " " * (size - len(text)))
    else:
        os.truncate(file, size)
    code, err = run("cdi", KIND, "--uninstall", "--dir", str(file.parent))
    assert (code, file.exists()) == ((0, False) if size == install.SIZE_MAX else (2, True))
    assert ("netdevns did not write this file" in err) == (code == 2)


def test_a_file_beyond_the_limit_is_not_written(tmp_path: Path) -> None:
    """It could not be known again."""
    devices = [f"device{number:04}=name{number:04}" for number in range(limits.DEVICES)]
    code, err = run("cdi", KIND, *devices, "--install", "--dir", str(tmp_path))
    assert (code, list(tmp_path.iterdir())) == (2, [])
    assert f"{FILE}: it would have more than {install.SIZE_MAX} bytes: write fewer devices into one file" in err

"""Attacks on an operator who installs or removes a hook: forged notes, links, folders and programs of another user.

That user is a number, OTHER: files are given to it, and a child becomes it.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import io
import json
import os
import resource
import shutil
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import netdevns
from netdevns import cdi, cli, hookline, hooksd, installs, limits, trust
from tests.support import require
from tests.support.attacks import rounds
from tests.support.namespaces import enter_user_namespace, in_child, unshare

OTHER = 4711
CLONE_NEWNS, PR_SET_DUMPABLE = 0x20000, 4
KIND, FILE = "vendor.com/nic", "vendor.com-nic.json"
PACKAGE = Path(netdevns.__file__).parent
MEMORY = 3 << 29  # bytes: 1.5 GB
PATIENCE_S = 20
Change = Callable[[Path], None]


def run(*arguments: str) -> tuple[int, str]:
    """The command's exit code and what it says on stderr, in a child that has little memory and time."""

    def child() -> tuple[int, str]:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        signal.alarm(PATIENCE_S)
        with contextlib.redirect_stderr(io.StringIO()) as err, contextlib.redirect_stdout(io.StringIO()):
            code = cli.main([*arguments])
        return code, err.getvalue()

    found: tuple[int, str] = in_child(child)
    return found


@pytest.fixture(scope="session", autouse=True)
def others(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Whether this process may give files away, and become another user."""
    try:
        os.chown(tmp_path_factory.mktemp("given"), OTHER, OTHER)
    except OSError as e:
        require.require("netns", f"files cannot be given to another user here: {e.strerror}")


def owned(path: Path) -> None:
    os.chown(path, OTHER, OTHER, follow_symlinks=False)


def mode(bits: int) -> Change:
    return lambda path: path.chmod(bits)


def plant(folder: Path) -> Path:
    """A file that netdevns wrote."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / FILE
    path.write_text(json.dumps(cdi.document(KIND, {"eth1": None}, cdi.NATIVE)))
    return path


# ---- notes ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The default folder, made by netdevns with the one above it, and with a file in it."""
    base = tmp_path / "base"
    base.mkdir()
    monkeypatch.setattr(cdi, "FOLDER", str(base / "a" / "cdi"))
    monkeypatch.setattr(cdi, "BASE", str(base))
    assert run("cdi", KIND, "eth1", "--install") == (0, "")
    return base / "a" / "cdi"


def test_a_note_of_ours_is_obeyed(default: Path) -> None:
    """The control of the tests below: both folders go, and the one above stays."""
    assert run("cdi", KIND, "--uninstall") == (0, "")
    assert list(default.parents[1].iterdir()) == []


CONTENTS: dict[str, str] = {
    "root": "/", "base": "{base}", "above base": "{base}/..", "beside": "{base}/b", "inside": "{base}/a/cdi/x",
    "relative": "a", "dots": "{base}/a/cdi/..", "slash": "{base}/a/", "two lines": "{base}/a\n{base}", "empty": "",
    "blank": " {base}/a", "nul": "{base}/a\0", "long": "{base}/a\n" + "x" * 5000,
}  # fmt: skip


@pytest.mark.sampled(3)
@pytest.mark.parametrize("text", CONTENTS.values(), ids=CONTENTS.keys())
def test_a_note_with_another_place(text: str, default: Path) -> None:
    """Only the default folder, or one above it that netdevns makes, and exactly so: else nothing is removed."""
    note = default / ".netdevns-made"
    note.write_text(text.format(base=default.parents[1]))
    code, err = run("cdi", KIND, "--uninstall")
    assert (code, list(default.iterdir())) == (0, [note])
    assert err.startswith(f"netdevns: {note}: not obeyed: it ")
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


@pytest.mark.sampled(3)
@pytest.mark.parametrize("forge", FORGED.values(), ids=FORGED.keys())
def test_a_note_of_others(forge: Change, default: Path) -> None:
    """With the right words, but perhaps another user's: our file goes, the folders stay, and a line says why."""
    forge(default / ".netdevns-made")
    code, err = run("cdi", KIND, "--uninstall")
    assert (code, [path.name for path in default.iterdir()]) == (0, [".netdevns-made"])
    assert err.startswith(f"netdevns: {default}/.netdevns-made: not obeyed: ")
    assert err.count("\n") == 1


def test_a_default_folder_behind_a_link(default: Path) -> None:
    """An operator has put it elsewhere: it is used there, and not removed."""
    elsewhere = default.parents[1] / "elsewhere"
    default.parent.rename(elsewhere)
    default.parent.symlink_to(elsewhere)
    code, err = run("cdi", KIND, "--uninstall")
    assert code == 0
    assert "not obeyed" in err
    assert [path.name for path in (elsewhere / "cdi").iterdir()] == [".netdevns-made"]


@pytest.mark.sampled(4)
@pytest.mark.parametrize("top", ["/", "{tmp}", "{tmp}/a", "{tmp}/a/given"])
@pytest.mark.parametrize("command", [["cdi", KIND], ["hooks-dir"]], ids=["cdi", "hooks-dir"])
@pytest.mark.parametrize("owner", [0, OTHER])
def test_a_note_in_a_folder_of_the_operators(top: str, command: list[str], owner: int, tmp_path: Path) -> None:
    """With --dir no note is read, of whatever owner: the folder, and all above it, stay."""
    folder = tmp_path / "a" / "given"
    plant(folder)
    note = folder / ".netdevns-made"
    note.write_text(top.format(tmp=tmp_path))
    for path in folder, note:
        os.chown(path, owner, owner)
    assert run(*command, "--uninstall", "--dir", str(folder)) == (0, "")
    assert sorted(path.name for path in folder.iterdir() if path.name != FILE) == [".netdevns-made"]
    assert (folder / FILE).exists() == (command == ["hooks-dir"])


# ---- folders -------------------------------------------------------------------------------------------------------

FOLDERS: dict[str, Change] = {
    "for all": mode(0o777),
    "sticky, for all": mode(0o1777),
    "for a group": mode(0o775),
    "of another": owned,
    "above, for all": lambda folder: folder.parent.chmod(0o777),
    "above, of another": lambda folder: owned(folder.parent),
}


@pytest.mark.sampled(2)
@pytest.mark.parametrize("change", FOLDERS.values(), ids=FOLDERS.keys())
@pytest.mark.parametrize("command", [["cdi", KIND, "eth1"], ["hooks-dir", "--allow", "x"]], ids=["cdi", "hooks-dir"])
def test_nothing_is_installed_where_others_write(change: Change, command: list[str], tmp_path: Path) -> None:
    """They could exchange the file, and with it what root's runtimes start: exit code 2, and one line says where."""
    folder = tmp_path / "above" / "folder"
    folder.mkdir(parents=True)
    change(folder)
    code, err = run(*command, "--install", "--dir", str(folder))
    assert (code, list(folder.iterdir())) == (2, [])
    first, last = err.splitlines()
    assert first.startswith(f"netdevns: {tmp_path}/above")
    assert first.endswith("; a runtime starts what is in it as root: choose another folder")
    assert last == "netdevns: nothing was touched"


def test_it_can_be_taken_away_from_there(tmp_path: Path) -> None:
    """A folder that was given away afterwards: our file goes, what its new owner has in it stays."""
    folder = tmp_path / "folder"
    plant(folder)
    (folder / "theirs.json").touch()
    owned(folder)
    assert run("cdi", KIND, "--uninstall", "--dir", str(folder)) == (0, "")
    assert [path.name for path in folder.iterdir()] == ["theirs.json"]


def test_the_default_folder_is_looked_at_too(default: Path) -> None:
    """It was there, and others may write in it."""
    default.chmod(0o777)
    code, err = run("cdi", KIND, "eth1", "--install")
    assert code == 2
    assert f"{default}: other users may write to it (mode 0777)" in err


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
        assert f"{link}: this symbolic link belongs to user {OTHER}, who could turn it elsewhere" in err


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
        assert f"{root}/cdi: a link of /proc is on the way" in err


def test_links_in_a_circle(tmp_path: Path) -> None:
    """The kernel's error, in one line."""
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    code, err = run("cdi", KIND, "--uninstall", "--dir", str(tmp_path / "a"))
    assert code == 1
    assert err.startswith("netdevns: ")
    assert "Too many levels of symbolic links" in err


def test_owners_that_a_user_namespace_does_not_map(tmp_path: Path) -> None:
    """There the machine's root has the number of "nobody", and is trusted; in the initial namespace "nobody" is not."""
    nobody = int(Path("/proc/sys/kernel/overflowuid").read_text())
    file = tmp_path / "file"
    file.touch()
    os.chown(file, nobody, nobody)
    with pytest.raises(trust.Untrusted, match=f"it belongs to user {nobody}"):
        trust.check(str(file))

    def child() -> int:
        os.setresuid(OTHER, OTHER, OTHER)
        ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 1)  # else its own files in /proc are root's
        enter_user_namespace()
        assert os.stat("/usr").st_uid == nobody
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
    for above in [*tmp_path.parents][:3]:
        above.chmod(above.stat().st_mode | stat.S_IXOTH)  # pytest's own, which are for nobody else
    pid = os.fork()
    if pid == 0:
        try:
            os.setresgid(OTHER, OTHER, OTHER)
            os.setresuid(OTHER, OTHER, OTHER)
            os.chdir(mine)
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


def test_a_race_for_the_folder(swapped: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever its owner makes of a path while root uninstalls there: the operator's own file stays, in each round."""
    file = plant(tmp_path / "operators")
    before = file.read_text()
    codes = set()
    for _ in rounds(150, 20_000):
        codes.add(cli.main(["cdi", KIND, "--uninstall", "--dir", str(swapped)]))
        codes.add(cli.main(["cdi", KIND, "eth9", "--cdi-version", cdi.NATIVE, "--install", "--dir", str(swapped)]))
        assert file.read_text() == before
    assert "internal error" not in capsys.readouterr().err
    assert {0, 2} <= codes <= {0, 1, 2}  # it met the folder, and the link


# ---- files ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [installs.SIZE_MAX, installs.SIZE_MAX + 1, 4 << 30])
def test_a_file_beyond_the_limit_is_not_ours(size: int, tmp_path: Path) -> None:
    """1 MiB: what is longer is not read, and left alone."""
    file = plant(tmp_path / "folder")
    text = file.read_text()
    if size < 1 << 30:
        file.write_text(text + " " * (size - len(text)))
    else:
        os.truncate(file, size)
    code, err = run("cdi", KIND, "--uninstall", "--dir", str(file.parent))
    assert (code, file.exists()) == ((0, False) if size == installs.SIZE_MAX else (2, True))
    assert ("netdevns did not write this file" in err) == (code == 2)


def test_a_file_beyond_the_limit_is_not_written(tmp_path: Path) -> None:
    """It could not be known again."""
    devices = [f"device{number:04}=name{number:04}" for number in range(limits.DEVICES)]
    code, err = run("cdi", KIND, *devices, "--install", "--dir", str(tmp_path))
    assert (code, list(tmp_path.iterdir())) == (2, [])
    assert f"{FILE}: it would have more than {installs.SIZE_MAX} bytes: write fewer devices into one file" in err


# ---- the line ------------------------------------------------------------------------------------------------------


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The package and cffi's module, in a folder as an installation has them."""
    folder = tmp_path / "opt" / "site-packages"
    shutil.copytree(PACKAGE, folder / "netdevns", ignore=shutil.ignore_patterns("__pycache__"))
    core = hookline.find_spec("_cffi_backend")
    assert core is not None
    assert core.origin is not None
    shutil.copy(core.origin, folder)
    (folder / "netdevns" / "__pycache__").mkdir()
    return folder


def written(folder: Path, *arguments: str, python: str = sys.executable) -> subprocess.CompletedProcess[str]:
    """What that installation's command does."""
    return subprocess.run(
        [python, "-B", "-S", "-m", "netdevns", *arguments],
        env={"PYTHONPATH": str(folder)}, cwd="/", capture_output=True, text=True, check=False,
    )  # fmt: skip


def _link_to_theirs(folder: Path) -> None:
    theirs = folder.parent / "theirs.py"
    (folder / "netdevns" / "hook.py").rename(theirs)
    (folder / "netdevns" / "hook.py").symlink_to(theirs)
    owned(theirs)


def _core(folder: Path) -> Path:
    (found,) = (folder / "netdevns").glob("_core*.so")
    return found


def _cffi(folder: Path) -> Path:
    (found,) = folder.glob("_cffi_backend*.so")
    return found


# Each leaves something that OTHER could change: the path that is named, of {folder}.
CODE: dict[str, tuple[str, Change]] = {
    "a module": ("netdevns/hook.py", lambda folder: owned(folder / "netdevns" / "hook.py")),
    "a module for all": ("netdevns/hook.py", lambda folder: (folder / "netdevns" / "hook.py").chmod(0o666)),
    "a module in a package": ("netdevns/engine/native.py", lambda f: owned(f / "netdevns" / "engine" / "native.py")),
    "the package": ("netdevns", lambda folder: owned(folder / "netdevns")),
    "the package for a group": ("netdevns", lambda folder: (folder / "netdevns").chmod(0o775)),
    "what is compiled": ("netdevns/__pycache__", lambda f: (f / "netdevns" / "__pycache__").chmod(0o1777)),
    "the core": ("netdevns/_core", lambda folder: owned(_core(folder))),
    "cffi": ("_cffi_backend", lambda folder: _cffi(folder).chmod(0o666)),
    "the folder": ("", mode(0o777)),
    "the sticky folder": ("", mode(0o1777)),
    "above": ("..", lambda folder: owned(folder.parent)),
    "a link": ("../theirs.py", _link_to_theirs),
    "a link of theirs": (
        "netdevns/x",
        lambda f: ((f / "netdevns" / "x").symlink_to("/etc"), owned(f / "netdevns/x"))[1],
    ),
}


@pytest.mark.sampled(3)
@pytest.mark.parametrize(("named", "change"), CODE.values(), ids=CODE.keys())
def test_code_that_others_can_change(named: str, change: Change, installed: Path, tmp_path: Path) -> None:
    """Not installed: exit code 2, and a line with path, reason and remedy. Shown, with that as a warning."""
    cdi_folder = tmp_path / "cdi"
    cdi_folder.mkdir()
    change(installed)
    path = os.path.normpath(installed / named)
    done = written(installed, "cdi", KIND, "eth1", "--install", "--dir", str(cdi_folder))
    assert (done.returncode, done.stdout, list(cdi_folder.iterdir())) == (2, "", [])
    first, last = done.stderr.splitlines()
    assert first.startswith(f"netdevns: {path}")
    assert first.endswith(
        "; each container's start would run that as root; install netdevns, and its Python, where only root may write"
    )
    assert last == "netdevns: nothing was touched"
    shown = written(installed, "hooks-dir", "--allow", "x")
    assert (shown.returncode, "hook" in shown.stdout, shown.stderr.count("\n")) == (0, True, 1)
    assert shown.stderr.startswith(f"netdevns: {path}")
    assert "--install would refuse" in shown.stderr


def test_both_commands_ask(installed: Path, tmp_path: Path) -> None:
    """hooks-dir refuses, and what cdi shows comes with the warning."""
    owned(installed / "netdevns" / "hook.py")
    (tmp_path / "hooks.d").mkdir()
    done = written(installed, "hooks-dir", "--allow", "x", "--install", "--dir", str(tmp_path / "hooks.d"))
    assert (done.returncode, list((tmp_path / "hooks.d").iterdir())) == (2, [])
    assert done.stderr.startswith(f"netdevns: {installed}/netdevns/hook.py: it belongs to user {OTHER}")
    shown = written(installed, "cdi", KIND, "eth1")
    assert (shown.returncode, json.loads(shown.stdout)["kind"]) == (0, KIND)
    assert "--install would refuse" in shown.stderr


def test_code_that_nobody_else_can_change(installed: Path, tmp_path: Path) -> None:
    """The control of the tests above; a package beside ours that no hook imports is not looked at."""
    (installed / "others").mkdir()
    (installed / "others").chmod(0o777)
    done = written(installed, "cdi", KIND, "eth1", "--install", "--dir", str(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")


def test_without_a_hook_nothing_is_asked(installed: Path, tmp_path: Path) -> None:
    """CDI 1.1.0 has no line: the runtime moves the devices itself."""
    owned(installed / "netdevns" / "hook.py")
    (tmp_path / "cdi").mkdir()
    arguments = ["cdi", KIND, "eth1", "--cdi-version", cdi.NATIVE, "--install", "--dir", str(tmp_path / "cdi")]
    done = written(installed, *arguments)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """An interpreter with its library, in a place of its own; the library is the machine's, behind links of root's."""
    prefix = tmp_path / "python"
    library = Path(os.__file__).parent
    (prefix / "bin").mkdir(parents=True)
    (prefix / "lib").mkdir()
    shutil.copy(os.path.realpath(sys.executable), prefix / "bin" / "python3")
    (prefix / "lib" / library.name).mkdir()
    for each in library.iterdir():
        if each.name not in ("site-packages", "dist-packages"):
            (prefix / "lib" / library.name / each.name).symlink_to(each)
    return prefix / "bin" / "python3"


PYTHON: dict[str, tuple[str, Change]] = {
    "interpreter": ("python3", owned),
    "interpreter for all": ("python3", mode(0o777)),
    "its folder": ("", lambda python: python.parent.chmod(0o777)),
    "its sticky folder": ("", lambda python: python.parent.chmod(0o1777)),  # a pyvenv.cfg there is obeyed
    "pyvenv.cfg": (
        "pyvenv.cfg",
        lambda python: ((python.parent / "pyvenv.cfg").touch(), owned(python.parent / "pyvenv.cfg"))[1],
    ),
    "pyvenv.cfg above": (
        "../pyvenv.cfg",
        lambda python: ((python.parents[1] / "pyvenv.cfg").touch(), owned(python.parents[1] / "pyvenv.cfg"))[1],
    ),
    "a sticky folder with one": (
        "",
        lambda python: ((python.parent / "pyvenv.cfg").touch(), python.parent.chmod(0o1777))[1],
    ),
    "the library": ("../lib", lambda python: (python.parents[1] / "lib").chmod(0o777)),
    "a sticky library": ("../lib", lambda python: (python.parents[1] / "lib").chmod(0o1777)),
    "a link": ("../lib/*/abc.py", lambda python: owned(next((python.parents[1] / "lib").glob("*/abc.py")))),
}


@pytest.mark.sampled(3)
@pytest.mark.parametrize(("named", "change"), PYTHON.values(), ids=PYTHON.keys())
def test_an_interpreter_that_others_can_change(
    named: str, change: Change, python: Path, installed: Path, tmp_path: Path
) -> None:
    """The same for the interpreter, and what it reads before our first line, with -I and -S, too."""
    (tmp_path / "cdi").mkdir()
    arguments = ["cdi", KIND, "eth1", "--install", "--dir", str(tmp_path / "cdi")]
    before = written(installed, *arguments, python=str(python))
    assert (before.returncode, before.stderr) == (0, "")
    change(python)
    done = written(installed, *arguments, python=str(python))
    (path,) = python.parent.glob(named) if "*" in named else [Path(os.path.normpath(python.parent / named))]
    assert done.returncode == 2
    assert done.stderr.startswith(f"netdevns: {path.parent.resolve() / path.name}: ")


def test_an_interpreter_behind_a_link_of_others(installed: Path, tmp_path: Path) -> None:
    """The line has the interpreter's own path; but what started this command could be another one the next time."""
    link = tmp_path / "theirs" / "python3"
    link.parent.mkdir()
    link.symlink_to(os.path.realpath(sys.executable))
    link.parent.chmod(0o777)
    done = written(installed, "cdi", KIND, "eth1", "--install", "--dir", str(tmp_path), python=str(link))
    assert done.returncode == 2
    assert done.stderr.startswith(f"netdevns: {link.parent}: other users may write to it (mode 0777)")


def test_a_library_that_others_could_put_above(installed: Path, tmp_path: Path) -> None:
    """Without one beside it an interpreter looks for its library in each directory above, before the built-in place."""
    shared = tmp_path / "shared"
    python = shared / "mine" / "bin" / "python3"
    python.parent.mkdir(parents=True)
    shutil.copy(os.path.realpath(sys.executable), python)
    shared.chmod(0o1777)
    done = written(installed, "cdi", KIND, "eth1", "--install", "--dir", str(tmp_path), python=str(python))
    assert done.returncode == 2
    assert done.stderr.startswith(f"netdevns: {shared}: other users may write to it (mode 1777)")


# ---- what a line runs ----------------------------------------------------------------------------------------------

PLANTED = "import os\nos.write(2, b'PLANTED ' + __name__.encode() + b'\\n')\n"


@pytest.fixture
def planted(tmp_path: Path) -> Path:
    """A folder with modules that say when they are run."""
    folder = tmp_path / "planted"
    for name in "sitecustomize", "usercustomize", "json", "netdevns/__init__", "_cffi_backend":
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.py").write_text(PLANTED)
    return folder


def lines() -> list[list[str]]:
    """Each hook's words that the commands write."""
    file = cdi.document(KIND, {"eth1": None})
    edits = [file["containerEdits"], *(device["containerEdits"] for device in file["devices"])]  # type: ignore[attr-defined]
    hooks = [hook for each in edits for hook in each["hooks"]]  # type: ignore[index]
    hooks += [file["hook"] for file in hooksd.documents(["x"]).values()]
    return [hook["args"] for hook in hooks]


def test_a_line_runs_nothing_from_outside(planted: Path) -> None:
    """Neither PYTHONPATH nor the working directory, which is the bundle, nor a home directory has a part in it."""
    found = lines()
    assert len(found) == 4
    environment = {
        "PYTHONPATH": str(planted),
        "PYTHONHOME": str(planted),
        "HOME": str(planted),
        "PYTHONUSERBASE": str(planted),
    }
    for words in found:
        done = subprocess.run(
            words, env=environment, cwd=planted, input="{}", capture_output=True, text=True, check=False
        )
        assert "PLANTED" not in done.stderr
        assert done.stderr.startswith("netdevns: ")  # it ran, and the state is none


def test_a_line_without_it_would(planted: Path) -> None:
    """That the test above can fail; and what SECURITY.md says of the console script."""
    words = [word for word in lines()[0] if word not in ("-I", "-S")]
    done = subprocess.run(
        words, env={"PYTHONPATH": str(planted)}, cwd="/", input="{}", capture_output=True, text=True, check=False
    )
    assert "PLANTED sitecustomize" in done.stderr

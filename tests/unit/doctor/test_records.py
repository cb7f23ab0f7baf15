"""/run/netdevns: trust, locks, records, loans, records set aside and the log, without a lock of the doctor's own."""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from netdevns.doctor import devices, records
from netdevns.doctor.host import Nic
from netdevns.netlink import uapi, wire
from netdevns.recovery import identity, layout, loans, store
from netdevns.recovery.store import Journal
from netdevns.system import exclusion, folders

from .made import Tree, said, worse

RUN = folders.JOURNAL_DIR
TRUSTED = f"ok {RUN}: belongs to this user, who alone may write to it"
CONTAINER = "c1"


@pytest.fixture
def directory(tree: Tree) -> Path:
    """The host's /run/netdevns; its /proc/locks is this machine's."""
    path = tree.root / RUN.lstrip("/")
    path.mkdir(parents=True, mode=0o700)
    (tree.root / "proc").mkdir()
    (tree.root / "proc/locks").symlink_to("/proc/locks")
    return path


def examined(tree: Tree, *nics: Nic) -> list[str]:
    return said(records.check(tree.host(*nics)))


def link(name: bytes, mac: bytes) -> bytes:
    head = struct.pack("=BxHiII", 0, 1, 7, 0, 0)
    body = head + wire.attr_name(uapi.IFLA_IFNAME, name) + wire.attr(uapi.IFLA_ADDRESS, mac)
    return wire.message(uapi.RTM_NEWLINK, 0, body)


def record(
    directory: Path, folder: str = store.TXN, *, name: str = "", boot: bytes = b"", pid: int = 0, start: int = 0
) -> store.Record:
    """Writes a record of eth1, locked until it is closed. `pid`, `start`: the container's process."""
    parts = layout.head((), since_ms=1)
    if boot:
        parts = [parts[0].replace(layout.boot_id(), boot)]
    numbers = dict.fromkeys((layout.A_COOKIE, layout.A_DEV, layout.A_INO, layout.A_OF_START, layout.A_OF_PID), 0)
    numbers |= {layout.A_PID_NS: os.stat(identity.PID_NS).st_ino}
    for type_ in (layout.SOURCE, layout.TARGET):
        process = {layout.A_OF_PID: pid, layout.A_OF_START: start} if type_ == layout.TARGET else {}
        parts += layout.section(type_, {layout.A_WHERE: b"there", **numbers, **process})
    if folder in (loans.FOLDER, loans.PREPARED):
        parts += layout.section(layout.LOAN, {layout.A_CONTAINER: CONTAINER.encode()})
    if folder != loans.PREPARED:
        names = {layout.A_HOST_NAME: b"eth1", layout.A_IFNAME: b"eth1", layout.A_WANTED: b"net0"}
        attrs = {**names, layout.A_IFINDEX: 7, layout.A_ASKED: 7, layout.A_UNSURE: 0, layout.A_DEPTH: 0}
        parts += layout.section(layout.DEVICE, attrs, link(b"eth1", b"\2\0\0\0\0\1"))
    with Journal(str(directory), create=True, folder=folder) as journal:
        return journal.write(parts, name=name or "record")


# ---- trust ---------------------------------------------------------------------------------------------------------


def test_not_there(tree: Tree) -> None:
    """No move yet: all is well, and the folder is not made."""
    (tree.root / "run").mkdir()
    assert examined(tree) == [f"ok {RUN}: not there yet: the first move makes it"]
    assert [*(tree.root / "run").iterdir()] == []


def test_empty(tree: Tree, directory: Path) -> None:
    assert examined(tree) == [TRUSTED]
    assert [*directory.iterdir()] == []


UNSAFE = {
    "for all": (lambda path: path.chmod(0o777), "others may write to it"),
    "for a group": (lambda path: path.chmod(0o770), "others may write to it"),
    "of another": (lambda path: os.chown(path, 4711, 4711), "belongs to another user"),
    "a link": (lambda path: (path.rename(f"{path}2"), path.symlink_to(f"{path}2")), "a symbolic link, or no directory"),
    "a file": (lambda path: (path.rmdir(), path.touch()), "a symbolic link, or no directory"),
}


@pytest.mark.parametrize("folder", ["", store.TXN, loans.FOLDER, store.ASIDE])
@pytest.mark.parametrize(("change", "text"), UNSAFE.values(), ids=UNSAFE)
def test_unsafe_folder(change: object, text: str, folder: str, tree: Tree, directory: Path) -> None:
    """Every move refuses it; this says why."""
    path = directory / folder
    path.mkdir(mode=0o700, exist_ok=True)
    change(path)  # type: ignore[operator]
    found = worse(records.check(tree.host()))
    assert found == [f"error {RUN}{'/' * bool(folder)}{folder}: {text}: every move refuses to use it"]


# ---- records -------------------------------------------------------------------------------------------------------


def test_running_move(tree: Tree, directory: Path) -> None:
    """A record that its mover locks is no crash; the lock stays the mover's."""
    held = record(directory)
    assert examined(tree) == [TRUSTED, f"ok {RUN}/txn/record: eth1 -> net0: a move that runs, by process {os.getpid()}"]
    held.close()
    held = record(directory)
    with pytest.raises(BlockingIOError):
        fcntl.flock(os.open(directory / "txn" / held.name, os.O_RDONLY), fcntl.LOCK_SH | fcntl.LOCK_NB)
    held.close()


def test_killed_move(tree: Tree, directory: Path) -> None:
    """Its devices may be anywhere."""
    record(directory).close()
    text = "eth1 -> net0: the move was killed; its devices may be in either namespace"
    assert worse(records.check(tree.host())) == [f"error {RUN}/txn/record: {text}"]
    assert [each.hint for each in records.check(tree.host())] == [None, "netdevns recover"]


def test_record_of_an_earlier_boot(tree: Tree, directory: Path) -> None:
    """It says nothing about the devices of this boot."""
    record(directory, boot=b"0" * 36).close()
    assert worse(records.check(tree.host())) == [
        f"warning {RUN}/txn/record: eth1 -> net0: older than the last boot, which reset the devices"
    ]


@pytest.mark.parametrize("folder", [store.TXN, loans.FOLDER])
@pytest.mark.parametrize(
    ("data", "text"),
    [(b"", "it is truncated"), (b"\xff" * 64, "a netlink message with a wrong length"), (None, "no regular file")],
)
def test_damaged(data: bytes | None, text: str, folder: str, tree: Tree, directory: Path) -> None:
    """Damage is named, and hides no other record; a FIFO keeps nobody waiting."""
    record(directory, folder, name="later").close()
    path = directory / folder / "damaged"
    os.mkfifo(path) if data is None else path.write_bytes(data)
    found = worse(records.check(tree.host()))
    assert f"error {RUN}/{folder}/damaged: " in found[0]
    assert text in found[0]
    assert len([*records.check(tree.host())]) == 3


def test_set_aside(tree: Tree, directory: Path) -> None:
    """Moves ignore it, so a container gets no device and nobody says why."""
    record(directory, store.ASIDE).close()
    (found,) = worse(records.check(tree.host()))
    assert found.startswith(f"error {RUN}/aside/record: eth1 -> net0: set aside: ")


# ---- loans ---------------------------------------------------------------------------------------------------------


def start_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])


def test_loan(tree: Tree, directory: Path) -> None:
    """A container has the device."""
    record(directory, loans.FOLDER, pid=os.getpid(), start=start_of(os.getpid())).close()
    assert examined(tree) == [TRUSTED, f"ok {RUN}/loan/record: on loan to container c1: eth1 -> net0"]


def test_loan_of_an_ended_container(tree: Tree, directory: Path) -> None:
    """Its devices came back, or are gone, and nothing restored them."""
    record(directory, loans.FOLDER, pid=os.getpid(), start=1).close()
    (found,) = [each for each in records.check(tree.host()) if each.severity == "error"]
    assert found.text == "on loan to container c1: eth1 -> net0, whose process has ended: its devices were not restored"
    assert found.hint == "netdevns return c1"


def test_loan_whose_device_is_here(tree: Tree, directory: Path) -> None:
    """Brought back by hand, or another device has the name."""
    record(directory, loans.FOLDER).close()
    (found,) = worse(records.check(tree.host(Nic("eth1", 7))))
    assert found == f"warning {RUN}/loan/record: on loan to container c1: eth1 -> net0; but a device eth1 is here"


def test_prepared_namespace(tree: Tree, directory: Path) -> None:
    """With its name it is well; `ip netns del` takes that away, and the devices."""
    record(directory, loans.PREPARED).close()
    (found,) = worse(records.check(tree.host()))
    assert found.startswith("error /run/netns/c1: this prepared namespace has no name any more")
    tree.write("/run/netns/c1", "")
    assert examined(tree) == [TRUSTED, "ok /run/netns/c1: a prepared namespace"]


def test_loan_to_a_prepared_namespace(tree: Tree, directory: Path) -> None:
    """Nothing enters the namespace to look, so the loan is reported as a loan."""
    record(directory, loans.PREPARED).close()
    record(directory, loans.FOLDER).close()
    tree.write("/run/netns/c1", "")
    lent = "lent to the prepared namespace c1"
    assert f"ok {RUN}/loan/record: {lent}: eth1 -> net0" in examined(tree)
    assert said(devices.check(tree.host(), devices.wanted(tree.host(), [], {}, ""))) == [f"ok eth1: {lent}"]


def test_lent_devices_are_known(tree: Tree, directory: Path) -> None:
    """A loan has the device as it was: its MAC, by which other daemons know it."""
    record(directory, loans.FOLDER).close()
    every = devices.wanted(tree.host(), [], {}, "")
    assert (every["eth1"].names, every["eth1"].lent) == (["net0"], "on loan to container c1")
    assert every["eth1"].nic == Nic("eth1", 7, "", "02:00:00:00:00:01")
    assert said(devices.check(tree.host(), every)) == ["ok eth1: on loan to container c1"]


# ---- locks ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def locked(directory: Path) -> Iterator[Path]:
    """A lock file; the ifindexes 5, 6 and 9 are held by this process."""
    path = directory / f"{os.stat('/proc/self/ns/net').st_ino}.lock"
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    for first, count in ((5, 2), (9, 1)):
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, exclusion.FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, first, count, 0))
        os.pwrite(fd, exclusion.PID.pack(os.getpid()) * count, first * exclusion.PID.size)
    yield path
    os.close(fd)


def test_locks(tree: Tree, locked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device that is being moved is named, with its mover; a mover that runs for long is a warning."""
    path, pid = f"{RUN}/{locked.name}", os.getpid()
    monkeypatch.setattr(records, "LONG_S", 1e9)
    assert examined(tree, Nic("eth1", 5)) == [
        TRUSTED,
        f"ok {path}: eth1 is being moved by process {pid}",
        f"ok {path}: the device with the ifindex 9 is being moved by process {pid}",
    ]
    monkeypatch.setattr(records, "LONG_S", 0)
    found = worse(records.check(tree.host()))
    assert len(found) == 2
    assert all(f"is being moved by process {pid}, which has run for " in each for each in found)


def test_no_lock_is_taken(tree: Tree, locked: Path) -> None:
    """Another process sees the same locks before, meanwhile and after; a free device stays free."""
    before = Path("/proc/locks").read_text().count(f":{locked.stat().st_ino} ")
    seen = []
    for _ in records.check(tree.host()):
        seen.append(Path("/proc/locks").read_text().count(f":{locked.stat().st_ino} "))
    assert before == 2
    assert {*seen} == {before}


# ---- the log -------------------------------------------------------------------------------------------------------


def stamp(age_s: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - age_s))


@pytest.mark.parametrize(("age_s", "severity"), [(5, "warning"), (3600, "warning"), (3 * 24 * 3600, "ok")])
def test_last_report(age_s: float, severity: str, tree: Tree, directory: Path) -> None:
    """The last failure of a hook is the likeliest answer; after a day it is history."""
    lines = [
        f"{stamp(age_s + 9)} c0: old",
        f"{stamp(age_s)} c2: of another container",
        f"{stamp(age_s)} c1: eth1: \x1b[31mbad",
        f"{stamp(age_s)} c1: nothing was touched",
    ]
    (directory / "hook.log").write_text("\n".join(lines) + "\n")
    (directory / "hook.log").chmod(0o600)
    text = f"the last report, of {stamp(age_s)}: c1: eth1: \\x1b[31mbad; nothing was touched"
    assert examined(tree)[-1] == f"{severity} {RUN}/hook.log: {text}"


ID = "b257" * 16
UNKNOWN = ("state on stdin: id: a string is needed", "nothing was touched")


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        (UNKNOWN, "state on stdin: id: a string is needed; nothing was touched"),
        (UNKNOWN * 2, "state on stdin: id: a string is needed; nothing was touched"),
        (("c2: nothing was touched", *UNKNOWN), "state on stdin: id: a string is needed; nothing was touched"),
        ((*UNKNOWN, "c1: bad", "c1: nothing was touched"), "c1: bad; nothing was touched"),
        (("pod a/b: refused:", "pod a/b: bad"), "pod a/b: refused:; bad"),
        (("internal error at x.py:1: KeyError: 'x'",), "internal error at x.py:1: KeyError: 'x'"),
        (
            (f"{ID}: container {ID} has no network namespace of its own: x", f"{ID}: nothing was touched"),
            "b257b257b257: the container has no network namespace of its own: x; nothing was touched",
        ),
    ],
)
def test_lines_of_the_last_report(lines: tuple[str, ...], text: str, tree: Tree, directory: Path) -> None:
    """With its reason, also where the container's id is not known; the id once, and shortened."""
    now = stamp(5)
    (directory / "hook.log").write_text("".join(f"{now} {line}\n" for line in lines))
    (directory / "hook.log").chmod(0o600)
    *_, found = records.check(tree.host())
    assert found.text.partition("Z: ")[2] == text
    assert found.hint == "netdevns doctor BUNDLE"


@pytest.mark.parametrize("data", [b"", b"\n", b"\xff\xfe\0", b"no time\n", b"x" * 100_000])
def test_any_log(data: bytes, tree: Tree, directory: Path) -> None:
    """Whatever is in it."""
    (directory / "hook.log").write_bytes(data)
    (directory / "hook.log").chmod(0o600)
    assert worse(records.check(tree.host())) == []


def test_log_that_others_may_write(tree: Tree, directory: Path) -> None:
    """It is not believed."""
    (directory / "hook.log").write_text("x")
    (directory / "hook.log").chmod(0o666)
    assert worse(records.check(tree.host())) == [
        f"error {RUN}/hook.log: others may write to it: every move refuses to use it"
    ]


def test_ordinary_user(directory: Path, tree: Tree) -> None:
    """Without rights it says so, and how to get them."""
    code = """
import os, sys
from netdevns.doctor import records
from netdevns.doctor.host import Host
root = os.open(sys.argv[1], os.O_PATH)  # the way to it is root's alone
os.setuid(4711)
print(*((f.severity, f.subject, f.hint) for f in records.check(Host(f"/proc/self/fd/{root}"))))
"""
    for path in (tree.root, directory.parent):
        path.chmod(0o755)
    done = subprocess.run([sys.executable, "-c", code, tree.root], capture_output=True, text=True, check=True)
    assert done.stdout == f"('warning', '{RUN}', 'sudo netdevns doctor')\n"

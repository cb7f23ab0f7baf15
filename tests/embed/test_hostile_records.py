"""Records of the batch in C where there is no room, where others are, and where namespaces are gone."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.runtimes.container import opened
from tests.support import require
from tests.support.namespaces import Namespace, fresh
from tests.support.restored import State, Untouched, assert_equal_soon

from .fighter import DEVICES, HOST, MOVE, Driver, killed


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of one page, beside what the directory itself has."""
    folder = tmp_path / "small"
    folder.mkdir(mode=0o700)
    try:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=700", "small", folder], check=True)
    except subprocess.CalledProcessError:
        require("netns", "this user may not mount")
    yield folder
    subprocess.run(["umount", folder], check=True)


def fill(folder: Path) -> None:
    """Until there is no more room, but for names."""
    with contextlib.suppress(OSError), (folder / ".fill").open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)


# ---- no room ----


def test_no_room_for_the_record(sides: tuple[Namespace, Namespace], c: Driver, small: Path) -> None:
    """P4: without a record nothing is changed, and no half of one is left."""
    fill(small)
    with Untouched(*sides):
        assert c.open(sides[1], records=small).code == 0
        answer = c.move()
        assert (answer.code, answer.step, answer.left) == (errno.ENOSPC, "record", {}), answer
        c.close()
    assert os.listdir(small) == [".fill"]


def test_no_room_for_late_addresses(sides: tuple[Namespace, Namespace], c: Driver, small: Path) -> None:
    """P1: where the record cannot get the addresses that were added meanwhile, the move is undone with them."""
    host, target = sides

    def act() -> None:
        host.batch(f"addr add 10.7.{n}.1/24 dev eth1" for n in range(100))
        fill(small)

    assert c.open(target, records=small).code == 0
    answer = c.at_send("move 0 0", MOVE, 1, act)
    assert (answer.code, answer.step, answer.left) == (errno.ENOSPC, "record", {}), answer
    c.close()
    assert len(host.addresses("eth1", family=2)) == 103
    assert target.names() == set()
    assert os.listdir(small) == [".fill"]


@pytest.mark.parametrize("room", ["nr_inodes=1", "size=4k"])
def test_no_room_for_locks(sides: tuple[Namespace, Namespace], tmp_path: Path, room: str) -> None:
    """P1: in a machine whose /run is full a batch moves and returns all the same."""
    host, target = sides
    before = host.dump()
    mount = f'mount -t tmpfs -o {room} full /run && {{ dd if=/dev/zero of=/run/x 2>/dev/null; exec "$@"; }}'
    if subprocess.run(["unshare", "-m", "sh", "-c", mount, "sh", "true"], check=False).returncode:
        require("netns", "this user may not mount")
    with Driver(under=("unshare", "-m", "sh", "-c", mount, "sh")) as full:
        full.moved(target, records=tmp_path)
        answer = full.undo()
        assert (answer.code, answer.left) == (0, {})
        full.close()
    assert_equal_soon(before, host)


# ---- directories and files of others ----


@pytest.mark.parametrize("whose", ["another user's", "writable by all", "writable by the group", "gone"])
def test_directory_of_another_user(sides: tuple[Namespace, Namespace], c: Driver, tmp_path: Path, whose: str) -> None:
    """P9: a directory that others may write to is not trusted with a record, nor for a recovery."""
    folder = tmp_path / "records"
    folder.mkdir(mode=0o700)
    if whose == "another user's":
        os.chown(folder, 65534, -1)
    elif whose != "gone":
        folder.chmod(0o777 if "all" in whose else 0o770)
    with Untouched(*sides):
        if whose != "gone":
            for answer in (c.open(sides[1], records=folder), c.recover(folder)):
                assert answer.code == errno.EPERM
                assert answer.text.endswith(" writable by others (chmod 0700)")
            return
        assert c.open(sides[1], records=folder).code == 0
        folder.rmdir()
        answer = c.move()
        assert (answer.step, answer.left) == ("record", {}), answer


def test_directory_that_is_given_away(sides: tuple[Namespace, Namespace], c: Driver, tmp_path: Path) -> None:
    """P9: it is judged when a record is written, not only when it is named."""
    with Untouched(*sides):
        assert c.open(sides[1], records=tmp_path).code == 0
        tmp_path.chmod(0o777)
        answer = c.move()
        assert (answer.code, answer.step) == (errno.EPERM, "record"), answer


def _flip(data: bytes) -> bytes:
    at = random.Random(7).randrange(len(data))
    return data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]


BAD: dict[str, Callable[[Path, bytes], object]] = {
    "empty": lambda path, _: path.touch(0o600),
    "short": lambda path, good: path.write_bytes(good[: len(good) // 2]),
    "one byte less": lambda path, good: path.write_bytes(good[:-1]),
    "longer": lambda path, good: path.write_bytes(good + b"\0"),
    "a bit": lambda path, good: path.write_bytes(_flip(good)),
    "noise": lambda path, _: path.write_bytes(random.Random(7).randbytes(5000)),
    "huge": lambda path, _: os.truncate(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600), 1 << 40),
    "fifo": lambda path, _: os.mkfifo(path, 0o600),
    "folder": lambda path, _: path.mkdir(0o700),
    "symlink": lambda path, _: path.symlink_to("/etc/passwd"),
    "writable": lambda path, good: (path.write_bytes(good), path.chmod(0o666)),
    "another user's": lambda path, good: (path.write_bytes(good), os.chown(path, 65534, -1)),
}


@pytest.mark.sampled(2)
@pytest.mark.parametrize("name", BAD)
def test_bad_record_beside_a_good_one(sides: tuple[Namespace, Namespace], c: Driver, tmp_path: Path, name: str) -> None:
    """P9: a bad record stops no good one: that is restored, the bad one is kept and named, and nothing hangs."""
    host, target = sides
    before = host.dump()
    killed(target, tmp_path)
    (good,) = tmp_path.iterdir()
    bad = tmp_path / "0000000000000bad"
    descriptors = os.listdir("/proc/self/fd")
    BAD[name](bad, good.read_bytes())
    for fd in {*os.listdir("/proc/self/fd")} - {*descriptors}:
        with contextlib.suppress(OSError):
            os.close(int(fd))
    os.utime(bad, (1, 1), follow_symlinks=False)  # it comes first
    answer = c.recover(tmp_path, undo_complete=True)
    assert_equal_soon(before, host)
    assert answer.report.count("restored") == 2, answer
    assert not good.exists()
    assert answer.code, answer
    assert "0000000000000bad" in answer.report
    assert "0000000000000bad" in answer.text
    assert os.path.lexists(bad)


def test_two_records_of_one_device(sides: tuple[Namespace, Namespace], c: Driver, tmp_path: Path) -> None:
    """P4: a copy of a record, of which each restores the same, does no harm."""
    host, target = sides
    before = host.dump()
    killed(target, tmp_path)
    (good,) = tmp_path.iterdir()
    shutil.copy(good, tmp_path / "0000000000000002")
    assert c.recover(tmp_path, undo_complete=True).code == 0
    assert_equal_soon(before, host)
    assert list(tmp_path.iterdir()) == []


def test_record_of_a_living_mover(sides: tuple[Namespace, Namespace], c: Driver, tmp_path: Path) -> None:
    """P8: a record whose process lives is left to it."""
    _, target = sides
    c.moved(target, records=tmp_path)
    with Untouched(*sides), Driver() as other:
        answer = other.recover(tmp_path, undo_complete=True)
        assert (answer.code, answer.report) == (0, "")
    assert len(list(tmp_path.iterdir())) == 1


def test_record_of_what_is_left(sides: tuple[Namespace, Namespace], c: Driver, tmp_path: Path) -> None:
    """P4: a batch that is closed when a device is not home leaves its record, with which a recovery restores it."""
    host, target = sides
    before = host.dump()
    c.moved(target, records=tmp_path)
    with fresh("third") as third:
        target.give("net1", third)
        assert list(c.undo().left) == ["eth1"]
        c.close()
        assert [path.suffix for path in tmp_path.iterdir()] == [".undo"]
        for _ in range(2):
            answer = c.recover(tmp_path)
            assert (answer.code, "eth1: kept: not found in either namespace" in answer.report) == (0, True), answer
            assert [path.suffix for path in tmp_path.iterdir()] == [".undo"]
        assert "eth0" not in answer.report
        third.give("net1", target)
    answer = c.recover(tmp_path)
    assert answer.code == 0, answer
    assert list(tmp_path.iterdir()) == []
    assert_equal_soon(before, host)


# ---- namespaces that are gone ----


@pytest.mark.parametrize("line", ["move 0 0", "stop"], ids=["complete", "half"])
@pytest.mark.parametrize("undo_complete", [False, True])
def test_recover(sides: tuple[Namespace, Namespace], c: Driver, tmp_path: Path, line: str, undo_complete: bool) -> None:
    """P4: what a process that was killed left is complete in the target, or as before; and no record is left."""
    host, target = sides
    before = host.dump()
    killed(target, tmp_path, line=line)
    answer = c.recover(tmp_path, undo_complete=undo_complete)
    assert answer.code == 0, answer
    assert list(tmp_path.iterdir()) == []
    if line == "stop" or undo_complete:
        assert_equal_soon(before, host)
        assert target.names() == set()
    else:
        assert target.names() == set(DEVICES.values())
        assert [a.address for a in target.addresses("net0")] == ["10.0.0.1"]


def eth0(dump: State) -> State:
    return {part: {"net0": dump[part].get("net0")} for part in ("links", "addresses")}


def test_source_is_gone(sides: tuple[Namespace, Namespace], c: Driver, tmp_path: Path) -> None:
    """P4: a record whose source is gone has nothing to restore to: it is removed, and the devices stay."""
    host, target = sides
    with fresh("source") as source:
        source.batch(HOST)
        source.wait_until_quiet()
        with source.entered():
            killed(target, tmp_path)
    before = target.dump()
    answer = c.recover(tmp_path, undo_complete=True)
    assert answer.code == 0, answer
    assert "gone" in answer.report
    assert list(tmp_path.iterdir()) == []
    assert_equal_soon(before, target, shown=eth0)  # the veth ends with its peer, in the kernel's own time
    assert "eth1" in host.names()


def test_target_is_gone(sides: tuple[Namespace, Namespace], c: Driver, tmp_path: Path) -> None:
    """P7: devices that ended with the target are said to be gone; those that never left are as before."""
    host, target = sides
    before = host.dump()
    killed(target, tmp_path, line="stop")
    target.close()
    answer = c.recover(tmp_path)
    lines = sorted(answer.report.splitlines())
    assert (lines[0], lines[1].startswith("eth1: gone: in neither namespace: a veth ends")) == ("eth0: restored", True)
    assert (answer.code, answer.left_count, list(tmp_path.iterdir())) == (0, 0, []), answer
    now = host.dump()
    assert now["links"]["eth0"] == before["links"]["eth0"]
    assert now["addresses"]["eth0"] == before["addresses"]["eth0"]


@pytest.mark.parametrize("name", ["net1", "dev102", "eth1"])
def test_devices_are_in_the_initial_namespace(
    sides: tuple[Namespace, Namespace], c: Driver, tmp_path: Path, initial: Namespace, name: str
) -> None:
    """P5: the target is gone, and the kernel has put its hardware into the initial namespace: restored from there."""
    host, target = sides
    before = host.dump()
    killed(target, tmp_path)
    target.batch(["link set net1 down", "link set net0 down"])
    if name != "net1":
        target.ip(f"link set net1 name {name}")
    target.give(name, initial)
    target.give("net0", initial)
    target.close()
    answer = c.recover(tmp_path)
    assert answer.code == 0, answer
    assert_equal_soon(before, host)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("ifindex", ["same", "other"])
def test_source_is_the_initial_namespace(initial: Namespace, target: Namespace, tmp_path: Path, ifindex: str) -> None:
    """P5: the same where it is the source itself: a device is there, down, under the container's name and ifindex."""
    initial.batch(HOST.replace("type veth peer name peer index 103", "type ifb").replace("link set peer up", ""))
    initial.wait_until_quiet()
    before = initial.dump()
    if ifindex == "other":
        target.batch(["link add first index 101 type ifb", "link add second index 102 type ifb"])
    with initial.entered():
        killed(target, tmp_path)
    for name in ("net0", "net1"):
        target.ip(f"link set {name} down")
        target.give(name, initial)
    target.close()
    with initial.entered(), Driver() as c:
        answer = c.recover(tmp_path)
    if ifindex == "same":
        assert answer.code == 0, answer
        assert_equal_soon(before, initial)
        return
    # The kernel renumbers nothing in place: all but the ifindex.
    assert "eth1: in the source; not restored: ifindex 102" in answer.report, answer
    assert [a.address for a in initial.addresses("eth1")] == [a.address for a in before["addresses"]["eth1"]]


RECOVER = "import netdevns, sys; print(*(each.outcome for each in netdevns.recover(sys.argv[1])))"


@pytest.mark.parametrize("who", ["C", "Python"])
def test_source_that_may_not_be_looked_at(host: Namespace, target: Namespace, tmp_path: Path, who: str) -> None:
    """P4: for root without CAP_SYS_PTRACE a namespace is not gone which only a process of another user is in."""
    if Path("/proc/self/uid_map").read_text().split() != ["0", "0", "4294967295"]:
        require("netns", "this user is not root of the machine, who alone sees the processes of others")
    assert host
    records = tmp_path / "txn"
    records.mkdir(mode=0o700)
    words = ["unshare", "--net", "setpriv", "--reuid", "1000", "--clear-groups", "sh", "-c", "echo; exec cat"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        holder.stdout.readline()
        with opened(f"/proc/{holder.pid}/ns/net", "source") as source, Driver() as driver:
            source.batch(HOST)
            assert driver.open(target, source=source, records=records).code == 0
            assert driver.move().code == 0
            driver.kill()
        limited = ("setpriv", "--bounding-set", "-sys_ptrace", "--inh-caps", "-sys_ptrace")
        if who == "C":
            with Driver(under=limited) as other:
                answer = other.recover(records)
            assert (answer.code, answer.begun) == (errno.EACCES, False), answer
        else:
            done = subprocess.run(
                [*limited, sys.executable, "-c", RECOVER, str(tmp_path)], capture_output=True, text=True, check=True
            )
            assert set(done.stdout.split()) == {"kept"}
        assert len(os.listdir(records)) == 1
        holder.stdin.close()

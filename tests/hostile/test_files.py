"""Other people's files, and what is no file: hooks go on; each bad one is reported once and set aside."""

from __future__ import annotations

import binascii
import contextlib
import os
import resource
import shutil
import socket
import stat
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from netdevns.netlink import wire
from netdevns.recovery import layout
from netdevns.recovery.layout import Damaged
from netdevns.recovery.recover import Recovery
from netdevns.recovery.return_home import ReturnHome
from netdevns.recovery.store import TRIES, Journal
from tests.support import require
from tests.support.attacks import LONG, finish

from .bounded import AS_BYTES
from .fuse import hanging
from .jobs import MINE, kill, lend, moves_of
from .scene import RUN, Scene, end, loans, records, restore, saved

# What is in a file makes no difference to an engine: one of them tries it.
ONE_ENGINE = True

SOON_S = 60  # what does not hang ends long before
OTHERS = 40
NOBODY = 65534


@pytest.fixture(autouse=True)
def little_memory() -> Iterator[None]:
    """For this process and those that it starts."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (AS_BYTES, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.fixture
def scene(engine: str) -> Iterator[Scene]:
    with Scene(engine, containers=3) as found:
        yield found


def ran(process: subprocess.Popen[str]) -> tuple[str, int]:
    """What it says, and its exit code; within a time in which everything but a hang ends."""
    begun = time.monotonic()
    out, err, code = finish(process)
    assert time.monotonic() - begun < SOON_S
    assert out == ""
    assert "internal error" not in err
    return err, code


# ---- odd files among the records and the loans ----


def _sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(4 << 30)


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made, contextlib.chdir(path.parent):
        made.bind(path.name)


def _foreign(path: Path) -> None:
    path.write_bytes(b"")
    os.chown(path, NOBODY, NOBODY)


def _writable(path: Path) -> None:
    path.write_bytes(b"")
    path.chmod(0o622)


def _linked(path: Path) -> None:
    elsewhere = path.parent.parent / f"{path.name}.elsewhere"
    elsewhere.write_bytes(b"")
    elsewhere.chmod(0o600)
    path.hardlink_to(elsewhere)


ODD: dict[str, Callable[[Path], object]] = {
    "symlink": lambda path: path.symlink_to("/etc/passwd"),
    "dangling": lambda path: path.symlink_to("/no/such/file"),
    "loop": lambda path: path.symlink_to(path.name),
    "fifo": lambda path: os.mkfifo(path, 0o600),
    "directory": lambda path: path.mkdir(mode=0o700),
    "socket": _socket,
    "zero": lambda path: os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 5)),
    "sparse": _sparse,
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_bytes(b"#!/bin/sh\nreboot\n"),
    "foreign": _foreign,
    "writable": _writable,
    "linked": _linked,
}


@pytest.mark.parametrize("folder", ["txn", "loan"])
def test_odd_files(scene: Scene, hook: str, folder: str) -> None:
    """P9: each is reported once and set aside, and containers start and end as if it was not there."""
    path = RUN / folder
    path.mkdir(mode=0o700, parents=True)
    RUN.chmod(0o700)
    for name, make in ODD.items():
        make(path / name)
    for n in range(OTHERS):
        _sparse(path / f"c{n + 100}~")
    outside = Path("/etc/passwd").read_bytes()
    c1, c2, _ = scene.containers
    assert ran(scene.hook(hook, c1)) == ("", 0)
    assert c1.namespace.names() == {"net0", "eth2", "eth0"}
    out, err, code = scene.run("recover", "--list")
    assert code == 0, (out, err)
    if folder == "txn":
        assert all(f"/txn/{name}: " in out for name in ODD)
    what = ("recover",) if folder == "txn" else ("return",)
    out, err, code = scene.run(*what)
    assert (code, "internal error" in err + out) == (3, False), err + out
    for name in ODD:
        assert f"/aside/{name}.undo" in out + err, name
    assert [name for name in os.listdir(path) if name not in ("c1", "linked.elsewhere")] == []
    assert len(os.listdir(RUN / "aside")) == len(ODD) + OTHERS
    assert ran(scene.hook(hook, c2, "poststop")) == ("", 0)
    assert Path("/etc/passwd").read_bytes() == outside


@pytest.mark.parametrize("folder", ["txn", "loan"])
def test_poststop_reports_a_bad_file_once(scene: Scene, hook: str, folder: str) -> None:
    """P9: the next poststop hook has nothing to say of it."""
    (RUN / folder).mkdir(mode=0o700, parents=True)
    RUN.chmod(0o700)
    (RUN / folder / "c1").symlink_to("/etc/passwd")
    err, code = ran(scene.hook(hook, scene.containers[0], "poststop"))
    assert (err.count("\n"), code) == (1, 3)
    assert "/run/netdevns/aside/c1.undo" in err
    assert ran(scene.hook(hook, scene.containers[0], "poststop")) == ("", 0)


@pytest.mark.parametrize("folder", ["txn", "loan"])
def test_odd_names(scene: Scene, folder: str) -> None:
    """P9: what has the longest name there is, or a hidden one and is no file, is set aside, too, and reported once."""
    path = RUN / folder
    path.mkdir(mode=0o700, parents=True)
    RUN.chmod(0o700)
    (path / ("n" * 255)).write_bytes(b"")
    (path / ".hidden").mkdir()
    os.utime(path / ".hidden", (0, 0))
    command = "recover" if folder == "txn" else "return"
    out, err, code = scene.run(command)
    assert (code, len(os.listdir(RUN / "aside"))) == (3, 2)
    assert list(path.iterdir()) == [], out + err
    assert scene.run(command)[2] == 0


def test_a_folder_that_cannot_be_listed(scene: Scene) -> None:
    """P9: `recover --list` shows the records, and in a line why what is set aside cannot be shown."""
    (RUN / "txn").mkdir(mode=0o700, parents=True)
    RUN.chmod(0o700)
    (RUN / "txn" / "record").write_bytes(b"")
    (RUN / "aside").symlink_to("/etc")
    out, _, code = scene.run("recover", "--list")
    assert (code, "txn/record: " in out, "/run/netdevns/aside: a symbolic link" in out) == (0, True, True)


# ---- records that are sound, but for one thing ----


def sealed(body: bytes) -> bytes:
    """A record's body with its end, whose checksum is right."""
    checksum = wire.attr(layout.A_CHECKSUM, layout.U64.pack(binascii.crc32(body)))
    return body + wire.message(layout.END, 0, checksum)


def messages(data: bytes) -> list[bytes]:
    """The messages of a record, END left out."""
    return [message.padded() for message in wire.messages(data) if message.type != layout.END]


def lacking(data: bytes) -> Iterator[tuple[str, bytes]]:
    """The same record without an attribute of ours, with one that is empty or too long; without a message, or twice."""
    parts = messages(data)
    for n, part in enumerate(parts):
        before, after = b"".join(parts[:n]), b"".join(parts[n + 1 :])
        yield f"message {n} is missing", sealed(before + after)
        yield f"message {n} is there twice", sealed(before + part + part + after)
        message = next(wire.messages(part))
        if message.type < layout.RECORD:
            yield f"message {n} is cut", sealed(before + wire.message(message.type, 0, bytes(message.body[:4])) + after)
            continue
        attrs = wire.attrs(message.body)
        for type_, value in attrs.items():
            wrong = {"missing": None, "empty": b"", "long": bytes(value) + b"x" * 300, "ff": b"\xff" * 8}
            for how, put in wrong.items():
                kept = [wire.attr(t, bytes(v)) for t, v in attrs.items() if t != type_]
                kept += [] if put is None else [wire.attr(type_, put)]
                changed = wire.message(message.type, 0, b"".join(kept))
                yield f"message {n}, attribute {type_}: {how}", sealed(before + changed + after)


@pytest.fixture
def sound(hook: str, engine: str) -> Iterator[tuple[Scene, bytes, bytes]]:
    """A scene; a record of a hook that was killed, and a loan, as they were written in it."""
    moves = moves_of(hook, engine)
    with Scene(engine, containers=3) as scene:
        kill(scene, hook, moves)
        killed = saved("txn")
        _, err, code = scene.run("recover")
        assert code == 0, err
        lend(scene, hook)
        lent = saved("loan")
        _, err, code = scene.run("return")
        assert (code, loans(), records()) == (0, [], []), err
        yield scene, next(data for data in killed.values() if b"eth1" in data), lent["c1"]


def judged(folder: str, data: bytes, change: Callable[[Path], object] = str) -> str:
    """How far reading it gets, after a change of its file: "damaged", or "read"; nothing else is allowed to happen."""
    restore(folder, {"c1": data})
    change(RUN / folder / "c1")
    with Journal(str(RUN), create=False, folder=folder) as opened:
        (record,) = opened.crashed()
        try:
            sections = record.sections()
            if folder == "loan":
                ReturnHome(record, sections).__exit__()
            else:
                Recovery(record, sections, None).__exit__()
        except Damaged:
            return "damaged"
        finally:
            record.close()
    return "read"


def test_every_attribute_and_message(sound: tuple[Scene, bytes, bytes]) -> None:
    """P9: a record with something missing, cut or wrong is Damaged before anything is done, or is as good as before."""
    _, record, loan = sound
    for folder, data in (("txn", record), ("loan", loan)):
        assert judged(folder, data) == "read"
        found = {what: judged(folder, changed) for what, changed in lacking(data)}
        missing = [what for what in found if "attribute" in what and "missing" in what]
        assert len(missing) > 15
        assert len(found) > 100
        # What is there only sometimes (a token, queueing disciplines, the loan's number) may be missing.
        assert sum(found[what] == "read" for what in missing) <= 4, [w for w in missing if found[w] == "read"]


SOUND_BUT: dict[str, Callable[[Path], object]] = {
    "foreign": lambda path: os.chown(path, NOBODY, NOBODY),
    "writable": lambda path: path.chmod(0o602),
    "linked": lambda path: (RUN / "elsewhere").hardlink_to(path),
    "symlink": lambda path: path.rename(RUN / "there") and path.symlink_to(RUN / "there"),
}


@pytest.mark.sampled(2)
@pytest.mark.parametrize("change", SOUND_BUT.values(), ids=SOUND_BUT)
def test_file_that_is_not_ours_alone(sound: tuple[Scene, bytes, bytes], change: Callable[[Path], object]) -> None:
    """P9: a sound record is ignored if another user could have written it."""
    _, record, loan = sound
    assert judged("txn", record, change) == "damaged"
    for name in ("elsewhere", "there"):
        (RUN / name).unlink(missing_ok=True)
    assert judged("loan", loan, change) == "damaged"


def test_every_length_and_byte(sound: tuple[Scene, bytes, bytes]) -> None:
    """P9: a record is Damaged at each length it can be cut to, and with each byte flipped that its checksum covers."""
    _, record, loan = sound
    for data in (record, loan):
        size = len(b"".join(messages(data)))
        for at in range(len(data)):
            with pytest.raises(Damaged):
                layout.parse(data[:at])
        for at in range(0, size, 1 if LONG else 7):
            with pytest.raises(Damaged):
                layout.parse(data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :])


@pytest.mark.thorough
def test_hooks_go_on(sound: tuple[Scene, bytes, bytes], hook: str) -> None:
    """P9: with such records and loans there, containers start and end, and each is reported once."""
    scene, record, loan = sound
    step = 1 if LONG else 29
    for folder, data in (("txn", record), ("loan", loan)):
        every = [changed for _, changed in lacking(data)][::step]
        restore(folder, {f"c{n + 100}": changed for n, changed in enumerate(every)})
    c1, c2, _ = scene.containers
    c1.ask({"eth3": {"name": "net3"}})  # a device that no bad record names as one that it may move
    c2.ask({})
    err, code = ran(scene.hook(hook, c1))
    assert (err, code) == ("", 0)
    assert c1.namespace.names() == {"net3"}
    out, err, code = scene.run("recover")
    assert "internal error" not in err + out
    out, err, code = scene.run("return")
    assert "internal error" not in err + out
    for _ in range(TRIES):
        ran(scene.hook(hook, c2, "poststop"))
    again = ran(scene.hook(hook, c2, "poststop"))[0].splitlines()
    # A record whose namespace another pid namespace may keep alive stays, and is reported each time.
    assert [line for line in again if "another pid namespace" not in line] == []


# ---- folders that are not ours ----


def _owned(path: Path) -> None:
    path.mkdir(mode=0o700)
    os.chown(path, NOBODY, NOBODY)


def _open_to_all(path: Path) -> None:
    path.mkdir()
    path.chmod(0o777)


def _symlinked(path: Path) -> None:
    elsewhere = path.parent / "elsewhere"
    elsewhere.mkdir(mode=0o700, exist_ok=True)
    path.symlink_to(elsewhere)


FOLDERS = {"foreign": _owned, "writable": _open_to_all, "symlink": _symlinked, "file": lambda p: p.write_text("")}


@pytest.mark.sampled(2)
@pytest.mark.parametrize("below", ["", "txn", "loan"])
@pytest.mark.parametrize("kind", FOLDERS)
def test_folder_that_is_not_ours(scene: Scene, hook: str, kind: str, below: str) -> None:
    """P9: it is refused in one line, everything is as before, and nothing is written elsewhere."""
    path = RUN / below
    if below:
        RUN.mkdir(mode=0o700)
    elsewhere = path.parent / "elsewhere"
    FOLDERS[kind](path)
    try:
        err, code = ran(scene.hook(hook, scene.containers[0]))
        assert code == 2
        assert str(path) in err.splitlines()[0]
        assert "nothing was touched" in err
        if below != "loan":
            assert scene.run("move", "eth1", "--to", f"pid:{scene.containers[0].pid}")[2] == 2
        home = {key: value for key, value in scene.before.items() if key not in ("records", "loans")}
        assert kind == "file" or not scene.differences(home)
        assert not elsewhere.exists() or list(elsewhere.iterdir()) == []
    finally:
        if path.is_symlink() or path.is_file():
            path.unlink()
        shutil.rmtree(elsewhere, ignore_errors=True)


def test_what_was_checked_is_what_is_used(tmp_path: Path) -> None:
    """A folder whose owner puts another one in its place while it is open: no file of the other one is removed."""
    (tmp_path / "a").mkdir(mode=0o700)
    with Journal(str(tmp_path / "a"), create=True) as opened:
        record = opened.write(layout.head((), since_ms=0))
        (tmp_path / "a").rename(tmp_path / "b")
        (tmp_path / "a" / "txn").mkdir(parents=True)
        decoy = tmp_path / "a" / "txn" / record.name
        decoy.write_text("another user's")
        assert opened.names() == [record.name]
        record.drop()
    assert decoy.read_text() == "another user's"
    assert list((tmp_path / "b" / "txn").iterdir()) == []


# ---- what others hold, and how much of it there is ----


HOLDER = "import os, sys, time; fd = os.open(sys.argv[1], os.O_RDONLY); print(flush=True); time.sleep(600)"


@contextlib.contextmanager
def held_file(folder: Path) -> Iterator[None]:
    """A process has a descriptor on a file system that answers nothing any more."""
    folder.mkdir()
    with contextlib.ExitStack() as stack:
        try:
            path = stack.enter_context(hanging(folder))
        except OSError as e:
            require.require("netns", f"no FUSE here: {e}")
        argv = [sys.executable, "-c", HOLDER, str(path)]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as holder:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "\n"
            try:
                yield
            finally:
                holder.kill()


def test_descriptor_on_a_file_system_that_hangs(scene: Scene, hook: str, tmp_path: Path) -> None:
    """P9: a namespace is looked for among the descriptors of all processes, and what they lead to is not touched."""
    lend(scene, hook)
    c1 = scene.containers[0]
    scene.host.batch([f"link del {name}" for name in ("net0", "eth2")])  # they are nowhere: looked for everywhere
    end(c1)
    c1.namespace.close()
    with held_file(tmp_path / "mnt"):
        err, code = ran(scene.hook(hook, c1, "poststop"))
    assert (err, code) == (
        "netdevns: eth1, eth2: ended with the container, as virtual devices do unless it moved them on\n",
        0,
    )


RUNS = 9


def poststop_s(scene: Scene, hook: str, files: dict[str, bytes]) -> float:
    """A poststop hook whose container has one loan, and others have these: its processor's time, as many wait here."""
    scene.throw_back(MINE["c1"])
    restore("loan", files)
    begun = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert ran(scene.hook(hook, scene.containers[0], "poststop")) == ("", 0)
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return ended.ru_utime + ended.ru_stime - begun.ru_utime - begun.ru_stime


@pytest.mark.sampled(2, 2)
@pytest.mark.thorough
@pytest.mark.parametrize("alive", [True, False], ids=["alive", "ended"])
def test_a_thousand_loans_of_others(scene: Scene, hook: str, alive: bool) -> None:
    """P9: poststop takes at most 1.5 times as long with 1,000 loans of other containers; medians."""
    lend(scene, hook)
    if not alive:
        end(scene.containers[1])
    files = saved("loan")
    mine = {"c1": files["c1"]}
    body = b"".join(messages(files["c2"]))
    assert body.count(b"c2\0\0") == 1  # its container's id
    many = {f"x{n:03}": sealed(body.replace(b"c2\0\0", b"%04d" % n)) for n in range(1000)}
    few_s, many_s = [], []
    for _ in range(RUNS):
        few_s.append(poststop_s(scene, hook, mine))
        many_s.append(poststop_s(scene, hook, mine | many))
    few, most = statistics.median(few_s), statistics.median(many_s)
    assert most <= 1.5 * few, f"{most * 1e3:.1f} ms with 1,000 others, {few * 1e3:.1f} ms with none"

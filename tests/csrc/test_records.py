"""C and Python agree on records, locks and identities: csrc/record.c, store.c, lock.c, identity.c (docs/records.md)."""

from __future__ import annotations

import binascii
import contextlib
import errno
import os
import re
import shutil
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from netdevns.batch.plan import Plan, Sides
from netdevns.engine import EngineError, Socket, lookups
from netdevns.engine.batch_device import BatchDevice
from netdevns.netlink import wire
from netdevns.recovery import identity, layout, record
from netdevns.recovery.layout import Damaged
from netdevns.recovery.store import Journal
from netdevns.system.exclusion import Busy, Exclusion
from netdevns.system.interrupts import Patience
from netdevns.system.netns import NetNS
from tests.support import require
from tests.support.attacks import LONG
from tests.support.namespaces import Namespace

from .compilers import BUILDS, FUZZ_LOOP, HERE, LIBFUZZER
from .ways import FEW_WAYS, starter

pytestmark = pytest.mark.native

HOST = """
    link add eth1 index 102 type ifb
    link set eth1 mtu 1400 alias spare
    link property add dev eth1 altname a-second-name-that-is-long
    link add v10 index 103 type ifb
    link set eth1 up
    link set v10 up
    addr add 10.1.0.1/24 brd + label eth1:vip dev eth1
    addr add 2001:db8:1::1/64 nodad dev eth1
    addr add 2001:db8:1::5/64 nodad valid_lft 5000 preferred_lft 4000 dev eth1
"""
SINCE_MS = 4711  # as records.c
Ask = Callable[..., list[str]]


@pytest.fixture(params=FEW_WAYS)
def ask(request: pytest.FixtureRequest, tmp_path: Path) -> Ask:
    """Runs records.c: ask(argument, ..., lines=its stdin) returns the lines of its stdout."""
    stdin = ""

    def run(argv: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(argv, input=stdin, capture_output=True, text=True, timeout=250, check=False)

    start = starter(request.param, tmp_path, run)

    def printed(*arguments: str | Path, lines: str = "") -> list[str]:
        nonlocal stdin
        stdin = lines
        done = start("records", *map(str, arguments))
        assert (done.returncode, done.stderr) == (0, ""), done.stdout
        return done.stdout.splitlines()

    return printed


class Talk:
    """One that runs, to be asked again and again; a context manager that kills it."""

    def __init__(self, *arguments: str | Path) -> None:
        build = BUILDS["gcc-sanitized"]
        build.check()
        argv = [str(build.program("records")), *map(str, arguments)]
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    @property
    def pid(self) -> int:
        return self.process.pid

    def read(self) -> str:
        return self.process.stdout.readline().strip()

    def ask(self, line: str) -> str:
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        return self.read()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def __enter__(self) -> Talk:
        return self

    def __exit__(self, *exc: object) -> None:
        self.kill()
        self.process.stdin.close()
        self.process.stdout.close()


class Batch:
    """Two devices of the host, as a mover has them: what Python writes, and the arguments by which C does."""

    def __init__(self, host: Namespace, target: Namespace, folder: Path) -> None:
        host.batch(HOST)
        host.wait_until_quiet()
        self.host, self.target, self.folder = host, target, folder
        with Socket() as socket:
            answers = lookups.ask(socket, [*map(wire.get_link, (102, 103))])
            addresses = lookups.addresses(socket, (102, 103))
        self.devices = []
        self.arguments: list[str] = []
        asked_for = ((b"net0", 7, 0, 0), (b"v%d", 0, 1, 1))
        for answer, (wanted, asked, unsure, depth) in zip(answers, asked_for, strict=True):
            link = wire.Link(answer.body)
            device = BatchDevice(os.fsdecode(link.name), link.name, wanted, link)
            device.load(link.message(), bytes(addresses[link.ifindex]))
            device.depth = depth
            device.ask_ifindex(asked, unsure=bool(unsure))
            self.devices.append(device)
            # With other flags, seq and portid than a record has: as an answer.
            raw = bytearray(answer.padded())
            struct.pack_into("=HII", raw, 6, 2, 4711, 4712)
            for name, data in (("link", raw), ("addresses", addresses[link.ifindex])):
                (folder / f"{link.ifindex}.{name}").write_bytes(data)
            self.arguments += [link.name.decode(), wanted.decode(), str(asked), str(unsure), str(depth)]
            self.arguments += [str(folder / f"{link.ifindex}.{name}") for name in ("link", "addresses")]

    def path_of(self, namespace: Namespace) -> str:
        return f"/proc/{os.getpid()}/fd/{namespace.fd}"

    def writing(self, directory: Path) -> list[str | Path]:
        """Arguments of records.c."""
        return ["write", directory, self.path_of(self.host), self.path_of(self.target), *self.arguments]

    def parts(self, where: tuple[str, str] = ("/run/netns/a", "fd:9"), plan: Plan | None = None) -> list[bytes]:
        """What Python writes."""
        ours = [NetNS(each.fd, named, owned=False) for each, named in zip((self.host, self.target), where, strict=True)]
        with Socket(ours[0].fd) as source, Socket(ours[1].fd) as target:
            sides = Sides(ours[0], source, -1, ours[1], target)
            plan = plan or Plan([], True)
            plan.since_ms = SINCE_MS
            return record.recorded(plan, sides, self.devices, [])

    def bytes(self, *arguments: object, **named: object) -> bytes:
        return sealed(b"".join(self.parts(*arguments, **named)))


@pytest.fixture
def batch(host: Namespace, target: Namespace, tmp_path: Path) -> Batch:
    folder = tmp_path / "snapshots"
    folder.mkdir()
    return Batch(host, target, folder)


@pytest.fixture
def records(tmp_path: Path) -> Path:
    """A directory of records, as the API of C has one; Python has it in another one."""
    folder = tmp_path / "journal" / "txn"
    folder.mkdir(parents=True, mode=0o700)
    return folder


def sealed(body: bytes) -> bytes:
    """With an END."""
    end = wire.attr(layout.A_CHECKSUM, layout.U64.pack(binascii.crc32(body)))
    return body + wire.message(layout.END, 0, end)


def fields(line: str) -> dict[str, str]:
    return dict(field.partition("=")[::2] for field in line.split()[1:])


# ---- the form ----


def test_c_writes_what_python_writes(ask: Ask, batch: Batch, records: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Byte for byte: the same batch, with the pid of its writer and the names that it has for the namespaces."""
    written, kept = ask(*batch.writing(records), lines="keep\n")
    assert (written.split()[0], kept) == ("0", "0")
    (path,) = records.iterdir()
    data = path.read_bytes()
    sections = layout.parse(data)
    named = [section.text(layout.A_WHERE).decode() for section in sections[1:3]]
    assert all(re.fullmatch(r"fd:\d+", name) for name in named)
    pid = sections[0].number(layout.A_PID)
    monkeypatch.setattr(os, "getpid", lambda: pid)
    assert data == batch.bytes(tuple(named))


def test_python_reads_what_c_writes(ask: Ask, batch: Batch, records: Path) -> None:
    """The devices with all that an undo needs, and namespaces that are found by it."""
    ask(*batch.writing(records), lines="keep\n")
    (path,) = records.iterdir()
    sections = layout.parse(path.read_bytes())
    read = record.load(sections).devices
    assert [device.link_message for device in read] == [device.link_message for device in batch.devices]
    for mine, its in zip(batch.devices, read, strict=True):
        for name in ("host_name", "ifname", "wanted", "addresses", "depth"):
            assert getattr(its, name) == getattr(mine, name)
        for name in ("ifindex", "target_ifindex", "ifindex_unsure"):
            assert getattr(its, name) == getattr(mine, name)
    for section, namespace in zip(sections[1:3], (batch.host, batch.target), strict=True):
        netns, socket = identity.found(section)
        with netns, socket:
            assert os.path.sameopenfile(netns.fd, namespace.fd)


def test_c_reads_what_python_writes(ask: Ask, batch: Batch, tmp_path: Path) -> None:
    """All of it, the kernel's bytes included."""
    path = tmp_path / "record"
    path.write_bytes(batch.bytes())
    head, source, target, *devices = ask("parse", path)
    assert head == f"0 pid={os.getpid()} since_ms={SINCE_MS} this_boot=1 complete=0 undo=0"
    sections = layout.parse(path.read_bytes())
    numbers = ("cookie", "dev", "ino", "of_pid", "of_start", "pid_ns")
    for line, section in zip((source, target), sections[1:3], strict=True):
        found = fields(line)
        for name in numbers:
            assert int(found[name]) == section.number(getattr(layout, f"A_{name.upper()}"))
        assert bytes.fromhex(found["where"]) == section.text(layout.A_WHERE)
    assert len(devices) == 2
    for line, device in zip(devices, batch.devices, strict=True):
        found = fields(line)
        expected = (device.ifindex, device.target_ifindex, int(device.ifindex_unsure), device.depth)
        assert tuple(int(found[name]) for name in ("ifindex", "asked", "unsure", "depth")) == expected
        for name, data in (("ifname", device.ifname), ("wanted", device.wanted), ("link", device.link_message)):
            assert bytes.fromhex(found[name]) == data
        assert bytes.fromhex(found["addresses"]) == device.addresses


def test_complete_move_is_noted(ask: Ask, batch: Batch, records: Path) -> None:
    """In the record itself, for both readers; an undo takes it back, and a second version begins without."""
    with Talk(*batch.writing(records)) as mover:
        name = mover.read().split()[1]
        before = (records / name).read_bytes()
        for line, is_complete in (("complete", True), ("undo", False), ("complete", True), ("again", False)):
            assert mover.ask(line).split()[0] == "0"
            data = (records / name).read_bytes()
            assert layout.is_complete(data) == is_complete
            assert f" complete={int(is_complete)} " in ask("parse", records / name)[0]
            assert python_takes(data)
            assert (data == before) == (not is_complete)


def test_record_of_another_boot_is_known(ask: Ask, batch: Batch, tmp_path: Path, monkeypatch) -> None:
    """It can be read; whoever recovers removes it."""
    monkeypatch.setattr(layout, "boot_id", lambda: b"00000000-0000-0000-0000-000000000000")
    path = tmp_path / "record"
    path.write_bytes(batch.bytes())
    assert " this_boot=0 " in ask("parse", path)[0]


def test_what_was_to_be_preserved_is_undone(ask: Ask, batch: Batch, tmp_path: Path) -> None:
    """The move is not taken for complete: C carries nothing over."""
    plan = Plan([], True)
    plan.preserve = frozenset({"routes"})
    path = tmp_path / "record"
    path.write_bytes(batch.bytes(plan=plan))
    assert ask("parse", path)[0].endswith(" undo=1")


# ---- damage ----


def python_takes(data: bytes) -> bool:
    try:
        record.load(layout.parse(data))
    except (Damaged, EngineError):
        return False
    return True


def judged(ask: Ask, tmp_path: Path, many: list[bytes]) -> list[int]:
    """What C says of each."""
    path = tmp_path / "many"
    path.write_bytes(b"".join(struct.pack("=I", len(data)) + data for data in many))
    return [int(line) for line in ask("judge", path)]


def flips(data: bytes) -> Iterator[bytes]:
    """Each byte with one bit flipped, and with all of them."""
    for at in range(len(data)):
        for mask in (1 << at % 8, 0xFF):
            flipped = bytearray(data)
            flipped[at] ^= mask
            yield bytes(flipped)


def test_each_truncation_is_refused(ask: Ask, batch: Batch, tmp_path: Path) -> None:
    """Both refuse it, wherever it is cut."""
    data = batch.bytes()
    many = [data[:length] for length in range(len(data))]
    assert judged(ask, tmp_path, many) == [-errno.EBADMSG] * len(data)
    assert not any(map(python_takes, many))
    assert judged(ask, tmp_path, [data, data + b"\0", data + data]) == [0, -errno.EBADMSG, -errno.EBADMSG]


def test_each_flipped_byte_is_refused(ask: Ask, batch: Batch, tmp_path: Path) -> None:
    """By both; but for those of END that say nothing: flags, seq and portid, and two flags in its attribute's type."""
    data = batch.bytes()
    many = [*flips(data)]
    codes = judged(ask, tmp_path, many)
    assert [code == 0 for code in codes] == [python_takes(each) for each in many]
    end = len(data) - 28
    assert {at // 2 for at, code in enumerate(codes) if code == 0} <= {*range(end + 6, end + 16), end + 19}


def c_leaves(data: bytes) -> bool:
    """Whether it has what Python restores and C does not."""
    sections = layout.parse(data)
    others = {layout.UPPER, layout.STATE, layout.LOAN} & {section.type for section in sections}
    return bool(others) or sections[0].optional(layout.A_LENDS) is not None


def c_is_stricter(data: bytes) -> bool:
    """Whether a link has no ifindex that can be locked."""
    devices = [section for section in layout.parse(data) if section.type == layout.DEVICE]
    ifindexes = [struct.unpack_from("=i", section.body, 16 + 4)[0] for section in devices]
    return min(ifindexes) <= 0


def test_damage_with_a_right_checksum_is_judged_alike(ask: Ask, batch: Batch, tmp_path: Path) -> None:
    """A record that another program made wrongly: both take it, or neither does."""
    body = b"".join(batch.parts())
    many = [sealed(each) for each in flips(body)]
    codes = judged(ask, tmp_path, many)
    differ = 0
    for at, (code, each) in enumerate(zip(codes, many, strict=True)):
        if python_takes(each) == (code == 0):
            continue
        differ += 1
        is_left = code == -errno.EPROTO and c_leaves(each)
        assert is_left or (code == -errno.EBADMSG and c_is_stricter(each)), f"byte {at // 2}: {code}"
    assert differ < 20


@pytest.mark.parametrize(
    ("extra", "text"),
    [
        (layout.section(layout.STATE, {layout.A_KIND: b"routes"}), "use netdevns recover"),
        (layout.section(layout.LOAN, {layout.A_CONTAINER: b"c"}), "of a loan"),
    ],
    ids=["state", "loan"],
)
def test_what_only_python_restores(ask: Ask, batch: Batch, tmp_path: Path, extra: list[bytes], text: str) -> None:
    """-EPROTO, with what to do."""
    path = tmp_path / "record"
    path.write_bytes(sealed(b"".join([*batch.parts(), *extra])))
    assert python_takes(path.read_bytes())
    (line,) = ask("parse", path)
    assert line.startswith(f"{-errno.EPROTO} ")
    assert text in line


def test_upper_is_left(ask: Ask, batch: Batch, tmp_path: Path) -> None:
    """A device that lies on one of the batch and stays."""
    parts = batch.parts()
    parts[-3] = record._device_section(layout.UPPER, batch.devices[1])[0]
    assert judged(ask, tmp_path, [sealed(b"".join(parts))]) == [-errno.EPROTO]


def test_hooks_move_is_left(ask: Ask, batch: Batch, tmp_path: Path) -> None:
    """A_LENDS: a loan may have been written by it."""
    plan = Plan([], True)
    plan.loan_id = 99
    assert judged(ask, tmp_path, [batch.bytes(plan=plan)]) == [-errno.EPROTO]


def test_another_version_is_left(ask: Ask, batch: Batch, tmp_path: Path, monkeypatch) -> None:
    """Judged before anything else, which may mean something else then."""
    monkeypatch.setattr(layout, "VERSION", layout.VERSION - 1)
    data = batch.bytes()
    assert judged(ask, tmp_path, [data, data[:200]]) == [-errno.EPROTO] * 2


# ---- files ----


def write_by_python(records: Path, batch: Batch) -> str:
    """A record of a mover that died."""
    with Journal(str(records.parent), create=False) as journal:
        held = journal.write(batch.parts())
        held.close()
        return held.name


def crashed(records: Path) -> list[tuple[str, bool]]:
    with Journal(str(records.parent), create=False) as journal:
        found = []
        for each in journal.crashed():
            found.append((each.name, each.is_to_be_undone))
            each.close()
        return found


def test_record_is_held_until_it_ends(batch: Batch, records: Path) -> None:
    """While it is, neither C nor Python takes it; written again, it has its name still."""
    with Talk(*batch.writing(records)) as mover:
        code, name = mover.read().split()
        assert (code, os.listdir(records)) == ("0", [name])
        assert (records / name).stat().st_mode & 0o7777 == 0o600
        before = (records / name).stat().st_ino
        assert mover.ask("again") == f"0 {name}"
        assert os.listdir(records) == [name]
        assert (records / name).stat().st_ino != before
        assert crashed(records) == []
        with Talk("walk", records) as other:
            assert other.read() == ""
        assert mover.ask("end") == "0"
        assert os.listdir(records) == []


def test_killed_mover_leaves_its_record(batch: Batch, records: Path) -> None:
    """Both find it."""
    with Talk(*batch.writing(records)) as mover:
        name = mover.read().split()[1]
        mover.kill()
    assert crashed(records) == [(name, False)]
    with Talk("walk", records) as other:
        assert other.read() == f"0 {name}"
        assert crashed(records) == []  # the walk holds it
        assert other.ask("end") == "0"
    assert os.listdir(records) == []


def test_kept_record_is_to_be_undone(ask: Ask, batch: Batch, records: Path) -> None:
    """Its name says so, to both; and is not changed again."""
    name = ask(*batch.writing(records), lines="keep\n")[0].split()[1] + ".undo"
    assert crashed(records) == [(name, True)]
    assert ask("walk", records, lines="keep\n") == [f"0 {name} undo", "0"]
    assert os.listdir(records) == [name]


def test_closed_record_keeps_its_name(ask: Ask, batch: Batch, records: Path) -> None:
    """For another try."""
    name = write_by_python(records, batch)
    assert ask("walk", records, lines="close\n") == [f"0 {name} "]
    assert ask("walk", records, lines="end\n") == [f"0 {name} ", "0"]


def test_record_that_python_holds_is_passed_over(ask: Ask, batch: Batch, records: Path) -> None:
    with Journal(str(records.parent), create=False) as journal:
        held = journal.write(batch.parts())
        assert ask("walk", records) == []
        held.close()


def test_newest_record_comes_first(ask: Ask, records: Path) -> None:
    """By their time and not their names: where two name a device, the older one has its first state."""
    for name, age_s in (("b", 30), ("c", 20), ("a", 10)):
        (records / name).write_bytes(b"")
        os.utime(records / name, (time.time() - age_s,) * 2)
    printed = ask("walk", records, lines="close\n" * 3)
    assert printed == [f"{-errno.EBADMSG} {name} it is truncated" for name in "acb"]


def test_unnamed_rests_are_removed(ask: Ask, records: Path) -> None:
    """But not one of a writer that may be about to lock it."""
    assert ask("walk", records) == []  # builds the program, which takes longer than the young one stays young
    for name, age_s in ((".old", 20), (".young", 0)):
        (records / name).write_bytes(b"")
        os.utime(records / name, (time.time() - age_s,) * 2)
    assert ask("walk", records) == []
    assert os.listdir(records) == [".young"]


@pytest.mark.parametrize("what", ["symlink", "folder", "fifo", "hard link", "mode", "owner"])
def test_what_is_not_ours_is_reported(ask: Ask, records: Path, tmp_path: Path, what: str) -> None:
    """-EPERM, with why; it is not opened for that, and the walk goes on."""
    path, other = records / "x", tmp_path / "other"
    other.write_bytes(b"")
    make = {
        "symlink": lambda: path.symlink_to(other),
        "folder": path.mkdir,
        "fifo": lambda: os.mkfifo(path),
        "hard link": lambda: path.hardlink_to(other),
        "mode": lambda: (path.touch(), path.chmod(0o622)),
        "owner": lambda: (path.touch(), os.chown(path, 1, 1)),
    }
    try:
        make[what]()
    except PermissionError as e:
        require("netns", f"chown: {e.strerror}")
    texts = {"hard link": "it has another name, too: a hard link", "mode": "others may write to it"}
    texts["owner"] = "belongs to another user"
    (records / "y").touch()
    printed = ask("walk", records, lines="close\n")
    expected = [f"-1 x {texts.get(what, 'no regular file')}", f"{-errno.EBADMSG} y it is truncated"]
    assert sorted(printed) == sorted(expected)


def test_too_large_a_file_is_not_read(ask: Ask, records: Path) -> None:
    with (records / "x").open("wb") as file:
        file.truncate((16 << 20) + 1)
    assert ask("walk", records, lines="close\n") == [f"{-errno.EBADMSG} x it is larger than a record can be"]


def test_directory_of_others_is_refused(ask: Ask, batch: Batch, records: Path) -> None:
    """To write to, and to read."""
    records.chmod(0o770)
    text = "the directory of records must belong to this user and not be writable by others (chmod 0700)"
    assert ask(*batch.writing(records)) == [f"-1 {text}"]
    assert ask("walk", records) == [f"-1 {text}"]
    assert os.listdir(records) == []


def test_works_without_o_tmpfile(batch: Batch, records: Path, tmp_path: Path) -> None:
    """On a file system that has none: a name with a dot, and then its own."""
    if shutil.which("strace") is None:
        require("compilers", "there is no strace")
    program = BUILDS["gcc"].program("records")
    # The directory itself is opened first.
    fault = ["strace", "-o", str(tmp_path / "log"), "-P", str(records), "-e", "inject=openat:error=EOPNOTSUPP:when=2"]
    argv = [*fault, str(program), *map(str, batch.writing(records))]
    done = subprocess.run(argv, input="close\n", capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.startswith("0 "), done
    (name,) = os.listdir(records)
    assert not name.startswith(".")
    assert python_takes((records / name).read_bytes())
    assert re.search(r"O_TMPFILE.*EOPNOTSUPP", (tmp_path / "log").read_text())


# ---- identities ----


def recorded(batch: Batch, tmp_path: Path, where: str = "fd:9") -> Path:
    path = tmp_path / "record"
    path.write_bytes(batch.bytes(("fd:8", where)))
    return path


def number_of(namespace: Namespace) -> str:
    status = os.fstat(namespace.fd)
    return f"{status.st_dev}:{status.st_ino}"


def test_namespaces_are_found(ask: Ask, batch: Batch, tmp_path: Path) -> None:
    """The one that the caller is in, and one that only a descriptor of another process keeps."""
    path = recorded(batch, tmp_path)
    assert ask("find", path) == [f"source 0 {number_of(batch.host)}", f"target 0 {number_of(batch.target)}"]


@pytest.mark.parametrize("how", ["process", "mount", "escaped mount", "path"])
def test_namespace_is_found_by(ask: Ask, batch: Batch, tmp_path: Path, how: str) -> None:
    """What alone keeps it: a process in it, a mount of nsfs (also with white space in its path), the recorded path."""
    place = tmp_path / ("a\tplace \\" if "escaped" in how else "place")
    path, number = recorded(batch, tmp_path, str(place) if how == "path" else "fd:9"), number_of(batch.target)
    with contextlib.ExitStack() as stack:
        if how == "process":
            with batch.target.entered():
                process = stack.enter_context(subprocess.Popen(["sleep", "100"]))
            stack.callback(process.kill)
        else:
            place.touch()
            mount = ["mount", "--bind", f"/proc/{os.getpid()}/fd/{batch.target.fd}", str(place)]
            if subprocess.run(mount, check=False).returncode:
                require("netns", "no right to mount")
            stack.callback(subprocess.run, ["umount", str(place)], check=True)
        batch.target.close()
        assert ask("find", path)[1] == f"target 0 {number}"


def test_namespace_that_is_gone(ask: Ask, batch: Batch, tmp_path: Path) -> None:
    """-ENOENT, and for nothing else: its record is removed then."""
    path = recorded(batch, tmp_path)
    batch.target.close()
    assert ask("find", path)[1] == f"target {-errno.ENOENT} the namespace is gone"


def test_reused_inode_is_another_namespace(ask: Ask, batch: Batch, tmp_path: Path) -> None:
    """One that has the recorded inode, and another cookie."""
    path = recorded(batch, tmp_path)
    source = layout.parse(path.read_bytes())[1]
    cookie = layout.NUMBER.pack(12, layout.A_COOKIE, source.number(layout.A_COOKIE))
    body = b"".join(batch.parts())
    assert body.count(cookie) == 1
    path.write_bytes(sealed(body.replace(cookie, layout.NUMBER.pack(12, layout.A_COOKIE, 1 << 60))))
    assert ask("find", path)[0] == f"source {-errno.ENOENT} the namespace is gone"


def test_other_pid_namespace_is_not_gone(ask: Ask, batch: Batch, tmp_path: Path, monkeypatch) -> None:
    """Where its processes cannot be seen, nothing can be said."""
    real = os.stat

    def stat(path, *arguments, **named):
        if path == identity.PID_NS:
            return type("Status", (), {"st_ino": 1})()
        return real(path, *arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", stat)
        data = batch.bytes()
    path = tmp_path / "record"
    path.write_bytes(data)
    batch.target.close()
    assert ask("find", path)[1].startswith(f"target {-errno.ESRCH} it was recorded in another pid namespace")


# ---- locks ----


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """One that does not exist yet."""
    return tmp_path / "locks"


def exclusion(directory: Path, wait_s: float = 0) -> Exclusion:
    return Exclusion(Patience(wait_s), str(directory), is_must=True)


def locker(directory: Path, namespace: Namespace, wait_ms: int = 0) -> Talk:
    return Talk("lock", directory, f"/proc/{os.getpid()}/fd/{namespace.fd}", str(wait_ms))


def test_c_excludes_python(host: Namespace, directory: Path) -> None:
    """From the first of its devices on; the holder's process is known, and its death releases them."""
    with locker(directory, host) as other, exclusion(directory) as mine, NetNS.open(host.fd) as netns:
        assert other.ask("hold 4 5 6 9") == "1 0 0"
        assert directory.stat().st_mode & 0o7777 == 0o700
        for asked, busy in (({2, 3, 6, 7}, 6), ({9}, 9), ({3, 4}, 4)):
            with pytest.raises(Busy) as e:
                mine.hold(netns, asked)
            assert (e.value.ifindex, e.value.pid) == (busy, other.pid)
        assert mine.hold(netns, {7, 8})
        other.kill()
        assert mine.hold(netns, {4, 5, 6, 9})


def test_python_excludes_c(host: Namespace, directory: Path) -> None:
    """The same the other way round; after that C holds none of its devices any more."""
    with locker(directory, host) as other, NetNS.open(host.fd) as netns:
        with exclusion(directory) as mine:
            assert mine.hold(netns, {4, 5, 6, 9})
            assert other.ask("hold 2 3") == "1 0 0"
            assert other.ask("hold 2 3 6 7") == f"{-errno.EBUSY} 6 {os.getpid()}"
            assert mine.hold(netns, {2, 3})
            assert other.ask("hold 9") == f"{-errno.EBUSY} 9 {os.getpid()}"
        assert other.ask("hold 2 3 6 7 9") == "1 0 0"


def test_more_are_held_besides(host: Namespace, directory: Path) -> None:
    """0 where nothing is new; released, all are free."""
    with locker(directory, host) as other, exclusion(directory) as mine, NetNS.open(host.fd) as netns:
        assert other.ask("hold 5") == "1 0 0"
        assert other.ask("hold 5") == "0 0 0"
        assert other.ask("hold 3 8") == "1 0 0"
        assert other.ask("hold 3 5 8") == "0 0 0"
        for each in (3, 5, 8):
            with pytest.raises(Busy):
                mine.hold(netns, {each})
        assert other.ask("release") == "0"
        assert mine.hold(netns, {3, 5, 8})


def test_another_mover_is_waited_for(host: Namespace, directory: Path) -> None:
    """No longer than was asked, and no longer than it takes."""
    with locker(directory, host, 300) as first, locker(directory, host) as other:
        assert other.ask("hold 5") == "1 0 0"
        began = time.monotonic()
        assert first.ask("hold 5") == f"{-errno.EBUSY} 5 {other.pid}"
        assert 0.29 <= time.monotonic() - began < 5
    with locker(directory, host, 60000) as first, locker(directory, host) as other:
        assert other.ask("hold 5") == "1 0 0"
        first.process.stdin.write("hold 5\n")
        first.process.stdin.flush()
        time.sleep(0.05)
        other.kill()
        assert first.read() == "1 0 0"


def test_mover_that_died_is_not_named(host: Namespace, directory: Path) -> None:
    """A holder that could not write its pid is another process than the one that did."""
    with locker(directory, host) as other:
        assert other.ask("hold 5") == "1 0 0"
        (path,) = directory.iterdir()
        ended = subprocess.Popen(["true"])
        ended.wait()
        with path.open("r+b") as file:
            file.seek(4 * 5)
            file.write(struct.pack("=I", ended.pid))
        with locker(directory, host) as mine:
            assert mine.ask("hold 5") == f"{-errno.EBUSY} 5 0"


def test_arrived_ifindexes_are_held(host: Namespace, directory: Path) -> None:
    """As far as they are free, and without waiting."""
    with locker(directory, host, 60000) as other, exclusion(directory) as mine, NetNS.open(host.fd) as netns:
        assert mine.hold(netns, {7})
        assert other.ask("arrive 0 5 6 7") == "0"
        for each in (5, 6):
            with pytest.raises(Busy) as e:
                mine.hold(netns, {each})
            assert e.value.pid == other.pid
        assert other.ask("release") == "0"
        assert mine.hold(netns, {5, 6, 7})


def test_lock_is_of_one_namespace(host: Namespace, target: Namespace, directory: Path) -> None:
    """The same ifindexes of another one are free."""
    with locker(directory, host) as first, locker(directory, target) as other:
        assert first.ask("hold 5") == "1 0 0"
        assert other.ask("hold 5") == "1 0 0"
        assert first.ask("hold 6 5") == f"{-errno.EINVAL} 0 0"


@pytest.mark.parametrize("what", ["symlink", "mode", "file"])
def test_directory_of_locks_is_ours(host: Namespace, directory: Path, tmp_path: Path, what: str) -> None:
    """Another one is refused, as by Python."""
    codes = {"symlink": -errno.ENOTDIR, "mode": -errno.EPERM, "file": -errno.ENOTDIR}
    if what == "symlink":
        (tmp_path / "real").mkdir(mode=0o700)
        directory.symlink_to(tmp_path / "real")
    elif what == "mode":
        directory.mkdir()
        directory.chmod(0o777)
    else:
        directory.touch()
    with locker(directory, host) as mine:
        assert mine.ask("hold 5") == f"{codes[what]} 0 0"
    with exclusion(directory) as its, NetNS.open(host.fd) as netns, pytest.raises(OSError) as e:  # noqa: PT011
        its.hold(netns, {5})
    assert -e.value.errno == codes[what]


def test_lock_file_is_no_link(host: Namespace, directory: Path, tmp_path: Path) -> None:
    """A symbolic link is not followed."""
    directory.mkdir(mode=0o700)
    (directory / f"{os.fstat(host.fd).st_ino}.lock").symlink_to(tmp_path / "elsewhere")
    with locker(directory, host) as mine:
        assert mine.ask("hold 5") == "-1 0 0"
    assert not (tmp_path / "elsewhere").exists()


# ---- fuzzing ----

SECONDS = 60 if LONG else 3
FUZZERS = {"clang": LIBFUZZER, "gcc": FUZZ_LOOP}


@pytest.mark.sampled(1, 2)
@pytest.mark.thorough
@pytest.mark.timeout(300)
@pytest.mark.parametrize("compiler", FUZZERS)
def test_fuzzed_records_are_refused_or_whole(compiler: str, batch: Batch, tmp_path: Path, show) -> None:
    """No wrong access and no hang; what is taken is the same when it is written and read again."""
    BUILDS["clang" if compiler == "clang" else "gcc-sanitized"].check()
    program = FUZZERS[compiler].link("fuzz-records", (HERE / "fuzz_records.c",))
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for how in range(2):
        (corpus / str(how)).write_bytes(bytes([how]) + batch.bytes())
    if compiler == "clang":
        found = tmp_path / "found"
        found.mkdir()
        argv = [f"-max_total_time={SECONDS}", "-max_len=16384", "-len_control=0", "-timeout=10", "-rss_limit_mb=1024",
                "-print_final_stats=1", str(found), str(corpus)]  # fmt: skip
    else:
        argv = [str(SECONDS), *map(str, corpus.iterdir())]
    done = subprocess.run([str(program), *argv], cwd=tmp_path, capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-8000:]
    said = re.search(r"number_of_executed_units: (\d+)|^(\d+) inputs$", done.stdout + done.stderr, re.MULTILINE)
    inputs = int(said[1] or said[2])
    show(f"fuzz, records, {compiler}: {inputs} inputs in {SECONDS} s, 0 crashes, 0 hangs")
    assert inputs >= 100 * SECONDS

"""Records across C and Python: a move that was killed in one is recovered in the other, and nothing is lost.

NETDEVNS_FAULTS_ALL=1: at each system call there is, not at a part of them.
"""

from __future__ import annotations

import functools
import json
import os
import shlex
import shutil
import signal
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from netdevns.recovery import layout
from tests.csrc import compilers
from tests.fault.attack import UNDONE
from tests.runtimes.container import Machine
from tests.support import require, scene
from tests.support.attacks import AS_BEFORE, COMPLETE, FULL, UNREACHED, Ended, Tally, finish, sample, traced
from tests.support.readme import DOCS, commands

# All numbers are given, so that scenes are equal. Nothing here is state that C does not restore.
FURNISH = """
    link set lo up
    link add eth1 index 4711 address 02:00:00:00:00:01 mtu 1400 type ifb
    link add low index 4713 address 02:00:00:00:00:03 type veth peer name lowp index 4723 address 02:00:00:00:00:23
    link property add dev eth1 altname enp1
    link set eth1 alias uplink up
    link set lowp up
    link set low up
    addr add 10.0.0.1/24 brd + label eth1:vip dev eth1
    addr add 10.0.0.2/24 dev eth1
    addr add 10.2.0.1/24 scope link dev eth1
    addr add 2001:db8::1/64 nodad dev eth1
    addr add 2001:db8::2/64 nodad preferred_lft 0 dev eth1
    addr add fe80::1/64 nodad dev eth1
    addr add 10.3.0.1/24 metric 7 dev low
    addr add 2001:db8:3::1/64 nodad dev low
    token set ::77 dev low
"""
SYSCTLS = {"ipv4/conf/eth1/proxy_arp": 1, "ipv6/conf/low/accept_ra": 2, "ipv6/conf/low/hop_limit": 9}
# On top of one of them. Its MAC address is in the filter of the lower one, which for Python is state.
MACVLAN = """
    link add mv0 index 4714 address 02:00:00:00:00:04 link low type macvlan mode bridge
    link set mv0 up
    addr add 10.4.0.1/24 dev mv0
    addr add 2001:db8:4::1/64 nodad dev mv0
"""
# What only Python restores.
STATE = """
    route add 192.0.2.0/24 via 10.0.0.9
    route add 2001:db8:77::/48 via 2001:db8:3::9
    neigh add 10.0.0.77 lladdr 02:00:00:00:00:77 nud permanent dev eth1
"""
DEVICES = {"eth1": "net0", "low": "eth%d"}
STACKED = DEVICES | {"mv0": "net1"}
RECORDS = "/run/netdevns/txn"
PYTHON = (sys.executable, "-P", "-m", "netdevns")
PYTHON_RECOVERS = (*PYTHON, "recover", "--json")
EMBEDDING = DOCS / "embedding.md"
KEPT = "netdevns recover"  # what C says of a record that it leaves


@functools.cache
def mover() -> str:
    """across/mover.c."""
    build = compilers.BUILDS["gcc"]
    build.check()
    return str(build.link("mover", (Path(__file__).parent / "across/mover.c",)))


class Scene(scene.Scene):
    """A machine with devices, and a target."""

    def __init__(self, more: str) -> None:
        self._more = more
        super().__init__()

    def _make(self) -> None:
        try:
            self.machine = self.stack.enter_context(Machine(self.host))
        except OSError as e:
            require("netns", str(e))
        self.target = self.namespace("target")
        self.host.batch(FURNISH + self._more)
        for name, value in SYSCTLS.items():
            self.host.sysctl(name, value)
        self.records = self.machine.path(RECORDS)
        for folder in (self.records.parent, self.records):
            folder.mkdir(mode=0o700)

    @property
    def path(self) -> str:
        """Of the target, as any process knows it."""
        return f"/proc/{os.getpid()}/fd/{self.target.fd}"

    def run(self, argv: tuple[str, ...], *inject: str) -> Ended:
        """On the machine, under strace where it is to be disturbed; without injections all calls are listed."""
        return traced(lambda under: self._popen((*under, *argv)), *inject)[0]

    def quick(self, argv: tuple[str, ...]) -> Ended:
        """On the machine, undisturbed."""
        out, err, code = finish(self._popen(argv))
        return Ended(code, out, err, [], 0, 0)

    def _popen(self, argv: tuple[str, ...]) -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        return self.machine.popen(argv, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True)  # type: ignore[return-value]

    def left(self) -> list[str]:
        """Records."""
        return sorted(os.listdir(self.records))


def c_moves(on: Scene, devices: list[str]) -> tuple[str, ...]:
    return (mover(), "move", "0", RECORDS, on.path, *devices)


def python_moves(on: Scene, devices: list[str]) -> tuple[str, ...]:
    return (*PYTHON, "move", *devices, "--to", on.path, "--json")


def c_recovers(undo_complete: int) -> tuple[str, ...]:
    return (mover(), "recover", str(undo_complete), RECORDS)


def kill_at(call: str, number: int) -> str:
    return f"{call}:signal=KILL:when={number}"


def without_state(record: bytes) -> bytes:
    """The same record, without what only Python restores: docs/records.md."""
    kept, at, is_state = b"", 0, False
    while True:
        length, type_ = struct.unpack_from("=IH", record, at)
        if type_ == layout.END:
            return kept + record[at : at + 20] + struct.pack("=Q", zlib.crc32(kept))
        is_state = type_ == layout.STATE if type_ >= layout.HEAD else is_state
        end = at + ((length + 3) & ~3)
        kept += b"" if is_state else record[at:end]
        at = end


class Attacks(scene.OnScene[Scene]):
    """Kills of one kind of move, each on a scene that is as it was; a context manager."""

    def __init__(
        self, job: Callable[[Scene, list[str]], tuple[str, ...]], devices: dict[str, str], more: str = ""
    ) -> None:
        super().__init__(lambda: Scene(more))
        self._job = job
        self._devices = devices
        self.clean = self.scene.run(self.argv)
        assert (self.clean.code, self.clean.err) == (0, ""), self.clean
        assert self.scene.target.names() == {name.replace("%d", "0") for name in devices.values()}
        assert not self.scene.left()
        self.scene.target.wait_until_quiet()
        self.complete = self.scene.state()
        self.renew()

    @property
    def argv(self) -> tuple[str, ...]:
        """The move."""
        return self._job(self.scene, [f"{name}={wanted}" for name, wanted in self._devices.items()])

    def points(self, before: int, after: int) -> list[str]:
        """Kills at so many calls of its own work before there is a record, and at so many from then on."""
        own = self.clean.own
        begin = [call for call, _ in own].index("linkat")
        return [kill_at(*each) for each in (*sample(own[:begin], before), *sample(own[begin:], after))]

    def late_send(self) -> str:
        """A kill when all has moved, and not much more."""
        sends = self.clean.numbers("sendto")
        return kill_at("sendto", sends[len(sends) * 3 // 4])

    def kill(self, tally: Tally, inject: str) -> bool:
        """One move; whether it was killed."""
        ended = self.scene.run(self.argv, inject)
        if ended.code == -signal.SIGKILL:
            return True
        tally.count(inject, UNREACHED, [] if ended.code == 0 else ["it failed"], ended)
        self.renew()
        return False

    def judge(self, tally: Tally, what: str, argv: tuple[str, ...], *, undoes_complete: bool = False) -> None:
        """A recovery by `argv`: all is as before, or complete, and no record is left."""
        on = self.scene
        had_record = bool(on.left())
        untouched = not on.differences(on.before, timeout_s=0)
        ended = on.quick(argv)
        changed = on.differences(on.before, self.complete)
        end = COMPLETE if on.target.names() else AS_BEFORE if untouched else UNDONE
        wrong = changed + [f"left: {name}" for name in on.left()]
        if (ended.code, ended.err) != (0, ""):
            wrong.append("the recovery failed")
        if end == COMPLETE and had_record and undoes_complete:
            wrong.append("it was to be undone")
        tally.count(what, end, wrong, ended)
        if wrong or end == COMPLETE:
            self.renew()


@pytest.fixture(scope="module", autouse=True)
def strace() -> None:
    if not shutil.which("strace"):
        require("netns", "no strace here")


@pytest.fixture(scope="module")
def of_c() -> Iterator[Attacks]:
    """A move in C."""
    with Attacks(c_moves, STACKED, MACVLAN) as found:
        yield found


@pytest.fixture(scope="module")
def of_python() -> Iterator[Attacks]:
    """A move in Python of devices without further state."""
    with Attacks(python_moves, DEVICES) as found:
        yield found


@pytest.fixture(scope="module")
def of_python_with_state() -> Iterator[Attacks]:
    with Attacks(python_moves, STACKED, MACVLAN + STATE) as found:
        yield found


@pytest.mark.thorough
@pytest.mark.timeout(1800)
def test_move_in_c_is_killed(of_c: Attacks, tally: Tally) -> None:
    """At any call; Python restores, or finds complete, what C recorded."""
    for inject in of_c.points(*((10, 30) if FULL else (6, 20))):
        if of_c.kill(tally, inject):
            of_c.judge(tally, inject, PYTHON_RECOVERS)
    assert {AS_BEFORE, UNDONE, COMPLETE} <= {*tally.ends}


@pytest.mark.thorough
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("undo_complete", [0, 1])
def test_move_and_recovery_in_c(of_c: Attacks, tally: Tally, undo_complete: int) -> None:
    """At any call; with undo_complete nothing stays in the target for which there is a record."""
    for inject in of_c.points(20, 200):
        if of_c.kill(tally, inject):
            of_c.judge(tally, inject, c_recovers(undo_complete), undoes_complete=bool(undo_complete))
    assert {AS_BEFORE, UNDONE, COMPLETE} <= {*tally.ends}


@pytest.mark.thorough
@pytest.mark.timeout(1800)
def test_move_in_python_is_killed(of_python: Attacks, tally: Tally) -> None:
    """C restores, or finds complete, what Python recorded of devices, links and addresses.

    Python's records hold the kernel's own routes and parameters, too, as state, which here is taken out of them.
    """
    for inject in of_python.points(*((4, 20) if FULL else (3, 15))):
        if of_python.kill(tally, inject):
            on = of_python.scene
            for path in (on.records / name for name in on.left()):
                path.write_bytes(without_state(path.read_bytes()))
            of_python.judge(tally, inject, c_recovers(0))
    assert {AS_BEFORE, UNDONE, COMPLETE} <= {*tally.ends}


@pytest.mark.thorough
@pytest.mark.timeout(1800)
def test_c_leaves_state_to_python(of_python_with_state: Attacks, tally: Tally) -> None:
    """It keeps such a record, touches nothing, and names the command that recovers it; which does."""
    kept = 0
    for inject in of_python_with_state.points(2, 15 if FULL else 10):
        if not of_python_with_state.kill(tally, inject):
            continue
        on = of_python_with_state.scene
        records, now = [(name, (on.records / name).read_bytes()) for name in on.left()], on.state()
        ended = on.quick(c_recovers(1))
        wrong = on.differences(now)
        if records != [(name, (on.records / name).read_bytes()) for name in on.left()]:
            wrong.append("the record has changed")
        if ended.code != (3 if records else 0) or (KEPT in ended.err) != bool(records):
            wrong.append("C says something else")
        if records and not (KEPT in ended.out and records[0][0] in ended.out):
            wrong.append("its report does not name the record and the command")
        kept += bool(records)
        if wrong:
            tally.count(inject, "not left to Python", wrong, ended)
            of_python_with_state.renew()
        else:
            of_python_with_state.judge(tally, inject, PYTHON_RECOVERS)
    assert kept
    assert tally.ends[UNDONE]


@pytest.mark.thorough
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param(lambda: c_recovers(0), lambda: PYTHON_RECOVERS, id="C, then Python"),
        pytest.param(lambda: PYTHON_RECOVERS, lambda: c_recovers(0), id="Python, then C"),
    ],
)
def test_recovery_is_killed(
    of_c: Attacks, tally: Tally, first: Callable[[], tuple[str, ...]], second: Callable[[], tuple[str, ...]]
) -> None:
    """The other one ends what it began."""
    killed = of_c.late_send()
    assert of_c.kill(tally, killed)
    calls = of_c.scene.run(first()).own
    of_c.scene.host.wait_until_quiet()
    for call, number in sample(calls, 10):
        if of_c.kill(tally, killed):
            of_c.scene.run(first(), kill_at(call, number))
            of_c.judge(tally, f"{killed}; recovery: {call} {number}", second())
    assert tally.ends[UNDONE]


def test_kept_record_is_handed_to_python(of_python_with_state: Attacks, tally: Tally) -> None:
    """A record that C keeps is recovered by the commands of docs/embedding.md."""
    on, folder = of_python_with_state.scene, "/run/runtime/records"
    assert of_python_with_state.kill(tally, of_python_with_state.late_send())
    (record,) = on.left()
    assert on.quick(("sh", "-c", f"mkdir -p -m 700 {folder} && mv {RECORDS}/{record} {folder}")).code == 0
    on.records.rmdir()
    assert on.quick((mover(), "recover", "1", folder)).code == 3
    (lines,) = (block for block in commands(EMBEDDING) if block[-1] == "netdevns recover")
    lines = [line.replace("RECORD", record) for line in lines]
    lines[-1] = shlex.join(PYTHON_RECOVERS)
    ended = on.quick(("sh", "-ec", "\n".join(lines)))
    assert (ended.code, ended.err) == (0, ""), ended
    assert not on.differences(on.before)
    assert on.left() == []
    tally.count("handed over", UNDONE, [])


@pytest.mark.thorough
def test_python_lists_records_of_c(of_c: Attacks, tally: Tally) -> None:
    """Each with its devices and the names they were to have, until it is recovered."""
    on = of_c.scene
    assert of_c.kill(tally, of_c.late_send())
    (record,) = on.left()
    shown = json.loads(on.quick((*PYTHON, "recover", "--list", "--json")).out)
    devices = "mv0 -> net1, eth1 -> net0, low -> eth%d"
    assert shown == {"pending": [f"{RECORDS}/{record}: {devices}"], "running": 0, "set_aside": []}
    listed = on.quick((*PYTHON, "recover", "--list"))
    assert (listed.code, listed.err) == (0, "")
    assert devices in listed.out
    recovered = json.loads(on.quick(PYTHON_RECOVERS).out)["recovered"]
    assert [each["device"] for each in recovered] == ["mv0", "eth1", "low"]
    assert {each["outcome"] for each in recovered} == {"undone"}
    assert not on.differences(on.before)
    shown = json.loads(on.quick((*PYTHON, "recover", "--list", "--json")).out)
    assert shown == {"pending": [], "running": 0, "set_aside": []}
    tally.count("list", UNDONE, [])

"""The hook in C: what it does itself, what it hands over, and that nothing is lost when it is killed or interrupted.

The tests of the hook in Python run with this one, too, where NETDEVNS_HOOK is "static": tests/runtimes, tests/hostile.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from netdevns.recovery import layout, loans
from netdevns.recovery.layout import Section
from tests.fault.reasons import Place
from tests.support.attacks import FULL, Ended, finish, sample, traced
from tests.support.processes import wait_until

from .built import program

LOAN = Path("/run/netdevns/loan/c1")
WAYS = ["gcc-sanitized"]


class Hooked(Place):
    """One device without state that C does not restore, a container's process, and a bundle that asks for it."""

    def _make(self) -> None:
        super()._make()
        self.host.ip("route del 192.0.2.0/24")

    def container(self) -> dict[str, object]:
        """Its state, as the hook gets it."""
        return {
            "ociVersion": "1.3.0",
            "id": "c1",
            "status": "created",
            "pid": self.process.pid,
            "bundle": str(self.bundle),
        }

    def hook(
        self, stage: str = "createRuntime", *arguments: str, inject: tuple[str, ...] = (), way: str = WAYS[0]
    ) -> Ended:
        """The hook in C, under strace."""
        argv = [str(program(way)), stage, *arguments]
        # LeakSanitizer cannot trace a process that is traced.
        environment = {"ASAN_OPTIONS": "detect_leaks=0"}
        stdin = json.dumps(self.container())
        return traced(lambda under: self.start(argv, stdin, under, **environment), *inject)[0]

    def python_hook(self) -> None:
        out, err, code = finish(self.python("-m", "netdevns", "hook", "createRuntime"))
        assert (out, err, code) == ("", "", 0)

    def is_home(self) -> bool:
        """Whether the device is as it was, once the kernel is done."""
        wait_until(lambda: "eth1" in self.host.names(), "the device is in the host", 5)
        addresses = {a.address for a in self.host.addresses("eth1")}
        return self.host.links()["eth1"].up and {"10.0.0.1", "2001:db8::1"} <= addresses

    def is_complete(self) -> bool:
        names = self.target.names()
        return "net0" in names and {"10.0.0.1", "2001:db8::1"} <= {a.address for a in self.target.addresses("net0")}


@pytest.fixture
def place() -> Iterator[Hooked]:
    with Hooked("native") as found:
        yield found


def sections(path: Path = LOAN) -> list[Section]:
    return layout.parse(path.read_bytes())


def moved(section: Section) -> tuple[object, ...]:
    """What a loan says of a device."""
    texts = (layout.A_HOST_NAME, layout.A_IFNAME, layout.A_WANTED)
    return *map(section.text, texts), section.ifindex(layout.A_IFINDEX) > 0, len(section.body) > 0


# ---- what it does itself -------------------------------------------------------------------------------------------


def test_device_arrives(place: Hooked) -> None:
    """It is there with its addresses; the loan says what the one of Python says; no record is left."""
    ended = place.hook()
    assert (ended.code, ended.out, ended.err) == (0, "", "")
    assert place.is_complete()
    ours = sections()
    assert [os.path.basename(p) for p in place._records()] == ["c1"]
    pid = place.process.pid
    place.close()
    with Hooked("native") as other:
        other.python_hook()
        theirs = sections()
    assert loans.container_of(ours) == loans.container_of(theirs) == "c1"
    devices = [[moved(s) for s in each if s.type == layout.DEVICE] for each in (ours, theirs)]
    assert devices[0] == devices[1] == [(b"eth1", b"eth1", b"net0", True, True)]
    (target,) = (s for s in ours if s.type == layout.TARGET)
    assert target.number(layout.A_OF_PID) == pid
    # What Python's has besides are tables with nothing but the kernel's own: C moves no device that has more.
    assert {s.type for s in theirs} - {s.type for s in ours} <= {layout.STATE}


@pytest.mark.parametrize("is_python", [False, True])
def test_lost_addresses_and_labels(place: Hooked, is_python: bool) -> None:
    """A line in the log, the same from both hooks: in the order of their scopes, lifetimes and labels last."""
    (place.bundle / "config.json").write_text('{"linux": {"netDevices": {"eth1": {"name": "network0"}}}}')
    place.host.batch(
        """
        address add 10.7.0.1/24 valid_lft 5000 preferred_lft 4000 dev eth1
        address add 10.8.0.1/24 scope host dev eth1
        address add 10.9.0.1/24 scope link dev eth1
        address add 10.9.1.1/24 scope link dev eth1
        address add 10.5.0.1/24 label eth1:0123456789 dev eth1
        """
    )
    if is_python:
        place.python_hook()
    else:
        assert place.hook().code == 0
    lost = "2 addresses of link scope, 1 address of host scope, 1 address with a lifetime, 1 label"
    (line,) = Path(LOG).read_text().splitlines()
    assert line.endswith(f" c1: eth1: not carried: {lost}"), line


def test_nothing_to_do(place: Hooked) -> None:
    """Without devices it makes nothing, and neither does poststop."""
    (place.bundle / "config.json").write_text('{"linux": {"namespaces": [{"type": "network"}]}}')
    for stage in ("createRuntime", "poststop"):
        ended = place.hook(stage)
        assert (ended.code, ended.out, ended.err) == (0, "", "")
        assert "execve" not in ended.calls[1:]
    assert not Path("/run/netdevns").exists()


def test_device_that_a_runtime_has_moved(place: Hooked) -> None:
    """It is left out, and the others move."""
    place.host.batch(["link add eth2 type ifb", "link add eth3 type ifb"])
    place.host.ip("link set eth2 name net2")
    place.host.give("net2", place.target)
    ended = place.hook("createRuntime", "eth2=net2", "eth3")
    assert (ended.code, ended.err) == (0, "")
    assert place.target.names() >= {"net0", "net2", "eth3"}
    (section, other) = (s for s in sections() if s.type == layout.DEVICE)
    assert {section.text(layout.A_IFNAME), other.text(layout.A_IFNAME)} == {b"eth1", b"eth3"}


# ---- what it hands over ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prepare", "code"),
    [
        ("route add default via 10.0.0.9", 0),  # the operator named the device: it may carry one
        ("route add 198.51.100.0/24 via 10.0.0.9", 0),
        ("link set eth1 name eth7", 2),
    ],
)
def test_handed_over(place: Hooked, prepare: str, code: int) -> None:
    """State that C does not restore, and what is refused: Python's hook does it, or says why not."""
    if "name" in prepare:
        place.host.ip("link set eth1 down")
    place.host.ip(prepare)
    ended = place.hook()
    assert ended.code == code, ended
    assert ended.calls.count("execve") > 1
    if code:
        assert ended.err.startswith("netdevns: eth1: no such device in this network namespace\n")
    else:
        assert any(s.type == layout.STATE for s in sections())


def test_container_of_before(place: Hooked) -> None:
    """A loan that names the device, and poststop of a container that has one."""
    place.python_hook()
    place.host.ip("link add eth1 type ifb")
    for stage in ("createRuntime", "poststop"):
        assert place.hook(stage).calls.count("execve") > 1


def run_alone(folder: Path, place: Hooked, stage: str) -> tuple[int, list[str]]:
    """Exit code and lines of a hook that nothing is beside; they are on stderr and in the log."""
    alone = folder / "netdevns-hook"
    alone.write_bytes(program("gcc").read_bytes())
    alone.chmod(0o755)
    state = json.dumps(place.container())
    with place.host.entered():
        done = subprocess.run([alone, stage], input=state, capture_output=True, text=True, check=False)
    assert done.stdout == ""
    log = [line.split(" c1: ", 1)[1] for line in Path("/run/netdevns/hook.log").read_text().splitlines()]
    assert done.stderr.splitlines() == [f"netdevns: {line}" for line in log]
    return done.returncode, log


def missing(folder: Path) -> str:
    return f"{folder}/netdevns: cannot be started: No such file or directory; install netdevns there again"


def test_alone(place: Hooked, tmp_path: Path) -> None:
    """Where no netdevns is beside it, it says in a line why nothing was touched."""
    place.host.ip("link set eth1 down")
    place.host.ip("link set eth1 name eth7")
    assert run_alone(tmp_path, place, "createRuntime") == (
        2,
        ["eth1: no such device", missing(tmp_path), "nothing was touched"],
    )


def test_alone_when_the_container_ends(place: Hooked, tmp_path: Path) -> None:
    """What it took on loan stays so, and a line says what to type."""
    place.python_hook()
    line = "the container's devices are not restored: run `netdevns return c1`"
    assert run_alone(tmp_path, place, "poststop") == (2, [line, missing(tmp_path), "nothing was touched"])
    assert LOAN.exists()


# ---- limits of its process -------------------------------------------------------------------------------------------

PYTHON = (sys.executable, "-P", "-m", "netdevns", "hook")
LOG = "/run/netdevns/hook.log"
TOO_LARGE, UNTOUCHED = "File too large", "nothing was touched"
UNWRITTEN, NO_LOG = "the record of this move could not be written", f"{LOG}: cannot be written: {TOO_LARGE}"


def limited(place: Hooked, words: Sequence[str], limit: str, *arguments: str) -> tuple[int, list[str]]:
    """A hook under prlimit(1): its exit code, and its lines on stderr."""
    state = json.dumps(place.container())
    out, err, code = finish(place.start([*words, "createRuntime", *arguments], state, ("prlimit", limit)))
    assert out == ""
    return code, err.splitlines()


@pytest.mark.parametrize("words", [None, PYTHON], ids=["c", "python"])
@pytest.mark.parametrize(
    ("limit", "device", "code", "lines"),
    [
        (0, "eth1=net0", 1, [f"{UNWRITTEN}: /run/netdevns/txn: {TOO_LARGE}; all devices are restored", NO_LOG]),
        (0, "eth0", 2, ["eth0: no such device in this network namespace", "next: netdevns show", UNTOUCHED, NO_LOG]),
        # The last ifindex: its place in the file of locks is at 8 GiB.
        (102400, "eth2=net2", 0, []),
    ],
    ids=["record", "handed-over", "lock"],
)
def test_limited_file_size(
    place: Hooked, words: Sequence[str] | None, limit: int, device: str, code: int, lines: list[str]
) -> None:
    """RLIMIT_FSIZE ends neither hook by SIGXFSZ: without a record nothing moves, and both say the same."""
    place.host.ip("link add eth2 index 2147483646 type ifb")
    ended = limited(place, words or [str(program("gcc"))], f"--fsize={limit}", device)
    assert ended == (code, [f"netdevns: {line}" for line in lines])
    assert place.is_home() if code else place.is_complete() and "net2" in place.target.names()


def test_limited_log(place: Hooked) -> None:
    """A log that has no room for a line is no reason to fail: the devices are there, and on loan."""
    os.mkdir("/run/netdevns", 0o700)
    Path(LOG).write_text("x" * 14336)
    Path(LOG).chmod(0o600)
    place.host.ip("address add 169.254.1.1/16 scope link dev eth1")  # is not carried, of which the log gets a line
    ended = limited(place, [str(program("gcc"))], "--fsize=12288")
    assert ended == (0, [f"netdevns: {NO_LOG}"])
    assert place.is_complete()
    assert place._records() == [str(LOAN)]


def test_limited_descriptors(place: Hooked) -> None:
    """One descriptor more each time: until they suffice, the reason is that they do not, and all is as before."""
    stat = f"/proc/{place.process.pid}/stat"
    said = []
    for limit in range(11, 40):  # dash, which starts the hook that it hands over to, needs 11
        code, lines = limited(place, [str(program("gcc"))], f"--nofile={limit}")
        if not code:
            break
        assert "Too many open files" in lines[0], (limit, lines)
        assert place.is_home()
        assert place._records() == []
        said.append(lines[0])
    assert place.is_complete()
    assert f"netdevns: the loan cannot be written: Too many open files: {stat}" in said


def test_limited_stack(place: Hooked) -> None:
    """A stack of 64 KiB is too small: the hook raises the limit, or, where it may not, says so and does nothing."""
    hook = [str(program("gcc"))]
    not_allowed = ("setpriv", "--bounding-set", "-sys_resource", "--inh-caps", "-sys_resource")
    lines = ["netdevns: the limit of the stack (ulimit -s) is less than 160 KiB", f"netdevns: {UNTOUCHED}"]
    assert limited(place, [*not_allowed, *hook], "--stack=65536:65536") == (2, lines)
    assert place.is_home()
    assert limited(place, [*not_allowed, *hook], "--stack=65536:") == (0, [])
    assert place.is_complete()


# ---- attacks ---------------------------------------------------------------------------------------------------------


@pytest.mark.timeout(1800)
def test_killed_at_each_call(show) -> None:
    """P4: killed at any call, the device is in the host as it was, or complete and on loan."""
    with Hooked("native") as place:
        calls = [
            (call, nr)
            for call, nr in place.hook(way="gcc").own
            if call in ("sendto", "linkat", "unlinkat", "pwrite64", "flock")
        ]
    ends = {"as before": 0, "complete": 0}
    for call, number in [*sample(calls[:-2], len(calls) if FULL else 6), *calls[-2:]]:
        with Hooked("native") as place:
            place.hook(inject=(f"{call}:signal=KILL:when={number}",), way="gcc")
            out, err, code = finish(place.python("-m", "netdevns", "recover"))
            assert code == 0, (call, number, out, err)
            is_lent = LOAN.exists()
            assert place.is_complete() if is_lent else place.is_home(), (call, number, out, err)
            ends["complete" if is_lent else "as before"] += 1
            assert not [p for p in place._records() if "/txn/" in p]
    show(f"hook in C, killed and recovered: {ends}")
    assert all(ends.values())


@pytest.mark.parametrize("name", ["TERM", "INT", "HUP"])
def test_signal(show, name: str) -> None:
    """A signal at any message: the move is undone, or complete; it is said."""
    with Hooked("native") as place:
        numbers = place.hook(way="gcc").numbers("sendto")
    ends = {1: 0, 0: 0}
    for number in sample(numbers, len(numbers) if FULL else 4):
        with Hooked("native") as place:
            ended = place.hook(inject=(f"sendto:signal={name}:when={number}",), way="gcc")
            assert ended.code in ends, ended
            ends[ended.code] += 1
            assert place.is_home() if ended.code else place.is_complete()
            assert (f"SIG{name}" in ended.err) == (ended.code == 1), ended
            assert place._records() == ([] if ended.code else [str(LOAN)])
    show(f"hook in C, SIG{name}: {ends} by exit code")
    assert ends[1]


def test_process_ends() -> None:
    """The container's process ends during the move: it is undone."""
    with Hooked("native") as place:
        *_, last = place.hook(way="gcc").numbers("sendto")
    with Hooked("native") as place:
        inject = f"inject=sendto:delay_enter=4000000:when={last}"
        late = ("strace", "-f", "--seccomp-bpf", "-o", "/dev/null", "-e", "trace=sendto", "-e", inject)
        hook = place.start([str(program("gcc")), "createRuntime"], json.dumps(place.container()), late)
        wait_until(lambda: "net0" in place.target.names(), "it has moved")
        place.process.kill()
        out, err, code = finish(hook)
        assert (out, code) == ("", 1), err
        assert "the container's process has ended" in err
        assert place.is_home()
        assert place._records() == []


def test_no_room_for_the_loan(place: Hooked) -> None:
    """What cannot be written down is not given."""
    ended = place.hook(inject=("linkat:error=ENOSPC:when=2",), way="gcc")
    assert (ended.code, ended.out) == (1, ""), ended
    assert "the loan cannot be written: No space left on device" in ended.err
    assert "all devices are restored" in ended.err
    assert place.is_home()
    assert place._records() == []

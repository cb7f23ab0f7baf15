"""What a runtime must do with a container's devices, case by case: for the tests, and for the table of tools/runtimes.

A case is played on a machine of its own, judged by raw dumps (tools/losses_judge.py), and knows no runtime.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tests.support import rawdump
from tests.support.namespaces import Namespace
from tests.support.processes import wait_until
from tests.support.restored import differences
from tools import losses_judge as judge
from tools.losses_judge import Finding

from .container import Machine, cable, opened
from .players import Player, Refused

PATIENCE_S = 60  # the kernel has one queue for DAD and carriers, which all namespaces of a busy machine share
NAME = "web"
BLUE = "/run/netns/blue"
ROUNDS = 3
Make = Callable[[Machine, Path], Player]


@dataclass
class Trial:
    """What a case has: a host, a machine on it, a runtime; what it found."""

    host: Namespace
    machine: Machine
    player: Player
    findings: list[Finding] = field(default_factory=list)
    final: object = None  # what the devices are in the end, to be compared with another runtime's
    devices: int = 1

    def wrong(self, text: str) -> None:
        self.findings.append(Finding("case", text, text))

    @contextlib.contextmanager
    def started(self, devices: Mapping[str, str], network: str | None = None, name: str = NAME) -> Iterator[Namespace]:
        """A running container; yields its network namespace. That it does not start is a finding."""
        try:
            pid = self.player.start(name, devices, network)
        except Refused as e:
            raise Stopped(f"not started: {first_line(e.said)}") from None
        try:
            with opened(f"/proc/{pid}/ns/net", "container") as namespace:
                yield namespace
        finally:
            self.player.end(name)

    def arrived(self, before: judge.Dump, container: Namespace, names: Mapping[str, str]) -> None:
        """Judges what the devices are in the container, at once: what is not usable yet counts."""
        there = container.dump()
        self.findings += judge.arrived(before, self.host.dump(), there, names)
        self.final = [shown(there, name) for name in names.values()]

    def refused(self, devices: Mapping[str, str], reasons: Sequence[str], network: str | None = None) -> None:
        """Judges that there is no container, and that the reason (one of these) is where a user can find it."""
        try:
            self.player.start(NAME, devices, network)
        except Refused as e:
            if self.player.containers():
                self.wrong("a container is left")
            if not any(reason in e.said + self.machine.hook_log() for reason in reasons):
                self.wrong("the reason is not reported")
        else:
            self.wrong("the container is started")


class Stopped(Exception):
    """Why a case cannot go on."""


@dataclass(frozen=True)
class Case:
    """Something that must hold."""

    id: str
    promise: str
    play: Callable[[Trial], None]


@dataclass(frozen=True)
class Outcome:
    """What is wrong, and what the devices were in the end."""

    findings: list[Finding]
    final: object
    devices: int


def first_line(said: str) -> str:
    line = (said.strip().splitlines() or ["it does not say why"])[0]
    logged = re.search(r'level=(?:error|fatal) msg="(.*)"', line)  # runc's log
    return re.sub(r"/proc/\d+/", "/proc/PID/", logged[1] if logged else line)


def shown(dump: judge.Dump, name: str) -> object:
    """A device with its permanent addresses, without what is the namespace's (ifindex) or passes (DAD)."""
    link = dump["links"].get(name)
    if link is None:
        return name
    passing = rawdump.IFA_F_TENTATIVE | rawdump.IFA_F_NODAD
    addresses = [replace(a, flags=a.flags & ~passing) for a in judge.protected(dump["addresses"].get(name, []))]
    kinds = (judge.IFLA_ADDRESS, 4, 13)  # IFLA_MTU, IFLA_TXQLEN
    return name, link.up, link.altnames, [link.attrs.get(kind) for kind in kinds], addresses


# ---- devices that arrive --------------------------------------------------------------------------------------------

IPV4 = """
    address add 192.0.2.10/24 brd + dev eth1
    address add 192.0.2.11/24 brd + dev eth1
"""
IPV6 = """
    address add 2001:db8::10/64 dev eth1
    address add 2001:db8::11/64 dev eth1
"""
MACVLAN = """
    link add link wire1 name mv0 address 02:00:00:00:00:aa type macvlan mode bridge
    link set mv0 up
    address add 198.51.100.7/24 dev mv0
    address add 203.0.113.7/24 brd + dev mv0
"""
THREE = """
    address add 192.0.2.1/24 brd + dev eth1
    address add 198.51.100.1/24 brd + dev eth2
    address add 203.0.113.1/24 brd + dev eth3
"""
OWN_NAME = {"eth1": "eth1"}  # under its own name
THREE_NAMES = {"eth1": "net1", "eth2": "net2", "eth3": "net3"}


def arrives(
    names: Mapping[str, str], lines: str, *, asked: Mapping[str, str] | None = None, cables: tuple[str, ...] = ()
) -> Callable[[Trial], None]:
    """A container with devices; `names`: where they must be then; `asked`: what it asks for, if it is not that."""

    def play(trial: Trial) -> None:
        cable(trial.host, cables or names, lines, PATIENCE_S)
        before = trial.host.dump()
        with trial.started(asked or names) as container:
            trial.arrived(before, container, names)

    return play


def joins_by_path(trial: Trial) -> None:
    cable(trial.host, ["eth1"], IPV4, PATIENCE_S)
    with trial.machine.named_namespace("blue") as blue:
        before = trial.host.dump()
        with trial.started(OWN_NAME, BLUE):
            trial.arrived(before, blue, OWN_NAME)
            during = blue.dump()
        if differences(blue.dump, during):
            trial.wrong("the end of the container changes its devices")


def joins_a_pod(trial: Trial) -> None:
    cable(trial.host, ["eth1"], IPV4, PATIENCE_S)
    with trial.started({}, name="pod") as pod:
        network = f"/proc/{trial.player.pid('pod')}/ns/net"
        before = trial.host.dump()
        with trial.started(OWN_NAME, network):
            trial.arrived(before, pod, OWN_NAME)
            during = pod.dump()
        if differences(pod.dump, during):
            trial.wrong("the end of the container changes the pod's devices")


# ---- no container ---------------------------------------------------------------------------------------------------


def device_is_missing(trial: Trial) -> None:
    trial.devices = len(THREE_NAMES)
    cable(trial.host, THREE_NAMES, THREE, PATIENCE_S)
    empty = {part: type(dump)() for part, dump in trial.host.dump().items()}  # its namespace is gone
    before = trial.host.dump()
    trial.refused({**THREE_NAMES, "nope": "net4"}, ["nope"])
    trial.player.end(NAME)
    after = trial.host.dump()
    trial.findings += judge.untouched((before, empty), (after, empty), list(THREE_NAMES))


def name_is_taken(trial: Trial) -> None:
    trial.devices = len(THREE_NAMES)
    cable(trial.host, THREE_NAMES, THREE, PATIENCE_S)
    with trial.machine.named_namespace("blue") as blue:
        blue.batch("link add net3 type veth peer name wire0\nlink set lo up")
        before = trial.host.dump(), blue.dump()
        trial.refused(THREE_NAMES, ["eth3", "net3"], BLUE)
        trial.player.end(NAME)
        trial.findings += judge.untouched(before, (trial.host.dump(), blue.dump()), list(THREE_NAMES))


# ---- containers that come and go ------------------------------------------------------------------------------------


def crashes(trial: Trial) -> None:
    """The devices of a named namespace outlive a container; one that starts there again finds them."""
    cable(trial.host, ["eth1"], IPV4, PATIENCE_S)
    with trial.machine.named_namespace("blue") as blue:
        before = trial.host.dump()
        with trial.started(OWN_NAME, BLUE):
            trial.arrived(before, blue, OWN_NAME)
            during = {side: side.dump() for side in (trial.host, blue)}
            os.kill(trial.player.pid(NAME), signal.SIGKILL)
            wait_until(lambda: not trial.player.is_running(NAME), "the runtime sees the end of its container")
        if any(differences(side.dump, dump) for side, dump in during.items()):
            trial.wrong("the crash changes the devices")
        if trial.player.containers():
            trial.wrong("a container is left")
        with trial.started(OWN_NAME, BLUE):
            if differences(blue.dump, during[blue]):
                trial.wrong("the second start changes the devices")


def two_compete(trial: Trial) -> None:
    """One of them has the device, complete; the other is not there."""
    cable(trial.host, ["eth1"], IPV4, PATIENCE_S)
    before = trial.host.dump()
    names = ("one", "two")
    outcomes: dict[str, int | Refused] = {}

    def start(name: str) -> None:
        try:
            outcomes[name] = trial.player.start(name, OWN_NAME, None)
        except Refused as e:
            outcomes[name] = e

    threads = [threading.Thread(target=start, args=[name]) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    try:
        winners = {name: pid for name, pid in outcomes.items() if isinstance(pid, int)}
        if len(outcomes) < 2 or len(winners) != 1:
            raise Stopped(f"{len(winners)} of 2 containers started")
        (pid,) = winners.values()
        with opened(f"/proc/{pid}/ns/net", "container") as namespace:
            trial.arrived(before, namespace, OWN_NAME)
        if len(trial.player.containers()) != 1:
            trial.wrong("a container is left")
    finally:
        for name in names:
            trial.player.end(name)


def restarts(trial: Trial) -> None:
    """Each time with new devices under the old names: the virtual ones die with a container's namespace."""
    for _ in range(ROUNDS):
        cable(trial.host, OWN_NAME, IPV4, PATIENCE_S)
        before = trial.host.dump()
        with trial.started(OWN_NAME) as container:
            trial.arrived(before, container, OWN_NAME)
        wait_until(lambda: not trial.host.names(), "the container's namespace is gone", PATIENCE_S)
        if records := [str(path) for path in trial.machine.path("/run/netdevns").glob("txn/*")]:
            trial.wrong(f"a record is left: {records[0]}")


CASES = {
    case.id: case
    for case in (
        Case("one", "one device, with its addresses", arrives(OWN_NAME, IPV4)),
        Case("three", "three devices", arrives({name: name for name in THREE_NAMES}, THREE)),
        Case(
            "rename",
            "a renamed device's labels follow: `eth1:vip` -> `net0:vip`",
            arrives({"eth1": "net0"}, IPV4 + "address add 203.0.113.9/24 brd + label eth1:vip dev eth1"),
        ),
        Case(
            "template",
            "the name `eth%d`: the kernel picks the number",
            arrives({"ens1": "eth0"}, IPV4.replace("eth1", "ens1"), asked={"ens1": "eth%d"}),
        ),
        Case("ipv6", "IPv6 addresses, in order, usable at once", arrives(OWN_NAME, IPV4 + IPV6)),
        Case(
            "macvlan",
            "a macvlan, with and without a broadcast address",
            arrives({"mv0": "mv0"}, MACVLAN, cables=("eth1",)),
        ),
        Case("path", "a namespace by path, which keeps the devices", joins_by_path),
        Case("pod", "the namespace of another container (a pod)", joins_a_pod),
        Case("missing", "the fourth device does not exist: refused with a reason, host as before", device_is_missing),
        Case("taken", "the third name is taken: refused with a reason, all as before", name_is_taken),
        Case("crash", "the container is killed: its namespace's devices stay, and it can start again", crashes),
        Case("compete", "two containers want one device: one gets it, the other is not started", two_compete),
        Case("restart", f"started and ended {ROUNDS} times, each time the same", restarts),
    )
}


def play(case: Case, make: Make, prepare: str) -> Outcome:
    """Plays a case. Raises NotHere where it cannot be; OSError where there can be no machine."""
    with (
        Namespace.create("host") as host,
        host.entered(),
        Machine(host, prepare) as machine,
        tempfile.TemporaryDirectory(prefix="netdevns-case-") as folder,
    ):
        host.sysctl("ipv6/conf/default/addr_gen_mode", 1)
        player = make(machine, Path(folder).resolve())
        trial = Trial(host, machine, player)
        with player.ready():
            try:
                case.play(trial)
            except Stopped as e:
                trial.wrong(str(e))
    return Outcome(trial.findings, trial.final, trial.devices)


def summary(outcome: Outcome) -> str:
    """One line; empty where all holds."""
    seen: list[Any] = [f.short for f in outcome.findings if f.fact == "case"]
    rest = judge.summary([f for f in outcome.findings if f.fact != "case"], outcome.devices)
    return ", ".join([*dict.fromkeys(seen), *([rest] if rest else [])])

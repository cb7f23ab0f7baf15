"""The hook in C is killed at any of its system calls, or one of them fails: no device is lost, its report is true.

After a kill `netdevns recover` leaves the state before or the complete one, and the next hook succeeds. Short: a few
places at random; `tools/test --full`: more of them; NETDEVNS_ATTACK=long: each call.
"""

from __future__ import annotations

import json
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hook.built import program
from tests.support import require
from tests.support.attacks import AS_BEFORE, COMPLETE, FULL, REPORTED, UNREACHED, Ended, Tally, finish, sample, traced
from tests.support.scene import OnScene, Scene

from .attack import RECORDS, clear_records, make_old

FURNISH = """
    link add eth1 index 4711 address 02:00:00:00:00:01 mtu 1400 type veth peer name p1 index 4721
    link add eth2 index 4712 address 02:00:00:00:00:02 type ifb
    link set p1 address 02:00:00:00:00:21 up
    link set eth1 up
    link set eth2 up
    link property add dev eth1 altname enp1
    addr add 10.0.0.1/24 brd + label eth1:vip dev eth1
    addr add 10.0.0.2/24 dev eth1
    addr add 2001:db8::1/64 nodad dev eth1
    addr add 10.1.0.1/24 dev eth2
    addr add 2001:db8:1::1/64 nodad dev eth2
"""
DEVICES = {"eth1": {"name": "net0"}, "eth2": {}}
LOANS = Path("/run/netdevns/loan")
ERRORS = ("EIO", "ENOMEM", "EPERM", "EINTR", "ENOSPC")
FEW = 15 if FULL else 5
# Their failure cannot be injected, or ends the process.
SAFE = {"execve", "exit_group", "munmap", "mprotect", "brk", "rt_sigaction", "rt_sigprocmask", "arch_prctl", "futex"}


class Container(Scene):
    """A host with two devices, and a container that waits for them."""

    def _make(self) -> None:
        self.stack.callback(shutil.rmtree, "/run/netdevns", ignore_errors=True)
        self.target = self.namespace("target")
        self.bundle = Path(self.stack.enter_context(tempfile.TemporaryDirectory()))
        linux = {"namespaces": [{"type": "network"}], "netDevices": DEVICES}
        (self.bundle / "config.json").write_text(json.dumps({"linux": linux}))
        self.process = self.sleeper(self.target)
        self.host.batch(FURNISH)

    def hook(self, *inject: str) -> Ended:
        """The hook in C, under strace."""
        state = {"ociVersion": "1.3.0", "id": "c1", "status": "created", "pid": self.process.pid,
                 "bundle": str(self.bundle)}  # fmt: skip
        argv = [str(program()), "createRuntime"]
        return traced(lambda under: self.start(argv, json.dumps(state), under), *inject)[0]

    def recover(self) -> Ended:
        out, err, code = finish(self.start([sys.executable, "-m", "netdevns", "recover"]))
        return Ended(code, out, err, [], 0, 0)


class Attack(OnScene[Container]):
    """Hooks that are disturbed, each on a scene that is as before."""

    def __init__(self) -> None:
        super().__init__(Container)
        with Container() as scene:
            self.clean = scene.hook()
            assert (self.clean.code, self.clean.out, self.clean.err) == (0, "", ""), self.clean
            assert self.clean.calls.count("execve") == 1, "it handed over: this is about the hook in C"
            scene.target.wait_until_quiet()
            self.complete = scene.state()
            assert len(self.complete["target addresses"]["net0"]) == 3
            assert [path.name for path in LOANS.iterdir()] == ["c1"]

    @property
    def places(self) -> list[tuple[str, int]]:
        """Its calls, from the first one that sees the devices on."""
        return [(call, number) for call, number in self.clean.own if call not in SAFE]

    def kill(self, tally: Tally, call: str, number: int) -> None:
        ended = self.scene.hook(f"{call}:signal=KILL:when={number}")
        if ended.code != -signal.SIGKILL:
            tally.count(f"{call} {number}", UNREACHED, self._verdict(ended)[1], ended)
            self.renew()
            return
        recovered = self.scene.recover()
        end, wrong = self._end()
        if (recovered.code, recovered.err) != (0, ""):
            wrong.append("recover failed")
        if make_old([path.name for path in RECORDS.glob(".*")]):  # one that was being written
            self.scene.recover()
        wrong += [f"left in {RECORDS}: {name}" for name in clear_records()]
        again = self.scene.hook()
        if again.code or self.scene.differences(self.complete):
            wrong.append(f"the next hook: {again}")
        tally.count(f"{call} {number}", end, wrong, recovered)
        self.renew()

    def fail(self, tally: Tally, call: str, number: int, error: str) -> None:
        ended = self.scene.hook(f"{call}:error={error}:when={number}")
        end, wrong = self._verdict(ended)
        if end == REPORTED:
            self.scene.recover()
            wrong += [f"after a recovery: {line}" for line in self.scene.differences(self.scene.before)]
        wrong += [f"left in {RECORDS}: {name}" for name in clear_records() if "remove it" not in ended.err]
        tally.count(f"{call}:{error} {number}", end, wrong, ended)
        if wrong or end != AS_BEFORE:
            self.renew()

    def _end(self) -> tuple[str, list[str]]:
        """Before or complete; anything else is wrong."""
        changed = self.scene.differences(self.scene.before, self.complete)
        if changed:
            return "neither", changed
        return (COMPLETE if self.scene.target.names() > {"lo"} else AS_BEFORE), []

    def _verdict(self, ended: Ended) -> tuple[str, list[str]]:
        """How a hook ended that was not killed, and what is wrong with that."""
        loans = [path.name for path in LOANS.glob("[!.]*")]
        if ended.code == 0:
            wrong = self.scene.differences(self.complete)
            return COMPLETE if ended.injected else UNREACHED, wrong + ([] if loans == ["c1"] else [f"loans: {loans}"])
        wrong = [] if ended.err.startswith("netdevns: ") else ["it says nothing"]
        if ended.code == 3:
            return REPORTED, wrong
        if ended.code not in (1, 2):
            return "no such exit code", wrong
        return AS_BEFORE, wrong + self.scene.differences(self.scene.before) + [f"a loan: {name}" for name in loans]


@pytest.fixture(scope="module")
def attack() -> Iterator[Attack]:
    if not shutil.which("strace"):
        require("netns", "no strace here")
    with Attack() as found:
        yield found


@pytest.mark.timeout(1800)
@pytest.mark.sampled(2)
@pytest.mark.parametrize("group", ["sendto", "others"])
def test_killed_at_any_call(attack: Attack, tally: Tally, group: str) -> None:
    """`netdevns recover` leaves all as before or complete, and the next hook succeeds."""
    places = [(call, number) for call, number in attack.places if (call == "sendto") == (group == "sendto")]
    for call, number in sample(places, FEW):
        attack.kill(tally, call, number)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("group", ["sendto", "others"])
def test_one_call_fails(attack: Attack, tally: Tally, group: str) -> None:
    """All arrives with a loan, or all is as before without one, or the report says what is not."""
    places = [(call, number) for call, number in attack.places if (call == "sendto") == (group == "sendto")]
    for (call, number), error in sample([(place, error) for place in places for error in ERRORS], FEW):
        attack.fail(tally, call, number, error)

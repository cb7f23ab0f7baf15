"""P5: a physical NIC comes home when its container ends: with its host name and all that it had.

The container is a process in a network namespace of its own, and the hooks get its state as a runtime gives it; the NIC
is User Mode Linux's vec0, which the kernel throws back as it does with hardware.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import netdevns
from netdevns.engine import lookups
from netdevns.recovery import loans
from tests.support.namespaces import Namespace
from tests.support.processes import PATIENT
from tests.support.restored import assert_equal_soon, differences

from .nic import NIC, is_known_by_hardware, set_up, wait_for_its_return, without_map

TOP = Path(__file__).parents[2]
CYCLES = {"long": 30}.get(os.environ.get("NETDEVNS_PROFILE", ""), 5)
LOANS = Path(netdevns.JOURNAL_DIR) / loans.FOLDER


@pytest.fixture
def here() -> Iterator[Namespace]:
    """The initial namespace, with the NIC as an operator would have set it up."""
    yield from set_up()
    assert not LOANS.exists() or [*LOANS.iterdir()] == []


def netdevns(*arguments: str, stdin: object = None, start: Sequence[str] = PATIENT) -> subprocess.CompletedProcess[str]:
    data = "" if stdin is None else json.dumps(stdin)
    argv = [*start, *arguments]
    return subprocess.run(argv, input=data, cwd=TOP, capture_output=True, text=True, timeout=120, check=False)


@dataclass
class Container:
    """A process in a network namespace of its own, and its bundle."""

    id: str
    bundle: Path
    process: subprocess.Popen[str]

    def state(self, **more: object) -> dict[str, object]:
        return {"ociVersion": "1.0.2", "id": self.id, "bundle": str(self.bundle)} | more

    def create(self) -> subprocess.CompletedProcess[str]:
        """The createRuntime hook."""
        return netdevns("hook", "createRuntime", stdin=self.state(status="creating", pid=self.process.pid))

    def poststop(self, start: Sequence[str] = PATIENT) -> subprocess.CompletedProcess[str]:
        """The poststop hook; runc's state has no pid by then."""
        return netdevns("hook", "poststop", stdin=self.state(status="stopped"), start=start)

    def run(self, script: str) -> None:
        """What the container does, with all rights over its namespace."""
        argv = ["nsenter", f"--target={self.process.pid}", "--net", "sh", "-ec", script]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@contextlib.contextmanager
def container(tmp_path: Path, name: str = "net0", id_: str = "c1") -> Iterator[Container]:
    """Created, without its devices yet; killed at the end."""
    bundle = tmp_path / "bundle"
    bundle.mkdir(exist_ok=True)
    (bundle / "config.json").write_text(json.dumps({"linux": {"netDevices": {NIC: {"name": name}}}}))
    argv = ["unshare", "--net", "sh", "-c", "echo ready; exec cat"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        try:
            yield Container(id_, bundle, process)
        finally:
            process.kill()


def assert_done(done: subprocess.CompletedProcess[str]) -> None:
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def assert_home(before: dict[str, Any], here: Namespace) -> None:
    """All is as before, and nothing is on loan."""
    assert_equal_soon(before, here, shown=without_map)
    assert [*LOANS.iterdir()] == []


def test_home_after_the_end(here: Namespace, tmp_path: Path) -> None:
    """P5: the poststop hook gives the NIC its name, addresses, altname, MTU, routes, neighbours, sysctls, state."""
    before = here.dump()
    with container(tmp_path) as mine:
        assert_done(mine.create())
        assert [path.name for path in LOANS.iterdir()] == ["c1"]
        mine.kill()
        assert_done(mine.poststop())
    assert_home(before, here)


def test_home_without_a_hook(here: Namespace, tmp_path: Path) -> None:
    """P5: `return --arrived`, which systemd starts when a device is added, restores the NIC once it is back."""
    before = here.dump()
    with container(tmp_path) as mine:
        assert_done(mine.create())
        nothing = netdevns("return", "--arrived")
        assert (nothing.returncode, nothing.stdout) == (0, "no device on loan has come back; nothing to do\n")
        mine.kill()
        wait_for_its_return(here, NIC)
        assert "undone: restored" in netdevns("return", "--arrived").stdout
    assert_home(before, here)


@pytest.mark.timeout(600)  # each cycle waits for the kernel
def test_again_and_again(here: Namespace, tmp_path: Path) -> None:
    """P5: a container comes and goes again and again (NETDEVNS_PROFILE=long: 30 times), each time with one result."""
    before = here.dump()
    for cycle in range(CYCLES):
        with container(tmp_path, name=f"net{cycle % 3}") as mine:
            assert_done(mine.create())
            mine.kill()
            assert_done(mine.poststop())
        assert_home(before, here)


CHANGES = {
    "mtu": "ip link set net0 mtu 1300",
    "mac": "ip link set net0 down; ip link set net0 address 02:00:00:00:00:77",
    "alias": "ip link set net0 alias theirs",
    "no-alias": "ip link set net0 alias ''",
    "group": "ip link set net0 group 9",
    "txqlen": "ip link set net0 txqueuelen 77",
    "flags": "ip link set net0 promisc on; ip link set net0 allmulticast on; ip link set net0 multicast off",
    "name": "ip link set net0 down; ip link set net0 name theirs",
    "hosts-name": f"ip link set net0 down; ip link set net0 name {NIC}",
    "los-name": "ip link set lo down; ip link set lo name lo0; ip link set net0 down; ip link set net0 name lo",
    "no-addresses": "ip addr flush dev net0",
    "addresses": "ip addr add 10.9.9.9/24 dev net0; ip route add default via 10.9.9.1",
    "sysctl": "echo 1 >/proc/sys/net/ipv4/conf/net0/forwarding; echo 0 >/proc/sys/net/ipv6/conf/net0/accept_ra",
    "no-ipv6": "echo 1 >/proc/sys/net/ipv6/conf/net0/disable_ipv6",
    "bridge": "ip link add br0 type bridge; ip link set net0 master br0",
    "vlan": "ip link add link net0 name net0.5 type vlan id 5; ip link set net0.5 up",
}
if lookups.moves_altnames():  # before 6.6 a device back from a dead namespace keeps listing them
    CHANGES["altname"] = "ip link property add dev net0 altname theirs"
    CHANGES["no-altname"] = "ip link property del dev net0 altname enp1"


@pytest.mark.parametrize("change", CHANGES)
def test_any_change_by_the_container(here: Namespace, tmp_path: Path, change: str) -> None:
    """P5: it is restored after any change that root in the container can make."""
    if change == "mac" and not is_known_by_hardware(here):
        pytest.skip("this kernel reports nothing lasting about this NIC but its MAC, which this change replaces")
    before = here.dump()
    with container(tmp_path) as mine:
        assert_done(mine.create())
        mine.run(CHANGES[change])
        mine.kill()
        assert_done(mine.poststop())
    assert_home(before, here)


def test_all_changes_at_once(here: Namespace, tmp_path: Path) -> None:
    """P5: the same, of many changes together."""
    has_hardware = is_known_by_hardware(here)
    before = here.dump()
    with container(tmp_path) as mine:
        assert_done(mine.create())
        mac = ["mac"] if has_hardware else []
        for change in (*mac, "mtu", "alias", "txqlen", "flags", "altname", "sysctl", "hosts-name"):
            mine.run(CHANGES.get(change, "true"))
        mine.kill()
        assert_done(mine.poststop())
    assert_home(before, here)


def test_its_ifindex_is_taken(here: Namespace, tmp_path: Path) -> None:
    """P5: under another ifindex it has all of its own, too: addresses, routes, neighbours."""
    ifindex = here.links()[NIC].ifindex

    def shown() -> dict[str, list[str]]:
        every = ("route show table all", "-6 route show table all", "neigh show nud permanent")
        return {what: here.ip(what).splitlines() for what in every}

    before, addresses = shown(), here.addresses(NIC)
    with container(tmp_path) as mine:
        assert_done(mine.create())
        here.ip(f"link add squatter index {ifindex} type dummy")
        mine.kill()
        assert_done(mine.poststop())
    here.ip("link del squatter")
    assert here.links()[NIC].ifindex != ifindex
    assert here.addresses(NIC) == addresses
    assert not differences(shown, before)


@pytest.mark.parametrize("kind", ["name", "altname"])
def test_name_that_was_taken_meanwhile(here: Namespace, tmp_path: Path, kind: str) -> None:
    """P5: the loan is kept, the NIC down and without addresses; when the name is free, `return` completes it."""
    before = here.dump()
    with container(tmp_path) as mine:
        assert_done(mine.create())
        make = f"link add {NIC} type dummy" if kind == "name" else "link add squatter type dummy"
        here.batch([make, *([f"link property add dev squatter altname {NIC}"] if kind == "altname" else [])])
        mine.kill()
        done = mine.poststop()
    assert done.returncode == 3
    assert f'{NIC}: not restored completely, and named net0: name "{NIC}" is taken by ' in done.stderr
    assert "then run `netdevns return`" in done.stderr
    assert not here.links()["net0"].up
    assert here.addresses("net0") == []
    assert netdevns("return").returncode == 3
    here.ip(f"link del {NIC if kind == 'name' else 'squatter'}")
    done = netdevns("return", "c1")
    assert (done.returncode, done.stderr) == (0, "")
    assert "undone: restored" in done.stdout
    assert_home(before, here)


def test_live_namespace(here: Namespace, tmp_path: Path) -> None:
    """P5: a pod's namespace, or a descriptor that holds it: exit code 0 and a warning; `return` completes it."""
    before = here.dump()
    with container(tmp_path) as mine:
        assert_done(mine.create())
        fd = os.open(f"/proc/{mine.process.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        mine.kill()
        done = mine.poststop(start=(sys.executable, "-m", "netdevns"))  # waits for nothing that will come
        assert done.returncode == 0
        assert f"{NIC}: its network namespace still exists; the device stays there" in done.stderr
        assert NIC not in here.links()
        done = netdevns("return", "other")
        assert (done.returncode, "nothing is on loan to other, but to" in done.stdout) == (0, True)
        os.close(fd)
        assert "undone: restored" in netdevns("return", "c1", "--wait", "60").stdout
    assert_home(before, here)


def test_poststop_before_the_end(here: Namespace, tmp_path: Path) -> None:
    """P5: poststop may run before the namespace is gone: it waits for the NIC."""
    before = here.dump()
    with container(tmp_path) as mine:
        assert_done(mine.create())
        argv = [sys.executable, "-m", "netdevns", "hook", "poststop"]
        with subprocess.Popen(argv, stdin=subprocess.PIPE, cwd=TOP, text=True) as hook:
            assert hook.stdin is not None
            hook.stdin.write(json.dumps(mine.state()))
            hook.stdin.close()
            time.sleep(1)
            assert hook.poll() is None
            mine.kill()
            assert hook.wait(60) == 0
    assert_home(before, here)


def test_next_hook_completes_it(here: Namespace, tmp_path: Path) -> None:
    """P5: without a poststop hook the next container that wants the NIC finds it as it was on the host."""
    before = here.dump()
    with container(tmp_path) as crashed:
        assert_done(crashed.create())
        crashed.run(CHANGES["mtu"])
        crashed.kill()
    wait_for_its_return(here, "net0")
    with container(tmp_path, id_="c2") as mine:
        assert_done(mine.create())
        assert [path.name for path in LOANS.iterdir()] == ["c2"]
        mine.kill()
        assert_done(mine.poststop())
    assert_home(before, here)


def test_killed_hook(here: Namespace, tmp_path: Path) -> None:
    """P4, P5: a poststop hook that is killed anywhere leaves the loan, and the next try completes it."""
    before = here.dump()
    for delay_s in (0.05, 0.1, 0.2, 0.3):
        with container(tmp_path) as mine:
            assert_done(mine.create())
            mine.kill()
            argv = [sys.executable, "-m", "netdevns", "hook", "poststop"]
            with subprocess.Popen(argv, stdin=subprocess.PIPE, cwd=TOP, text=True) as hook:
                assert hook.stdin is not None
                hook.stdin.write(json.dumps(mine.state()))
                hook.stdin.close()
                time.sleep(delay_s)
                hook.send_signal(signal.SIGKILL)
            wait_for_its_return(here, "net0")
            assert netdevns("return", "--wait", "60").returncode == 0
        assert_home(before, here)


# A createRuntime hook that a runtime kills because it takes too long.
KILLED = """
import os, signal, sys
from netdevns.oci import hook_command
from tests.support import steps
def strike(number):
    os.kill(os.getpid(), signal.SIGKILL)
setattr(*steps.before(sys.argv[1], strike))
hook_command.run(["createRuntime"])
"""


@pytest.mark.parametrize("step", ["up_and_replay", "verify"])
def test_killed_create_runtime(here: Namespace, tmp_path: Path, step: str) -> None:
    """P4, P5: what it had moved comes home with poststop, which runc runs after a hook that failed."""
    before = here.dump()
    with container(tmp_path) as mine:
        state = json.dumps(mine.state(pid=mine.process.pid))
        argv = [sys.executable, "-c", KILLED, step]
        done = subprocess.run(argv, input=state, cwd=TOP, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == -signal.SIGKILL, done.stderr
        assert NIC not in here.links()
        mine.kill()
        assert_done(mine.poststop())
    assert_equal_soon(before, here, shown=without_map)


@pytest.mark.parametrize("recovers", [False, True])
def test_recover_leaves_loans_alone(here: Namespace, tmp_path: Path, recovers: bool) -> None:
    """P5: `recover` is for moves that were killed; what is on loan is none of its business."""
    before = here.dump()
    with container(tmp_path) as mine:
        assert_done(mine.create())
        if recovers:
            mine.kill()
            wait_for_its_return(here, "net0")
        assert netdevns("recover").stdout == "nothing to recover\n"
        assert "net0" in here.links() if recovers else NIC not in here.links()
        assert [path.name for path in LOANS.iterdir()] == ["c1"]
        mine.kill()
        assert_done(mine.poststop())
    assert_home(before, here)


def test_show_lists_loans(here: Namespace, tmp_path: Path) -> None:
    """P5: `show` says which container has what."""
    assert here.links()
    with container(tmp_path, id_="web/1") as mine:
        assert_done(mine.create())
        record = f"{LOANS}/web%2F1"
        assert f"on loan: {NIC} as net0, to container web/1 ({record})" in netdevns("show").stdout
        (loan,) = json.loads(netdevns("show", "--json").stdout)["loans"]
        assert (loan["container"], loan["device"], loan["name"], loan["record"]) == ("web/1", NIC, "net0", record)
        mine.kill()
        assert_done(mine.poststop())
    assert "on loan" not in netdevns("show").stdout


def test_lifetimes_run_on(here: Namespace, tmp_path: Path) -> None:
    """P5: an address whose lifetime ran out meanwhile is not resurrected; of another one is left what is left."""
    here.batch([f"addr add 192.0.2.50/24 dev {NIC} valid_lft 2 preferred_lft 1",
                f"addr add 2001:db8::50/64 dev {NIC} valid_lft 2 preferred_lft 1 nodad",
                f"addr add 192.0.2.51/24 dev {NIC} valid_lft 1000 preferred_lft 900",
                f"addr add 2001:db8::51/64 dev {NIC} valid_lft 1000 preferred_lft 2 nodad"])  # fmt: skip
    with container(tmp_path) as mine:
        assert_done(mine.create())
        time.sleep(3)
        mine.kill()
        assert_done(mine.poststop())
    found = {a["local"]: a for link in here.ip_json(f"addr show dev {NIC}") for a in link["addr_info"]}
    assert {"192.0.2.1", "2001:db8::1", "192.0.2.51", "2001:db8::51"} <= found.keys()
    assert not {"192.0.2.50", "2001:db8::50"} & found.keys()
    assert 900 < found["192.0.2.51"]["valid_life_time"] <= 997
    assert found["192.0.2.51"]["preferred_life_time"] <= 897
    assert found["2001:db8::51"]["preferred_life_time"] == 0


def test_master(here: Namespace, tmp_path: Path) -> None:
    """P5: a bridge port is one again, with its settings; a bridge that is gone is reported, and no record is kept."""
    here.batch(["link add br0 type bridge", "link set br0 up", f"link set {NIC} master br0",
                f"link set {NIC} type bridge_slave hairpin on cost 77"])  # fmt: skip
    try:
        here.wait_until_quiet()
        before = here.dump()
        with container(tmp_path) as mine:
            assert_done(mine.create())
            mine.kill()
            assert_done(mine.poststop())
        shown = here.ip_json(f"link show dev {NIC}")[0]
        assert (shown["master"], shown["linkinfo"]["info_slave_data"]["cost"]) == ("br0", 77)
        assert before["addresses"][NIC] == here.dump()["addresses"][NIC]
        with container(tmp_path) as mine:
            assert_done(mine.create())
            here.ip("link del br0")
            mine.kill()
            done = netdevns("return", "--wait", "60")
        assert done.returncode == 0
        assert "cannot be restored: master br0: deleted" in done.stdout
    finally:
        if "br0" in here.links():
            here.ip("link del br0")


@pytest.mark.parametrize("script", ["ip link set net0 down; ip link set net0 name ens9", "ip link set net0 up"])
def test_another_hand(here: Namespace, tmp_path: Path, script: str) -> None:
    """P5: udev renames it, or NetworkManager sets it up, at the same moment: it is looked at again, and put right."""
    before = here.dump()
    with container(tmp_path) as mine:
        assert_done(mine.create())
        argv = ["sh", "-c", f"while :; do {script}; done 2>/dev/null"]
        with subprocess.Popen(argv, stderr=subprocess.DEVNULL) as other:
            try:
                mine.kill()
                assert_done(mine.poststop())
            finally:
                other.kill()
    assert_home(before, here)

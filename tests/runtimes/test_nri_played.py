"""The NRI plugin moves real devices, for a runtime that the test plays: containerd is there only in the full run."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator

import pytest

from netdevns.nri import messages
from netdevns.nri.messages import Response
from netdevns.nri.protobuf import encoded
from tests.support.attacks import sample
from tests.support.namespaces import Namespace
from tests.support.processes import wait_until
from tests.support.restored import assert_equal_soon
from tests.unit.nri.runtime import Connected, Runtime, pod

from .container import NETDEVNS, Machine, furnish

OK = Response()
PATH = "/run/netns/blue"
ASKS = {"eth1": "net0", "eth2": ""}
DEVICES = {"net0", "eth2"}


class Played:
    """A runtime with one pod, whose network namespace is PATH, and a plugin on a machine."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.runtime = Runtime(machine.path("/run"))
        self.namespace = machine.named_namespace("blue")
        self.sandbox = machine.popen(["nsenter", f"--net={PATH}", "sleep", "1000"])
        self.plugin: subprocess.Popen[bytes] | None = None
        self.before = machine.host.dump()

    def start(self, *arguments: str, under: tuple[str, ...] = ()) -> None:
        words = [*under, *NETDEVNS, "nri", "--socket", "/run/nri.sock", *arguments]
        self.plugin = self.machine.popen(words, stderr=subprocess.DEVNULL)

    @contextlib.contextmanager
    def connected(self, *listed: bytes, timeout_ms: int = 20_000) -> Iterator[Connected]:
        """The plugin's next connection, synchronized with these pods.

        Args:
            timeout_ms: plugin_request_timeout; containerd's is 2,000, in which a busy machine may not move devices.
        """
        with self.runtime.connected() as connected:
            connected.registered()
            connected.call("Configure", encoded({2: "played", 3: "1", 5: timeout_ms}))
            pods = b"".join(encoded({1: each}) for each in listed)
            assert connected.call("Synchronize", pods) == OK
            yield connected

    def pod(self, netns: str = PATH, **devices: str) -> bytes:
        """The pod, as NRI has it."""
        return pod(netns, **(devices or ASKS)) + encoded({9: self.sandbox.pid})

    def end(self, number: int = signal.SIGTERM) -> int:
        assert self.plugin is not None
        os.killpg(self.plugin.pid, number)
        return self.plugin.wait(60)

    def remove_namespace(self) -> None:
        """As a runtime does at a pod's end."""
        self.sandbox.kill()
        self.sandbox.wait(10)
        self.namespace.close()
        self.machine.run(["ip", "netns", "del", "blue"]).check_returncode()

    def is_restored(self) -> None:
        """All of the host is as before, and nothing is on loan or recorded."""
        assert_equal_soon(self.before, self.machine.host, timeout_s=15)
        for folder in ("loan", "txn", "aside"):
            path = self.machine.path(f"/run/netdevns/{folder}")
            wait_until(lambda path=path: not path.exists() or not list(path.iterdir()), f"{path} is empty")

    def close(self) -> None:
        self.runtime.close()
        for process in (self.plugin, self.sandbox):
            if process is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait(10)


@pytest.fixture
def played(host: Namespace, machine: Machine) -> Iterator[Played]:
    furnish(host)
    found = Played(machine)
    try:
        yield found
    finally:
        found.close()


def delayed(each_ms: int) -> tuple[str, ...]:
    """Words before a command whose answers by the kernel are delayed."""
    inject = f"inject=recvmmsg:delay_enter={each_ms}000"
    return "strace", "-f", "--seccomp-bpf", "-qq", "-o", "/dev/null", "-e", "trace=recvmmsg", "-e", inject


def event(number: int, of: bytes) -> bytes:
    return encoded({1: number, 2: of})


def test_life_in_the_newer_dialect(played: Played) -> None:
    """RunPodSandbox, CreateContainer, StopPodSandbox, RemovePodSandbox."""
    played.start("--allow", "eth*")
    with played.connected() as runtime:
        assert runtime.call("RunPodSandbox", encoded({1: played.pod()})) == OK
        assert played.namespace.names() == DEVICES
        assert runtime.call("CreateContainer", encoded({1: played.pod()})) == OK
        assert runtime.call("StopPodSandbox", encoded({1: played.pod()})) == OK
        assert runtime.call("RemovePodSandbox", encoded({1: played.pod("")})) == OK
    played.is_restored()


def test_all_or_none(played: Played) -> None:
    """One of two devices is missing: the sandbox may run, no container, and nothing has moved; then both have."""
    played.start("--allow", "eth*")
    asks = played.pod(eth1="net0", eth9="")
    with played.connected() as runtime:
        assert runtime.call("StateChange", event(1, asks)) == OK
        refused = runtime.call("CreateContainer", encoded({1: asks}))
        assert (refused.code, "eth9: no such device" in refused.text) == (messages.UNKNOWN, True)
        assert_equal_soon(played.before, played.machine.host)
        played.machine.host.batch(["link add eth9 type veth peer name wire9"])
        assert runtime.call("CreateContainer", encoded({1: asks})) == OK
        assert played.namespace.names() == {"net0", "eth9"}
        assert runtime.call("StateChange", event(2, asks)) == OK
    played.machine.host.ip("link del wire9")
    played.is_restored()


def test_default_route(played: Played) -> None:
    """The uplink is refused, with the remedy, although it is allowed; --force of another namespace does not help."""
    played.machine.host.ip("route add default via 192.0.2.1 dev eth1")
    played.start("--allow", "eth1", "--force", "other/eth1")
    with played.connected() as runtime:
        refused = runtime.call("CreateContainer", encoded({1: played.pod(eth1="")}))
    assert (
        "eth1: it carries a default route of the host; to move it anyway, start the plugin with --force" in refused.text
    )
    assert played.namespace.names() == set()


def test_missed_run_and_kill(played: Played) -> None:
    """A plugin that is killed after its move, and a pod that has started without one: Synchronize settles both."""
    played.start("--allow", "eth*")
    with played.connected(played.pod(eth1="net0")):
        assert played.namespace.names() == {"net0"}
        played.end(signal.SIGKILL)
    played.start("--allow", "eth*")
    with played.connected(played.pod()) as runtime:
        assert played.namespace.names() == DEVICES  # what it asks for besides
        assert runtime.call("StateChange", event(2, played.pod())) == OK
    played.is_restored()


def test_removed_without_a_call(played: Played) -> None:
    """The runtime does not call StopPodSandbox: veths survive the end of the namespace, and come home."""
    played.start("--allow", "eth*")
    with played.connected() as runtime:
        assert runtime.call("StateChange", event(1, played.pod())) == OK
        played.remove_namespace()
        played.is_restored()


def test_stop_that_fails(played: Played) -> None:
    """No loan can be changed when the pod stops: its namespace is held until they can, also after its removal."""
    played.start("--allow", "eth*")
    with played.connected() as runtime:
        assert runtime.call("StateChange", event(1, played.pod())) == OK
        mount = "mount --bind /run/netdevns /run/netdevns && mount -o remount,bind,ro /run/netdevns"
        played.machine.run(["sh", "-c", mount]).check_returncode()
        assert runtime.call("StateChange", event(2, played.pod())) == OK
        assert played.namespace.names() == DEVICES
        played.remove_namespace()
        assert runtime.call("StateChange", event(3, played.pod(""))) == OK
        time.sleep(1.5)
        played.machine.run(["umount", "/run/netdevns"]).check_returncode()
        played.is_restored()
    assert "without a call" not in played.machine.hook_log()


def test_removed_while_the_plugin_was_dead(played: Played) -> None:
    """Another process keeps the namespace: Synchronize returns the devices from it."""
    played.start("--allow", "eth*")
    with played.connected() as runtime:
        assert runtime.call("StateChange", event(1, played.pod())) == OK
        played.end(signal.SIGKILL)
    keeper = played.machine.popen(["nsenter", f"--net={PATH}", "sleep", "1000"])
    wait_until(
        lambda: os.stat(f"/proc/{keeper.pid}/ns/net").st_ino == os.fstat(played.namespace.fd).st_ino, "it is there"
    )
    played.remove_namespace()
    played.start("--allow", "eth*")
    with keeper, played.connected(played.pod()):
        played.is_restored()
        keeper.kill()


@pytest.mark.sampled(5)
@pytest.mark.parametrize("call", ["Configure", "Synchronize", "RunPodSandbox", "CreateContainer", "StopPodSandbox"])
def test_killed_in_each_call(played: Played, call: str) -> None:
    """SIGKILL at some moment of a call: when the plugin is back, a pod that runs is complete; then all is restored."""
    for delay_s in sample([each / 500 for each in range(50)], 3, 20):
        pods = encoded({1: played.pod()})
        played.start("--allow", "eth*")
        if call in ("Configure", "Synchronize"):
            with played.runtime.connected() as runtime:
                runtime.registered()
                runtime.send(call, pods if call == "Synchronize" else encoded({5: 20_000}))
                time.sleep(delay_s)
                played.end(signal.SIGKILL)
        else:
            with played.connected() as runtime:
                if call == "StopPodSandbox":
                    assert runtime.call("RunPodSandbox", pods) == OK
                runtime.send(call, pods)
                time.sleep(delay_s)
                played.end(signal.SIGKILL)
        played.start("--allow", "eth*")
        with played.connected(played.pod()) as runtime:
            assert played.namespace.names() == DEVICES
            assert runtime.call("CreateContainer", pods) == OK
            assert runtime.call("StopPodSandbox", pods) == OK
            played.is_restored()
            played.end()


@pytest.mark.parametrize("listed", [True, False])
def test_living_pods_are_left_alone(played: Played, listed: bool) -> None:
    """A pod that runs keeps its devices at Synchronize, also one that the runtime does not name."""
    played.start("--allow", "eth*")
    with played.connected() as runtime:
        assert runtime.call("StateChange", event(1, played.pod())) == OK
        played.end()
    played.start("--allow", "eth*")
    with played.connected(*([played.pod()] if listed else [])) as runtime:
        assert played.namespace.names() == DEVICES
        assert ("the runtime does not know this pod" in played.machine.hook_log()) != listed
        assert runtime.call("StateChange", event(2, played.pod())) == OK
    played.is_restored()


def test_answers_in_time(played: Played) -> None:
    """Whatever the kernel takes: within the runtime's 6 s the sandbox is answered, and a container refused."""
    played.start("--allow", "eth*", under=delayed(2100))
    with played.connected(timeout_ms=6000) as runtime:  # it answers at 5.1 s
        assert runtime.call("RunPodSandbox", encoded({1: played.pod()})) == OK
        for _ in range(5):  # of which a busy machine may delay some
            begin = time.monotonic()
            assert runtime.call("CreateContainer", encoded({1: played.pod()})).code == messages.DEADLINE
            took_s = time.monotonic() - begin
            assert took_s > 4.5
            if took_s < 6:
                break
        assert took_s < 6
    played.end(signal.SIGKILL)


def test_other_pods_do_not_wait(played: Played) -> None:
    """While the plugin works for one pod, containers of pods that ask for nothing, or for too much, are answered."""
    played.start("--allow", "eth*", under=delayed(300))
    with played.connected() as runtime:
        running = runtime.send("RunPodSandbox", encoded({1: played.pod()}))
        for of in (pod(PATH), pod(PATH, mv0="")):
            assert runtime.call("CreateContainer", encoded({1: of})) == OK  # the next answer, and not that of `running`
        assert runtime.receive().stream == running
    played.end(signal.SIGKILL)


def test_no_records_can_be_written(played: Played) -> None:
    """/run/netdevns is a file: nothing moves, containers are refused with the reason, and the plugin goes on."""
    played.machine.path("/run/netdevns").write_text("")
    played.start("--allow", "eth*")
    with played.connected(played.pod()) as runtime:
        assert runtime.call("StateChange", event(1, played.pod())) == OK
        for _ in range(2):
            refused = runtime.call("CreateContainer", encoded({1: played.pod()}))
            assert "/run/netdevns: no record of a move can be written there" in refused.text
        assert runtime.call("StateChange", event(2, played.pod())) == OK
    assert_equal_soon(played.before, played.machine.host)


def test_descriptors(played: Played) -> None:
    """None is left of a pod that has ended, also of one that was refused."""
    played.start("--allow", "eth*")
    with played.connected() as runtime:
        counts = []
        for _ in range(8):
            assert runtime.call("StateChange", event(1, played.pod())) == OK
            assert runtime.call("CreateContainer", encoded({1: played.pod(eth1="", eth9="")})).code != 0
            for number in (2, 3):
                assert runtime.call("StateChange", event(number, played.pod())) == OK
            counts.append(len(os.listdir(f"/proc/{played.plugin.pid}/fd")))
        assert len({*counts[1:]}) == 1, counts
    played.is_restored()


def test_in_a_container(played: Played) -> None:
    """With a mount namespace of its own, as the DaemonSet: namespaces that are mounted later are found there."""
    played.start("--allow", "eth*", under=("unshare", "--mount", "--propagation", "slave"))
    with played.connected() as runtime:
        late = played.machine.named_namespace("late")
        assert runtime.call("StateChange", event(1, played.pod("/run/netns/late"))) == OK
        assert late.names() == DEVICES
        assert runtime.call("StateChange", event(2, played.pod("/run/netns/late"))) == OK
        late.close()
    played.is_restored()


def test_ends_in_the_middle(played: Played) -> None:
    """SIGTERM during a move: it is done, and answered."""
    played.start("--allow", "eth*", under=delayed(60))
    records = played.machine.path("/run/netdevns/txn")
    with played.connected() as runtime:
        runtime.send("RunPodSandbox", encoded({1: played.pod()}))
        wait_until(lambda: records.exists() and any(records.iterdir()), "the move begins")
        (child,) = (
            int(pid) for pid in os.listdir("/proc") if pid.isdigit() and f"\t{played.plugin.pid}\n" in status(pid)
        )
        os.kill(child, signal.SIGTERM)
        assert Response.decode(runtime.receive().data) == OK
        with pytest.raises(EOFError):
            runtime.receive()
    assert played.namespace.names() == DEVICES
    assert played.plugin.wait(60) == 0


def status(pid: str) -> str:
    with contextlib.suppress(OSError), open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
        return next((line for line in file if line.startswith("PPid:")), "")
    return ""

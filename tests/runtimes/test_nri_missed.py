"""What the NRI plugin was not called for, or did not live to see, is settled; with a real containerd."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable

import pytest

from tests.support import require
from tests.support.attacks import FULL, Tally, sample
from tests.support.namespaces import Namespace
from tests.support.processes import wait_until

from .pods import SUITES, Pods, annotations

pytestmark = pytest.mark.thorough  # containerd is fetched for the full run; without it: test_nri_played.py
NET0 = annotations(eth1="net0")
FEW = 20 if FULL else 6
ALLOW = ("--allow", "eth*")
COMPLETED = "pod default/web: it started while the plugin was not connected; it has its devices now"


@pytest.mark.parametrize("pods", SUITES, indirect=True)
def test_missed_run(pods: Pods) -> None:
    """A pod that started without the plugin gets its device when that connects, which is reported."""
    with pods.restored():
        pod = pods.cri.run("web", NET0)
        assert pods.links(pod) == set()
        pods.start_plugin(*ALLOW)
        assert pods.links(pod) == {"net0"}
        assert COMPLETED in pods.said()
        pods.cri.stop(pod)


def test_missed_run_that_cannot_be_completed(host: Namespace, pods: Pods) -> None:
    """It is reported, its containers are refused, and it is tried again with each of them."""
    with pods.restored():
        pod = pods.cri.run("web", annotations(eth1="net0", eth7=""))
        pods.start_plugin(*ALLOW)
        words = "pod default/web: it started while the plugin was not connected, and runs without its devices"
        assert words in pods.said()
        assert "pod default/web: eth7: no such device in this network namespace" in pods.said()
        assert "eth7: no such device" in pods.why_no_container(pod)
        assert pods.links(pod) == set()
        host.batch(["link add eth7 type veth peer name wire7"])
        assert pods.why_no_container(pod) == ""
        assert pods.links(pod) == {"net0", "eth7"}
        pods.cri.stop(pod)
        host.ip("link del wire7")


def test_pod_that_has_ended(pods: Pods) -> None:
    """A pod whose sandbox has ended gets no device at Synchronize."""
    with pods.restored():
        pod = pods.cri.run("web", NET0)
        os.kill(pods.cri.pid(pod), signal.SIGKILL)
        wait_until(lambda: not pods.cri.pods()[pod], "containerd notices")
        pods.start_plugin(*ALLOW)
        assert pods.links(pod) == set()
        pods.cri.stop(pod)


def test_missed_stop(host: Namespace, pods: Pods) -> None:
    """The pod is removed while the plugin is dead: the veth has ended with it, and the loan is forgotten."""
    pods.start_plugin(*ALLOW)
    pod = pods.cri.run("web", NET0)
    assert pods.end_plugin(signal.SIGKILL) == -signal.SIGKILL
    pods.cri.stop(pod)
    pods.cri.remove(pod)
    assert "eth1" not in host.names()
    assert list(pods.loans()) == ["eth1"]
    pods.start_plugin(*ALLOW)
    assert pods.loans() == {}
    assert "pod default/web: eth1: not found: a veth ends with its network namespace" in pods.said()


def test_plugin_restarts(pods: Pods) -> None:
    """A pod keeps its device; the next plugin returns it."""
    with pods.restored():
        for number in (signal.SIGTERM, signal.SIGKILL):
            pods.start_plugin(*ALLOW)
            pod = pods.cri.run("web", NET0)
            pods.end_plugin(number)
            assert pods.links(pod) == {"net0"}
            pods.start_plugin(*ALLOW)
            assert pods.links(pod) == {"net0"}
            pods.cri.stop(pod)
            pods.cri.remove(pod)
            pods.end_plugin()


@pytest.mark.parametrize("pods", SUITES, indirect=True)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_containerd_restarts(pods: Pods, number: signal.Signals) -> None:
    """containerd does not call StopPodSandbox for pods older than itself: the device is restored all the same."""
    pods.start_plugin(*ALLOW)
    with pods.restored():
        pod = pods.cri.run("web", NET0)
        pods.end_containerd(number)
        before = pods.connections()
        pods.start_containerd()
        wait_until(lambda: pods.is_connected(before), "the plugin connects again")
        assert pods.links(pod) == {"net0"}
        pods.cri.stop(pod)
        pods.cri.remove(pod)
        wait_until(lambda: "eth1" in pods.machine.host.names(), "it is restored")
        words = "the runtime has removed its network namespace without a call; its devices are restored"
        wait_until(lambda: f"pod default/web: {words}" in pods.said(), "the plugin says so")
        pod = pods.cri.run("web", NET0)
        assert pods.links(pod) == {"net0"}
        pods.cri.stop(pod)


def test_hidden_namespaces(pods: Pods) -> None:
    """The paths of namespaces vanish for the plugin alone: nothing is taken from pods that run."""
    pods.start_plugin(*ALLOW)
    with pods.restored():
        pod = pods.cri.run("web", NET0)
        with pods.inside(pod) as namespace:
            pods.machine.run(["mount", "-t", "tmpfs", "tmpfs", "/run/netns"]).check_returncode()
            time.sleep(2.5)  # it looks each second
            assert "net0" in namespace.names()
            pods.end_plugin()
            pods.start_plugin(*ALLOW)
            time.sleep(1.5)
            assert "net0" in namespace.names()
            pods.machine.run(["umount", "/run/netns"]).check_returncode()
        pods.cri.stop(pod)


def test_two_plugins(pods: Pods) -> None:
    """A second plugin, as in an update, changes nothing."""
    pods.start_plugin(*ALLOW)
    first, pods.plugin = pods.plugin, None
    pods.start_plugin(*ALLOW, "--index", "91")
    with pods.restored():
        for _ in range(2):
            pod = pods.cri.run("web", NET0)
            assert pods.links(pod) == {"net0"}
            assert pods.why_no_container(pod) == ""
            pods.cri.stop(pod)
            pods.cri.remove(pod)
    assert first is not None
    os.killpg(first.pid, signal.SIGTERM)
    assert first.wait(60) == 0


@pytest.mark.parametrize("pods", SUITES, indirect=True)
def test_refused_pods_do_not_harm_containerd(pods: Pods) -> None:
    """A pod is refused, then starts: containerd can be restarted (issue 13609 of an error from RunPodSandbox)."""
    pods.start_plugin(*ALLOW)
    with pods.restored():
        assert "eth7: no such device" in pods.refused("web", annotations(eth1="net0", eth7=""))
        pod = pods.cri.run("web", NET0)
        pods.end_containerd()
        pods.start_containerd()
        assert pods.cri.pods() == {pod: True}
        pods.cri.stop(pod)


@pytest.mark.nri_timeout(2)
def test_stopped_plugin(pods: Pods) -> None:
    """A plugin that does not run for a while: the runtime drops it; then it connects again, and the pod is complete."""
    pods.start_plugin(*ALLOW)
    with pods.restored():
        assert pods.plugin is not None
        before = pods.connections()
        os.killpg(pods.plugin.pid, signal.SIGSTOP)
        try:
            pod = pods.cri.run("web", NET0)
        finally:
            os.killpg(pods.plugin.pid, signal.SIGCONT)
        wait_until(lambda: pods.is_connected(before), "the plugin connects again")
        wait_until(lambda: pods.links(pod) == {"net0"}, "the pod has its device")
        said = ("containers may have started without devices", COMPLETED)
        wait_until(lambda: any(words in pods.said() for words in said), "the plugin says so")
        pods.cri.stop(pod)


# ---- kills -----------------------------------------------------------------------------------------------------------

CALLS = ("openat", "setns", "socket", "sendto", "recvmmsg", "rename", "unlink", "flock", "fcntl", "write", "recvfrom")


def life(pods: Pods) -> None:
    """A pod runs and is stopped; with a plugin that may be killed at any time, and is started again.

    A process keeps the pod's network namespace until the plugin is there: otherwise the veth ends with it.
    """
    pod = pods.cri.run("web", NET0)
    revive(pods)
    assert pods.links(pod) == {"net0"}
    assert pods.why_no_container(pod) == ""
    with pods.inside(pod) as namespace, namespace.entered():
        keeper = subprocess.Popen(["sleep", "1000"])
    with keeper:
        pods.cri.stop(pod)
        revive(pods)
        pods.cri.remove(pod)
        wait_until(lambda: pods.loans() == {}, "the device is restored")
        keeper.kill()


def revive(pods: Pods) -> None:
    """Starts the plugin again if it is dead.

    It answers a call, or is killed before: the runtime has noticed either when this is called.
    """
    if pods.is_dead():
        wait_until(pods.has_ended, "strace has ended, too")
        pods.end_plugin()
        pods.start_plugin(*ALLOW)


def calls(pods: Pods) -> list[tuple[str, int]]:
    """The system calls of a plugin in a pod's life, from its connection to the runtime on, with their numbers.

    strace counts those of each thread.
    """
    pods.start_plugin(*ALLOW, under=("strace", "-f", "-o", "/run/trace", "-e", f"trace=connect,{','.join(CALLS)}"))
    life(pods)
    pods.end_plugin()
    seen: Counter[tuple[str, str]] = Counter()
    found, is_connected = [], False
    for line in pods.machine.path("/run/trace").read_text().splitlines():
        thread, rest = line.split(None, 1)
        if called := re.match(r"(\w+)\(", rest):
            seen[thread, called[1]] += 1
            is_connected |= called[1] == "connect"
            if is_connected and called[1] in CALLS:
                found.append((called[1], seen[thread, called[1]]))
    return [*dict.fromkeys(found)]


@pytest.mark.timeout(3600)
def test_killed_at_any_call(pods: Pods, show: Callable[[str], None]) -> None:
    """The plugin is killed at a system call, and started again: the pod is complete, and all is restored."""
    if shutil.which("strace") is None:
        require("nri", "there is no strace")
    tally = Tally("killed at a call")
    for call, number in sample(calls(pods), FEW, 200):
        trace = pods.machine.path("/run/trace")
        trace.unlink()
        under = ("strace", "-f", "-o", "/run/trace", "-e", f"trace={call}")
        with pods.restored():
            with contextlib.suppress(AssertionError):  # it may be killed before it is connected
                pods.start_plugin(*ALLOW, under=(*under, "-e", f"inject={call}:signal=KILL:when={number}"))
            revive(pods)
            life(pods)
        tally.count(f"{call} {number}", "killed" if "killed by SIGKILL" in trace.read_text() else "not reached", [])
        pods.end_plugin()
    show(str(tally))
    assert tally.ends["killed"]

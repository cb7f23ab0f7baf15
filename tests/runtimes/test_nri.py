"""Pods of a real containerd with the NRI plugin; nothing is mocked."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.attacks import FULL
from tests.support.namespaces import Namespace
from tests.support.processes import wait_until

from .container import ENV, NETDEVNS, cable
from .pods import IMAGE, SUITES, Pods, annotations

pytestmark = pytest.mark.thorough  # containerd is fetched for the full run; without it: test_nri_played.py
NET0 = annotations(eth1="net0")


def addresses(pods: Pods, pod: str, device: str) -> list[str]:
    """The IPv4 addresses of a device in a pod."""
    with pods.inside(pod) as namespace:
        found = namespace.ip_json(f"-4 addr show dev {device}")
    return [f"{each['local']}/{each['prefixlen']}" for each in found[0]["addr_info"]]


@pytest.mark.parametrize("pods", SUITES, indirect=True)
def test_life(host: Namespace, pods: Pods) -> None:
    """A pod has its devices, up, before a container starts; when it stops, they are restored."""
    pods.start_plugin("--allow", "eth*", "--allow", "mv0")
    with pods.restored():
        pod = pods.cri.run("web", annotations(eth1="net0", mv0=""))
        assert pods.links(pod) == {"net0", "mv0"}
        assert addresses(pods, pod, "net0") == ["192.0.2.10/24", "192.0.2.11/24"]
        assert pods.loans() == dict.fromkeys(("eth1", "mv0"), f"pod:{pod}:default/web")
        said = pods.machine.netdevns("check", "eth1", "--to", "pid:1").stdout
        assert "eth1: on loan to pod default/web" in said
        assert "`kubectl delete pod --namespace default web` restores it" in said
        container = pods.cri.container(pod, "c1", IMAGE, ["/bin/sleep", "1000"])
        assert "UP" in pods.cri.execute(container, "ip", "link", "show", "dev", "net0")
        pods.cri.stop(pod)
        assert {"eth1", "mv0"} <= {*host.names()}
        pods.cri.remove(pod)
    assert pods.end_plugin() == 0


def test_pods_without_devices(pods: Pods) -> None:
    """They start, also in the host's network."""
    pods.start_plugin("--allow", "*")
    with pods.restored():
        for name, annotated, is_on_host in (("a", {}, False), ("b", {"x": "y"}, True)):
            pod = pods.cri.run(name, annotated, host_network=is_on_host)
            pods.cri.stop(pod)
            pods.cri.remove(pod)
    assert pods.said().count("\n") == 1  # "connected to ..."


def test_killed_pod(pods: Pods) -> None:
    """The process of a pod's sandbox is killed: the device stays until the pod is stopped, then it is restored."""
    pods.start_plugin("--allow", "eth1")
    with pods.restored():
        pod = pods.cri.run("web", NET0)
        pods.machine.run(["kill", "-KILL", str(pods.cri.pid(pod))]).check_returncode()
        wait_until(lambda: not pods.cri.pods()[pod], "containerd notices")
        assert pods.loans() == {"eth1": f"pod:{pod}:default/web"}
        pods.cri.stop(pod)
        pods.cri.remove(pod)


# ---- all or none -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("devices", "words"),
    [
        ({"eth1": "net0", "eth7": ""}, "eth7: no such device in this network namespace; nothing was touched"),
        ({"eth1": "net0", "eth2": "eth0"}, 'the name "eth0" is taken in'),
        ({"eth1": "net0", "eth2": "a/b"}, "a/b"),
    ],
)
def test_all_or_none(pods: Pods, devices: dict[str, str], words: str) -> None:
    """One device that cannot be moved: no pod, with the reason; a correct one can start."""
    pods.start_plugin("--allow", "*")
    with pods.restored():
        said = pods.refused("web", annotations(**devices))
        assert words in said
        assert words.split(";")[0] in pods.machine.hook_log()
        pod = pods.cri.run("web", NET0)
        pods.cri.stop(pod)


@pytest.mark.nri_timeout(6)
def test_held_device(host: Namespace, pods: Pods) -> None:
    """Another mover holds the device: containers are refused before the runtime loses its patience."""
    pods.start_plugin("--allow", "*")
    (link,) = host.ip_json("link show dev eth1")
    hold = "import fcntl, os, struct, sys; f = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT, 0o600); \
fcntl.fcntl(f, 37, struct.pack('@hhqqi0q', 1, 0, int(sys.argv[2]), 1, 0)); print('held', flush=True); sys.stdin.read()"
    pods.machine.run(["mkdir", "-p", "/run/netdevns"]).check_returncode()
    lock = f"/run/netdevns/{os.fstat(host.fd).st_ino}.lock"
    words = [sys.executable, "-c", hold, lock, str(link["ifindex"])]
    with pods.restored():
        holder = pods.machine.popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        with holder:
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"held\n"
            begin = time.monotonic()
            assert "eth1 is being moved by another process" in pods.refused("web", NET0)
            assert time.monotonic() - begin < 60
            assert holder.stdin is not None
            holder.stdin.close()
        pod = pods.cri.run("web", NET0)
        wait_until(lambda: pods.links(pod) == {"net0"}, "the device is there")
        pods.cri.stop(pod)


@pytest.mark.nri_timeout(6)  # answers are due at 5.1 s: of 2 s, a stall of 0.3 s would be too long
@pytest.mark.parametrize("delay_ms", [600, 1200])
def test_slow_kernel(pods: Pods, delay_ms: int) -> None:
    """Each answer of the kernel takes long: containers are refused in time, and the move is undone."""
    inject = f"inject=recvmmsg:delay_enter={delay_ms}000"
    strace = ("strace", "-f", "--seccomp-bpf", "-o", "/run/trace", "-e", "trace=recvmmsg", "-e", inject)
    pods.start_plugin("--allow", "*", under=strace)
    with pods.restored():
        begin = time.monotonic()
        said = pods.refused("web", NET0)
        assert time.monotonic() - begin < 120
        assert "timed out" in said or "its devices are not there in time; try again" in said, said
        wait_until(lambda: "eth1" in pods.machine.host.names() and not pods.loans(), "it is undone", 120)
        pods.end_plugin(signal.SIGKILL)  # what it still does would take a minute
        pods.machine.netdevns("recover")
    assert "closing plugin" not in pods.log()


# ---- trust -----------------------------------------------------------------------------------------------------------


def test_nothing_is_allowed(pods: Pods) -> None:
    """Without --allow the annotations of a pod do nothing, which the log says."""
    pods.start_plugin()
    with pods.restored():
        pod = pods.cri.run("web", NET0)
        assert pods.links(pod) == set()
        assert "pod default/web: eth1: ignored: no --allow matches this device for this pod" in pods.said()
        pods.cri.stop(pod)


def test_allowed_by_namespace(pods: Pods) -> None:
    """NAMESPACE/GLOB is for the pods of that Kubernetes namespace."""
    pods.start_plugin("--allow", "edge/eth1", "--allow", "eth2")
    with pods.restored():
        asked = annotations(eth1="net0", eth2="net1")
        found = {}
        for namespace in ("default", "edge"):
            pod = pods.cri.run("web", asked, namespace)
            found[namespace] = pods.links(pod)
            pods.cri.stop(pod)
        assert found == {"default": {"net1"}, "edge": {"net0", "net1"}}


def test_default_route(host: Namespace, pods: Pods) -> None:
    """The uplink is refused, with the remedy, unless the operator forces it; it comes home with its route."""
    host.ip("route add default via 192.0.2.1 dev eth1")
    pods.start_plugin("--allow", "eth1")
    with pods.restored():
        said = pods.refused("web", NET0)
        assert "eth1: it carries a default route of the host; to move it anyway, start the plugin with --force" in said
        pods.end_plugin()
        pods.start_plugin("--allow", "eth1", "--force", "default/eth1")
        pod = pods.cri.run("web", NET0)
        assert pods.links(pod) == {"net0"}
        pods.cri.stop(pod)


def test_host_network(pods: Pods) -> None:
    """A pod in the host's network does not get a device, and does not start."""
    pods.start_plugin("--allow", "eth1")
    with pods.restored():
        said = pods.refused("web", NET0, host_network=True)
        assert "pod default/web uses the host's network namespace, where the devices are already (eth1)" in said


# ---- many pods -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("round_", range(3 if FULL else 1))
def test_twenty_pods_for_four_devices(host: Namespace, pods: Pods, round_: int) -> None:
    """At once: one pod gets each device, no container of the others starts; all is restored."""
    del round_
    devices = [f"nic{number}" for number in range(4)]
    host.batch(["link del wire1", "link del wire2"])
    cable(host, devices, "\n".join(f"addr add 192.0.{n}.1/24 dev {d}" for n, d in enumerate(devices)))
    host.ip("link set lo up")
    pods.start_plugin("--allow", "nic*")

    def start(number: int) -> tuple[str, str, str]:
        device = devices[number % 4]
        pod = pods.cri.run(f"p{number}", annotations(**{device: "net0"}))
        return device, pod, pods.why_no_container(pod)

    with pods.restored(), ThreadPoolExecutor(20) as at_once:
        found = list(at_once.map(start, range(20)))
        started = {device: pod for device, pod, why in found if not why}
        assert sorted(started) == devices
        assert all(f"{device}: no such device" in why for device, _, why in found if why), found
        assert sum(not why for _, _, why in found) == 4
        assert {device: loan.split(":")[1] for device, loan in pods.loans().items()} == started
        assert all(pods.links(pod) == {"net0"} for pod in started.values())
        list(at_once.map(pods.cri.stop, [pod for _, pod, _ in found]))
    assert "closing plugin" not in pods.log()


# ---- how it is started -----------------------------------------------------------------------------------------------


def test_started_by_containerd(pods: Pods) -> None:
    """A file in plugin_path: containerd starts it with a connection; it ends with containerd, and starts again."""
    pods.end_containerd()
    path = pods.machine.path("/run/nri/plugins/90-netdevns")
    path.parent.mkdir(parents=True, exist_ok=True)
    words = f"PYTHONPATH={ENV['PYTHONPATH']} exec {' '.join(NETDEVNS)} nri --allow eth1"
    path.write_text(f"#!/bin/sh\n{words}\n")
    path.chmod(0o755)
    pods.start_containerd()
    with pods.restored():
        pod = pods.cri.run("web", NET0)
        assert pods.links(pod) == {"net0"}
        pods.end_containerd()
        pods.start_containerd()
        assert pods.links(pod) == {"net0"}
        pods.cri.stop(pod)
    assert len(re.findall("pre-installed NRI plugin .*90-netdevns.* synchronization success", pods.log())) == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_ends_by_signal(pods: Pods, number: signal.Signals) -> None:
    """With exit code 0; the runtime goes on."""
    pods.start_plugin("--allow", "eth1")
    assert pods.end_plugin(number) == 0
    pods.cri.stop(pods.cri.run("web", {}))

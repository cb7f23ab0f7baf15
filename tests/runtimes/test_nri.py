"""Pods of a real containerd with the NRI plugin; nothing is mocked."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import require
from tests.support.namespaces import Namespace
from tests.support.require import require_module
from tests.support.restored import assert_equal_soon

from .container import furnish
from .pods import IMAGE, Pods, annotations, why_not


@pytest.fixture
def pods(host: Namespace, rootfs: Path) -> Iterator[Pods]:
    """containerd, and a host with the devices eth1, eth2 and mv0."""
    if reason := why_not():
        require("nri", reason)
    require_module("nri", "grpc_tools")
    furnish(host)
    host.sysctl("ipv4/ip_forward", 1)  # as ptp does with the first pod
    host.ip("link set lo up")  # containerd's streaming server listens there
    try:
        with Pods.started(host, rootfs) as found:
            yield found
    except OSError as e:
        require("nri", str(e))


@contextlib.contextmanager
def restored(pods: Pods, host: Namespace) -> Iterator[None]:
    """All of the host is as before when the block ends; nothing is on loan, and no record is left."""
    before = host.dump()
    yield
    assert_equal_soon(before, host)
    for folder in ("loan", "txn", "aside"):
        path = pods.machine.path(f"/run/netdevns/{folder}")
        assert not path.exists() or list(path.iterdir()) == [], folder


def addresses(pods: Pods, pod: str, device: str) -> list[str]:
    """The IPv4 addresses of a device in a pod."""
    with pods.inside(pod) as namespace:
        found = namespace.ip_json(f"-4 addr show dev {device}")
    return [f"{each['local']}/{each['prefixlen']}" for each in found[0]["addr_info"]]


def test_life(host: Namespace, pods: Pods) -> None:
    """A pod has its devices, up, before a container starts; when it stops, they are restored."""
    pods.start_plugin("--allow", "eth*", "--allow", "mv0")
    with restored(pods, host):
        pod = pods.cri.run("web", annotations(eth1="net0", mv0=""))
        assert pods.links(pod) == {"net0", "mv0"}
        assert addresses(pods, pod, "net0") == ["192.0.2.10/24", "192.0.2.11/24"]
        assert pods.loans() == dict.fromkeys(("eth1", "mv0"), f"pod:{pod}:default/web")
        container = pods.cri.container(pod, "c1", IMAGE, ["/bin/sleep", "1000"])
        assert "UP" in pods.cri.execute(container, "ip", "link", "show", "dev", "net0")
        pods.cri.stop(pod)
        assert {"eth1", "mv0"} <= {*host.names()}
        pods.cri.remove(pod)
    assert pods.end_plugin() == 0

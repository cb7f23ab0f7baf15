"""The kernel, against the packaged results of docs/kernels.md."""

from __future__ import annotations

import pytest

from netdevns.conformance import expected
from netdevns.doctor import kernel

from .made import Tree, said, worse


def examined(tree: Tree, release: str) -> list[str]:
    tree.write("/proc/sys/net/ipv6/conf/all/forwarding", "0")
    return said(kernel.check(tree.host(), release))


@pytest.mark.parametrize("release", expected.load()["kernels"].values())
def test_measured_kernels(release: str, tree: Tree) -> None:
    """Each is known, and none is worse than ok."""
    found = examined(tree, release)
    assert found[0].startswith(f"ok Linux {release}: measured as {release} (docs/kernels.md)")
    assert worse(kernel.check(tree.host(), release)) == []


def test_old_kernel_lacks_something(tree: Tree) -> None:
    """Facts follow from the probes whose value differs from the newest kernel's."""
    assert [line.partition(": ")[2] for line in examined(tree, "5.10.46")[1:]] == [*kernel._FACTS.values()]
    assert examined(tree, "7.2.7")[1:] == []


def test_every_fact_has_its_probe() -> None:
    """A probe that is renamed must not turn its fact off."""
    data = expected.load()
    for probe in kernel._FACTS:
        assert expected.expectation(data, probe, "5.10") != expected.expectation(data, probe, "99.0"), probe


@pytest.mark.parametrize(
    ("release", "text"),
    [
        ("6.8.0-49-generic", "warning Linux 6.8.0-49-generic: never measured; measured are 5.10, 6.1, "),
        ("99.1", "warning Linux 99.1: never measured"),
        ("5.4.0", "error Linux 5.4.0: older than 5.10: netdevns does not support it"),
        ("strange", "error Linux strange: older than 5.10"),
    ],
)
def test_other_kernels(release: str, text: str, tree: Tree) -> None:
    """A kernel that nobody measured may differ."""
    assert examined(tree, release)[0].startswith(text)


def test_no_ipv6(tree: Tree) -> None:
    """A container cannot have it, either."""
    assert worse(kernel.check(tree.host(), "6.18.44")) == []  # not known without /proc
    tree.write("/proc/sys/net/ipv4/ip_forward", "0")
    assert worse(kernel.check(tree.host(), "6.18.44")) == [
        "warning Linux 6.18.44: has no IPv6: containers have none, either"
    ]


def test_kinds(tree: Tree) -> None:
    """Kinds without a module; nothing is said where the modules' lists are not there."""
    assert "has no module" not in "".join(examined(tree, "6.12.113"))
    tree.write("/lib/modules/6.12.113/modules.builtin", "kernel/drivers/net/veth.ko\nkernel/drivers/net/dummy.ko\n")
    tree.write(
        "/lib/modules/6.12.113/modules.dep", "kernel/drivers/net/bonding/bonding.ko.xz:\nkernel/net/8021q/8021q.ko: a\n"
    )
    assert examined(tree, "6.12.113")[-1].endswith("has no module for macvlan, ipvlan, vxlan devices: none can be made")

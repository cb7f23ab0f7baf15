"""csrc/example.c with devices that are stacked on each other, on each kernel; the rest of its tests is in tests/csrc.

Only a VLAN cares for the order: it cannot be up before its parent is.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import pytest

from tests.csrc.compilers import BUILDS
from tests.support.namespaces import Namespace
from tests.support.restored import Restored

UPPERS = {
    "macvlan": "link add link eth1 name up0 type macvlan mode bridge",
    "vlan": "link add link eth1 name up0 type vlan id 7",
}
stacked = pytest.mark.parametrize("kind", [pytest.param(kind, marks=pytest.mark.kinds(kind)) for kind in UPPERS])


@pytest.fixture
def example(target: Namespace) -> Callable[..., tuple[int, str]]:
    """Starts the example where the thread is; returns its exit code and what it said."""
    build = BUILDS["gcc"]
    build.check()

    def run(*devices: str) -> tuple[int, str]:
        argv = [str(build.program("example")), f"/proc/self/fd/{target.fd}", *devices]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False, pass_fds=[target.fd])
        return done.returncode, done.stdout + done.stderr

    return run


def prepare(host: Namespace, kind: str) -> None:
    host.batch(
        [
            "link add eth0 type ifb",
            "link add eth1 type ifb",
            "link set eth1 up",
            UPPERS[kind],
            "link set up0 up",
            "addr add 10.0.0.1/24 dev eth1",
            "addr add 2001:db8::1/64 nodad dev eth1",
            "addr add 2001:db8:9::1/64 nodad dev up0",
        ]
    )
    host.wait_until_quiet()


@stacked
@pytest.mark.parametrize("order", [["up0=net0", "eth1=net1"], ["eth1=net1", "up0=net0"]])
def test_stacked_devices(
    host: Namespace, target: Namespace, example: Callable[..., tuple[int, str]], kind: str, order: list[str]
) -> None:
    """In whichever order they are named, the upper moves first and comes up last: both arrive with their addresses."""
    prepare(host, kind)
    assert example(*order) == (0, "")
    assert host.names() == {"eth0"}
    for name, count in (("net0", 1), ("net1", 2)):
        link = target.ip_json(f"addr show dev {name} scope global")[0]
        assert "UP" in link["flags"]
        assert len([a for a in link["addr_info"] if a]) == count


@stacked
def test_clash_behind_stacked_devices(
    host: Namespace, target: Namespace, example: Callable[..., tuple[int, str]], kind: str
) -> None:
    """Devices that are stacked on each other are put back, too: the lower one's link is up first."""
    target.ip("link add taken index 200 type ifb")  # a number in the way would be lost before 5.13
    prepare(host, kind)
    with Restored(host, target):
        code, said = example("up0=net0", "eth1=net1", "eth0=taken")
        assert (code, said) == (2, 'example: eth0: "taken" is taken in the target by taken\n')

"""Each kind of device is restored alone, by C and by Python, while its lower device or peer stays in the source."""

from __future__ import annotations

import pytest

import netdevns
from tests.support import kinds
from tests.support.namespaces import Namespace
from tests.support.restored import Restored

from .c_batch import Mover
from .crashes import killed

each = pytest.mark.parametrize("kind", [pytest.param(kind, marks=pytest.mark.kinds(kind)) for kind in kinds.MOVABLE])


def furnish(host: Namespace, kind: str) -> None:
    host.batch(["link add lower type veth peer name lowerp", "link set lower up", "link set lowerp up"])
    host.ip(kinds.create(kind, "dev1"))
    host.batch(["link set dev1 mtu 1300 alias spare group 7 up", "addr add 10.1.0.1/24 dev dev1"])
    host.ip("addr add 2001:db8:1::1/64 nodad dev dev1")
    host.wait_until_quiet()


@each
def test_undo_in_c(host: Namespace, target: Namespace, kind: str) -> None:
    """By the batch."""
    furnish(host, kind)
    with Restored(host, target):
        done = Mover(target)("undo", "dev1=net0")
        assert (done.code, done.err) == (0, ""), done


@pytest.mark.sampled(2)
@each
def test_recovery_in_python(host: Namespace, target: Namespace, directory: str, kind: str) -> None:
    """After a kill, with the device in the target."""
    furnish(host, kind)
    with Restored(host, target):
        killed(directory, target, "up_and_replay", 1, devices={"dev1": "net0"})
        assert target.names() == {"net0"}
        assert [r.outcome for r in netdevns.recover(directory)] == ["undone"]

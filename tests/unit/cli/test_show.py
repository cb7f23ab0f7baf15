"""`show` before Linux 6.15, where only a privileged request shows whether a device can move."""

from __future__ import annotations

import errno
import struct
import types

import pytest

from netdevns.batch.plan import Plan
from netdevns.cli import show
from netdevns.engine import EngineError
from tests.unit import messages as nl
from tests.unit.fake import World, serve

IFLA_NETNS_IMMUTABLE = 67
ANSWERS = {"eth1": 0, "br0": errno.EINVAL, "odd": errno.ENODEV}


def look(kernel, wanted: tuple[str, ...] = ()) -> tuple[show.Device, ...]:
    with serve(kernel) as socket:
        plan = Plan([], False)
        plan.source = types.SimpleNamespace(fd=70, where="here", close=lambda: None)
        return show._devices(plan, socket, wanted)


def kernel(may: bool, immutable: dict[int, bool] | None = None):
    """Three devices. `may`: CAP_NET_ADMIN; `immutable`: IFLA_NETNS_IMMUTABLE of newer kernels, by ifindex."""
    probed: list[int] = []

    def answer(requests: list[nl.Request]) -> list[bytes]:
        found: list[bytes] = []
        for request in requests:
            if request.type == nl.RTM_NEWLINK:
                probed.append(request.ifindex)
                code = list(ANSWERS.values())[request.ifindex - 7] if may else errno.EPERM
                found.append(nl.error(code, request))
                continue
            if request.type == nl.RTM_GETLINK:
                for ifindex, name in enumerate(ANSWERS, 7):
                    attributes = World.attributes(name, World.MAC)
                    if immutable is not None:
                        attributes[IFLA_NETNS_IMMUTABLE] = struct.pack("B", immutable[ifindex])
                    body = nl.link_body(ifindex, nl.IFF_UP, attributes)
                    found.append(nl.padded(nl.message(nl.RTM_NEWLINK, body, seq=request.seq, flags=nl.NLM_F_MULTI)))
            found.append(nl.done(request))
        return [b"".join(map(nl.padded, found))]

    answer.probed = probed  # type: ignore[attr-defined]
    return answer


def test_privileged_user_sees_movable_on_old_kernel() -> None:
    """EINVAL: the device cannot move; any other error: it can."""
    assert [(d.name, d.movable) for d in look(kernel(may=True))] == [("eth1", True), ("br0", False), ("odd", True)]


def test_unprivileged_user_sees_unknown_on_old_kernel() -> None:
    """EPERM: not known."""
    found = look(kernel(may=False))
    assert [(d.name, d.movable, d.findings) for d in found] == [
        ("eth1", None, ()),
        ("br0", None, ()),
        ("odd", None, ()),
    ]


def test_newer_kernel_is_not_probed() -> None:
    """From 6.15 on the dump has it, for unprivileged users, too."""
    asked = kernel(may=False, immutable={7: False, 8: True, 9: False})
    assert [d.movable for d in look(asked)] == [True, False, True]
    assert asked.probed == []  # type: ignore[attr-defined]


def test_only_requested_devices_are_probed() -> None:
    """Only requested devices are probed: each probe takes the kernel's rtnl lock."""
    asked = kernel(may=True)
    assert [d.name for d in look(asked, ("br0",))] == ["br0"]
    assert asked.probed == [8]  # type: ignore[attr-defined]


def test_device_that_is_up_without_carrier() -> None:
    """IFF_LOWER_UP is always clear on a device that is down, so its carrier is not known."""
    (up,) = look(kernel(may=True), ("eth1",))
    assert (up.up, up.carrier, up.mtu, up.mac, up.kind) == (True, False, 1400, "02:00:00:00:00:01", "ifb")


@pytest.mark.parametrize("refused", [nl.RTM_GETLINK, nl.RTM_GETADDR, nl.RTM_GETROUTE, nl.RTM_GETNEXTHOP])
def test_refused_dump_is_an_error(refused: int) -> None:
    """A refused dump raises EngineError: it is not the same as an empty one."""
    whole = kernel(may=True)

    def answer(requests: list[nl.Request]) -> list[bytes]:
        return [nl.error(errno.EPERM, requests[0])] if requests[0].type == refused else whole(requests)

    with pytest.raises(EngineError):
        look(answer)

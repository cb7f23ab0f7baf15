"""nd_dev_transfer: all steps of a device in one call, with the undo after a failure."""

import errno
import os

import pytest

from netdevns._ffi import ffi, lib
from netdevns.engine import PLACE_TARGET, Device
from tests.unit import messages as nl
from tests.unit.engine.steps import IPV4, IPV6, is_move, local
from tests.unit.fake import Namespace, World, device


def transfer(world: World, dev: Device) -> tuple[int, int]:
    """nd_dev_transfer: its code and that of the undo."""
    undo_err = ffi.new("struct nd_err *", {"code": -99})
    dev._reserve(lib.ND_DEV_SIZE_MIN)  # as an embedder gives it
    # Two namespaces, of whichever kind: they are compared first.
    fds = [os.open(f"/proc/self/ns/{kind}", os.O_RDONLY) for kind in ("net", "uts")]
    world.by_fd |= dict(zip(fds, (world.source, world.target), strict=True))
    try:
        with world.sockets() as (source, target):
            code = lib.nd_dev_transfer(dev.raw, source.raw, target.raw, *fds, dev._err, undo_err)
    finally:
        for fd in fds:
            os.close(fd)
    return code, undo_err.code


@pytest.mark.native
def test_transfer_into_its_own_namespace_is_refused():
    """Nothing is sent: a move there would rename the device and drop its addresses."""
    world, dev, undo_err = World(IPV4), device(), ffi.new("struct nd_err *", {"code": -99})
    first, second = (os.open("/proc/self/ns/net", os.O_RDONLY) for _ in range(2))
    try:
        with world.sockets() as (source, _):
            code = lib.nd_dev_transfer(dev.raw, source.raw, source.raw, first, second, dev._err, undo_err)
    finally:
        os.close(first)
        os.close(second)
    assert (code, undo_err.code, world.source.trace) == (-errno.EINVAL, 0, [])
    assert ffi.string(dev._err.text) == b"target and source are one network namespace"


@pytest.mark.native
def test_transfer_does_all_steps():
    """One call moves, replays and verifies."""
    world = World(IPV4, IPV6)
    assert transfer(world, device()) == (0, 0)
    assert [local(a) for a in world.target.addresses] == ["10.0.0.1", "2001:db8::1"]


def named(namespace: Namespace) -> list[bytes]:
    return [attributes[nl.IFLA_IFNAME] for _, attributes in namespace.links.values()]


@pytest.mark.native
@pytest.mark.parametrize(
    ("fault", "code"),
    [
        pytest.param(lambda r: errno.EPERM if r.type == nl.RTM_NEWADDR else 0, -errno.EPERM, id="replay-refused"),
        pytest.param(lambda r: errno.EIO if r.type == nl.RTM_GETADDR else 0, -errno.EIO, id="verify-refused"),
    ],
)
def test_transfer_undoes_itself(fault, code):
    """The failed step is the result; the device is restored, and the second error is empty."""
    world = World(IPV4, IPV6)
    world.target.fault = fault
    dev = device()
    assert transfer(world, dev) == (code, 0)
    assert (named(world.source), named(world.target)) == ([b"eth1\0"], [b"lo\0"])
    assert [local(a) for a in world.source.addresses] == ["10.0.0.1", "2001:db8::1"]


@pytest.mark.native
def test_transfer_returns_both_errors():
    """Both errors are returned: of the step, and of the undo."""
    world = World(IPV4)
    world.target.fault = lambda r: errno.EPERM if r.type == nl.RTM_NEWADDR or is_move(r) else 0
    dev = device()
    assert transfer(world, dev) == (-errno.EPERM, -errno.EPERM)
    assert dev.place == PLACE_TARGET

"""The fixtures `run`, for the steps of one device, and `setting`, for a batch: both on the model of two namespaces."""

import contextlib

import pytest

from netdevns.engine import Device

from .fake import World, device
from .setting import Setting, two_devices
from .steps import Run


@pytest.fixture
def run():
    """`run(addresses..., dev=..., up=...)` begins; sockets are closed after the test."""
    with contextlib.ExitStack() as stack:

        def begin(*addresses: bytes, dev: Device | None = None, up: bool = True) -> Run:
            world = World(*addresses, up=up)
            source, target = stack.enter_context(world.sockets())
            made = Run(world, source, target, dev or device())
            made.dev.snapshot(source)
            return made

        yield begin


@pytest.fixture
def setting():
    """`setting(...)` begins a batch of eth1 and eth2, which go to net1 and net2; sockets are closed after the test.

    `prepare` changes the world before the plan.
    """
    with contextlib.ExitStack() as stack:

        def begin(wanted=None, depths=None, prepare=lambda _: None) -> Setting:
            world = two_devices()
            prepare(world)
            sockets = stack.enter_context(world.sockets())
            return Setting(*sockets, world, wanted or {7: "net1", 8: "net2"}, depths or {})

        yield begin

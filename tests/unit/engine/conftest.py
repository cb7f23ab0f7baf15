"""The fixture `run`, for the steps of one device on the model of two namespaces."""

import contextlib

import pytest

from netdevns.engine import Device
from tests.unit.engine.steps import Run
from tests.unit.fake import World, device


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

"""The fixture `setting`, for a batch on the model of two namespaces."""

import contextlib

import pytest

from tests.unit.batch.setting import Setting, two_devices


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

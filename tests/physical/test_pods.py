"""P5: a pod's physical NIC comes home, also where the NRI plugin was dead when the pod ended; a played runtime."""

from __future__ import annotations

import contextlib
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from netdevns.nri.messages import Response
from netdevns.nri.protobuf import encoded
from tests.support.namespaces import Namespace
from tests.support.restored import assert_equal_soon
from tests.unit.nri.runtime import Connected, Runtime, pod

from .nic import NIC, set_up, wait_for_its_return, without_map

OK = Response()
PATH = "/run/netns/blue"
ASKS = encoded({1: pod(PATH, **{NIC: "net0"})})


@pytest.fixture
def here() -> Iterator[Namespace]:
    """The initial namespace, with the NIC as an operator would have set it up."""
    yield from set_up()


@pytest.fixture
def runtime() -> Iterator[Runtime]:
    """A runtime whose socket, and pod, are below /run."""
    subprocess.run(["ip", "netns", "add", "blue"], check=True)
    found = Runtime(Path("/run"))
    yield found
    found.close()
    Path(found.path).unlink()
    subprocess.run(["ip", "netns", "del", "blue"], check=False)  # a test may have done so


def synchronized(connected: Connected, listed: bytes = b"") -> None:
    connected.registered()
    connected.call("Configure", encoded({2: "played", 5: 20_000}))  # a busy machine may not move it in 2 s
    assert connected.call("Synchronize", listed) == OK


@contextlib.contextmanager
def started(here: Namespace, runtime: Runtime) -> Iterator[Connected]:
    """The pod has started, and has the NIC."""
    runtime.start("--allow", "vec*")
    with runtime.connected() as connected:
        synchronized(connected)
        assert connected.call("RunPodSandbox", ASKS) == OK
        assert NIC not in here.names()
        yield connected


def test_stop(here: Namespace, runtime: Runtime) -> None:
    """The pod has the NIC until it is stopped."""
    before = here.dump()
    with started(here, runtime) as connected:
        assert connected.call("StopPodSandbox", ASKS) == OK
        assert_equal_soon(before, here, shown=without_map, timeout_s=20)
        assert runtime.end()[0] == 0


def test_missed_stop(here: Namespace, runtime: Runtime) -> None:
    """The plugin is dead when the pod ends: the kernel returns the NIC, and the next plugin restores it."""
    before = here.dump()
    with started(here, runtime):
        runtime.end(signal.SIGKILL)
    subprocess.run(["ip", "netns", "del", "blue"], check=True)
    wait_for_its_return(here, NIC)
    runtime.start("--allow", "vec*")
    with runtime.connected() as connected:
        synchronized(connected)
        assert_equal_soon(before, here, shown=without_map, timeout_s=20)
        _, said = runtime.end()
    assert f"pod default/web: {NIC}: restored, as the pod has ended" in said

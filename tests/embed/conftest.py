"""Fixtures: a scene, and the small runtime, built and started in several ways."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.csrc.ways import FEW_WAYS, Start, starter
from tests.fault.conftest import tally  # noqa: F401  # a fixture
from tests.runtimes.container import opened
from tests.support.namespaces import Namespace
from tests.support.processes import wait_until

from .fighter import HOST, Driver
from .scene import ARRIVED, Scene


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with Scene(tmp_path) as found:
        yield found


@pytest.fixture
def sides(host: Namespace, target: Namespace) -> tuple[Namespace, Namespace]:
    """The devices of tests/embed/fighter.py in the host, and a target."""
    host.batch(HOST)
    host.wait_until_quiet()
    return host, target


@pytest.fixture
def c(host: Namespace) -> Iterator[Driver]:
    """The batch in C, in the host."""
    assert host
    with Driver() as driver:
        yield driver


@pytest.fixture
def initial() -> Iterator[Namespace]:
    """The initial network namespace for processes of this one's pid namespace; only one that was made for tests."""
    with opened("/proc/1/ns/net", "initial") as namespace:
        if os.readlink("/proc/self/ns/pid") == os.readlink("/proc/1/ns/pid") and namespace.names():
            pytest.skip("the initial namespace is that of the machine")
        yield namespace
        for name in namespace.names() & {"eth1", "net1", "eth0", "net0", "peer", "stays", "dev102"}:
            with contextlib.suppress(AssertionError):
                namespace.ip(f"link del {name}")


@pytest.fixture(params=FEW_WAYS)
def embed(request: pytest.FixtureRequest, scene: Scene, tmp_path: Path) -> Start:
    """Runs it on the scene: embed("embed", argument, ...)."""
    return starter(request.param, tmp_path, scene.run)


@pytest.fixture(scope="session")
def complete(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a container has when `netdevns apply` gave it the same devices."""
    with Scene(tmp_path_factory.mktemp("apply")) as scene:
        process, *_ = scene.popen(["unshare", "--net", "sleep", "3600"])
        scene.adopt(process.pid)
        comm = Path(f"/proc/{process.pid}/comm")
        wait_until(lambda: comm.read_text() == "sleep\n", "it has its namespace")
        done = scene.machine.netdevns("apply", "--bundle", str(scene.bundle.path), "--pid", str(process.pid))
        assert done.returncode == 0, done.stderr
        with scene.container(process.pid) as container:
            assert container.names() == ARRIVED
            container.wait_until_quiet()
            found = container.dump()
        scene.end_containers()
        process.wait()
        return found

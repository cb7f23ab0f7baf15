"""Fixtures: a machine, a bundle, each runtime."""

from __future__ import annotations

import functools
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import require
from tests.support.namespaces import Namespace
from tests.support.require import require_module

from .container import ENV, Bundle, Machine, Runtime, furnish, make_rootfs
from .podman import Podman
from .pods import Pods, why_not


def _machine(host: Namespace, prepare: str) -> Machine:
    try:
        return Machine(host, prepare)
    except OSError as e:
        require("runtimes", str(e))


@pytest.fixture(scope="session")
def rootfs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A container's root file system, read-only for it."""
    busybox = shutil.which("busybox", path=ENV["PATH"])
    if busybox is None:
        require("runtimes", "there is no busybox; install busybox-static")
    path = tmp_path_factory.mktemp("rootfs").resolve()  # runc refuses a symbolic link in it
    make_rootfs(path, busybox)
    return path


@pytest.fixture
def machine(host: Namespace) -> Iterator[Machine]:
    """The namespace `host` with an empty /run, for programs."""
    with _machine(host, "true") as machine:
        yield machine


@pytest.fixture
def bundle(tmp_path: Path, rootfs: Path) -> Bundle:
    """A bundle; the test writes its config.json."""
    path = tmp_path.resolve() / "bundle"
    path.mkdir()
    return Bundle(path, rootfs)


@functools.cache
def _why_not(name: str, rootfs: Path) -> str | None:
    """Why a runtime starts not even a container without devices and hooks here; tried once a session."""
    if shutil.which(name, path=ENV["PATH"]) is None:
        return f"there is no {name}"
    with tempfile.TemporaryDirectory() as folder, Namespace.create("trial") as host:
        try:
            machine = Machine(host, Runtime.PREPARE[name])
        except OSError as e:
            return str(e)
        path = Path(folder).resolve()
        bundle = Bundle(path, rootfs)
        bundle.write(hooks=[])
        with machine:
            done = Runtime(name, machine, path / "state").run(bundle)
    return f"{name} starts no container here: {done.stderr.strip()}" if done.returncode else None


@pytest.fixture(params=["runc", "crun"])
def runtime(request: pytest.FixtureRequest, host: Namespace, rootfs: Path, tmp_path: Path) -> Iterator[Runtime]:
    """A runtime on a machine of its own, whose network namespace is `host`."""
    reason = _why_not(request.param, rootfs)
    if reason is not None:
        require("runtimes", reason)
    with _machine(host, Runtime.PREPARE[request.param]) as machine:
        yield Runtime(request.param, machine, tmp_path / "state")


@functools.cache
def _why_no_podman(runtime: str, rootfs: Path) -> str | None:
    """Why podman starts not even a container without devices here; tried once a session."""
    for program in "podman", runtime:
        if shutil.which(program, path=ENV["PATH"]) is None:
            return f"there is no {program}"
    try:
        with Namespace.create("trial") as host, Podman.started(runtime, host, rootfs) as podman:
            done = podman.run(command="true")
    except OSError as e:
        return str(e)
    return f"podman with {runtime} starts no container here: {done.stderr.strip()}" if done.returncode else None


@pytest.fixture(params=["runc", "crun"])
def podman(request: pytest.FixtureRequest, host: Namespace, rootfs: Path) -> Iterator[Podman]:
    """podman with each runtime, on a machine of its own, whose network namespace is `host`."""
    reason = _why_no_podman(request.param, rootfs)
    if reason is not None:
        require("runtimes", reason)
    with Podman.started(request.param, host, rootfs) as podman:
        yield podman


@pytest.fixture
def pods(request: pytest.FixtureRequest, host: Namespace, rootfs: Path) -> Iterator[Pods]:
    """containerd with its CRI, on a machine of its own, whose devices are eth1, eth2 and mv0.

    Of sid, or of the suite that the test is parametrized with. Its plugin_request_timeout is what the test's mark
    "nri_timeout" says, or more than the 2 s that it has otherwise: a busy machine may not move devices in that time.
    """
    mark = request.node.get_closest_marker("nri_timeout")
    timeout_s = mark.args[0] if mark else 20
    suite = getattr(request, "param", "sid")
    if reason := why_not(suite):
        require("nri", reason)
    require_module("nri", "grpc_tools")
    furnish(host)
    host.sysctl("ipv4/ip_forward", 1)  # as ptp does with the first pod
    host.ip("link set lo up")  # containerd's streaming server listens there
    try:
        with Pods.started(suite, host, rootfs, timeout_s) as found:
            yield found
    except OSError as e:
        require("nri", str(e))

"""How a namespace may be named, and that the source need not be the caller's own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import netdevns
from tests.support.namespaces import Namespace, current, named, setns


@pytest.fixture
def name(target: Namespace) -> Iterator[str]:
    """The target's, in /run/netns."""
    with named(target, "netdevns-test") as path:
        yield path.name


@pytest.fixture
def process(target: Namespace) -> Iterator[int]:
    """A process in the target."""
    pid = os.fork()
    if pid == 0:
        try:
            setns(target.fd)
            os.kill(os.getpid(), 19)  # SIGSTOP: the parent kills it
        finally:
            os._exit(1)
    os.waitpid(pid, os.WUNTRACED)
    try:
        yield pid
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)


def expect_in(target: Namespace) -> None:
    assert target.names() == {"eth1"}
    assert [a.address for a in target.addresses("eth1")] == ["10.0.0.1"]


@pytest.fixture
def eth1(host: Namespace) -> None:
    host.batch(["link add eth1 type ifb", "addr add 10.0.0.1/24 dev eth1"])


@pytest.mark.usefixtures("eth1")
@pytest.mark.parametrize(
    "name",
    [
        lambda target: target.fd,
        lambda target: target.path,
        lambda target: Path(target.path),
        lambda target: f"/proc/{os.getpid()}/fd/{target.fd}",
    ],
    ids=["descriptor", "path", "PathLike", "process's path"],
)
def test_target_may_be(target: Namespace, name: Callable[[Namespace], object]) -> None:
    """DESIGN 4.1: a descriptor, a path or a PathLike; the descriptor stays the caller's."""
    netdevns.move({"eth1": {}}, name(target))
    os.fstat(target.fd)
    expect_in(target)


@pytest.mark.usefixtures("eth1")
def test_target_may_be_a_netns(target: Namespace) -> None:
    """DESIGN 4.1: an open NetNS; it stays open."""
    with netdevns.NetNS.open(target.fd) as netns:
        netdevns.move({"eth1": {}}, netns)
        os.fstat(netns.fd)
    expect_in(target)


@pytest.mark.usefixtures("eth1")
@pytest.mark.parametrize("form", ["{}", "/run/netns/{}"], ids=["name", "path"])
def test_target_may_be_named_under_run(target: Namespace, name: str, form: str) -> None:
    """DESIGN 4.1: a name under /run/netns, or its path."""
    netdevns.move({"eth1": {}}, form.format(name))
    expect_in(target)


@pytest.mark.usefixtures("eth1")
@pytest.mark.parametrize("form", ["pid:{}", "/proc/{}/ns/net"], ids=["pid", "path"])
def test_target_may_be_a_process(target: Namespace, process: int, form: str) -> None:
    """DESIGN 4.1: "pid:N" is a process's namespace."""
    netdevns.move({"eth1": {}}, form.format(process))
    expect_in(target)


def test_neither_namespace_is_the_callers(target: Namespace) -> None:
    """DESIGN 4.1: with an explicit source the devices come from there; the calling thread's namespace has no part."""
    with Namespace.create("elsewhere") as elsewhere:
        elsewhere.batch(["link add eth1 type ifb", "link set eth1 up", "addr add 10.0.0.1/24 dev eth1"])
        home = current()
        try:
            netdevns.move({"eth1": {}}, target.fd, source=elsewhere.fd)
            assert os.fstat(home).st_ino == os.stat("/proc/thread-self/ns/net").st_ino
        finally:
            os.close(home)
        assert elsewhere.names() == set()
    expect_in(target)


def test_the_target_may_be_the_callers_own(host: Namespace) -> None:
    """DESIGN 4.1: devices may be fetched, too: from elsewhere into the calling thread's namespace."""
    with Namespace.create("elsewhere") as elsewhere:
        elsewhere.batch(["link add eth1 type ifb", "addr add 10.0.0.1/24 dev eth1"])
        netdevns.move({"eth1": {}}, "/proc/thread-self/ns/net", source=elsewhere.fd)
    expect_in(host)


def test_there_and_back(host: Namespace, target: Namespace) -> None:
    """S6: moving a device there and back under its name loses nothing that is protected."""
    host.batch(
        [
            "link add eth1 type ifb",
            "link set eth1 up",
            "addr add 10.0.0.1/24 brd + label eth1:a dev eth1",
            "addr add 2001:db8::1/64 nodad dev eth1",
        ]
    )
    before = host.links()["eth1"], host.addresses("eth1")
    netdevns.move({"eth1": "net0"}, target.fd)
    netdevns.move({"net0": "eth1"}, host.fd, source=target.fd)
    assert (host.links()["eth1"], host.addresses("eth1")) == before
    assert target.names() == set()


@pytest.mark.usefixtures("host")
def test_negative_descriptor() -> None:
    """P3: a negative number is no descriptor: EBADF, and the line says so (not "a NUL byte")."""
    with pytest.raises(netdevns.CheckFailed) as raised:
        netdevns.move({"eth1": {}}, -1)
    assert raised.value.errno == 9
    assert "fd:-1" in str(raised.value)

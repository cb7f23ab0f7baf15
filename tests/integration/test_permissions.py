"""Permission is tried before anything is touched. A forked child drops its capabilities or enters a user namespace."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

import pytest

import netdevns
from tests.support.namespaces import (
    CAP_NET_ADMIN,
    CAP_SYS_ADMIN,
    CLONE_NEWNET,
    Namespace,
    current,
    drop_capabilities,
    enter_user_namespace,
    in_child,
    unshare,
)
from tests.support.restored import Restored, Untouched

Refusal = tuple[int | None, set[str], list[str]]  # errno, codes of the errors, their texts


def refusal(devices: dict[str, str], target: int, source: int | None = None) -> Refusal:
    """The errors that `move` reports, as a child's result."""
    try:
        netdevns.move(devices, target, source=source)
    except netdevns.CheckFailed as e:
        found = [f for f in e.report.findings if f.severity == "error"]
        return e.errno, {f.code for f in found}, [f.text for f in found]
    return None, set(), []


def untouched(host: Namespace, target: Namespace, function: Callable[[], object]) -> Refusal:
    """Runs a refused move in a child; nothing may be different afterwards."""
    with Untouched(host, target):
        found: Refusal = in_child(function)
    return found


@pytest.fixture
def eth1(host: Namespace) -> None:
    host.batch(["link add eth1 type ifb", "addr add 10.0.0.1/24 dev eth1"])


@pytest.mark.smoke
@pytest.mark.usefixtures("eth1")
def test_no_cap_net_admin(host: Namespace, target: Namespace) -> None:
    """P3: without CAP_NET_ADMIN the check says so, for both sides."""

    def child() -> Refusal:
        drop_capabilities(CAP_NET_ADMIN)
        return refusal({"eth1": "net0"}, target.fd)

    code, codes, texts = untouched(host, target, child)
    assert (code, codes) == (errno.EPERM, {"permission.source", "permission.target"})
    there = f"CAP_NET_ADMIN is missing in the network namespace fd:{target.fd}"
    assert sorted(texts) == [there, "CAP_NET_ADMIN is missing in this network namespace"]


@pytest.mark.usefixtures("eth1")
def test_no_cap_sys_admin(host: Namespace, target: Namespace) -> None:
    """P3: without CAP_SYS_ADMIN the target cannot be entered, and the check says so."""

    def child() -> Refusal:
        drop_capabilities(CAP_SYS_ADMIN)
        return refusal({"eth1": "net0"}, target.fd)

    code, codes, texts = untouched(host, target, child)
    assert (code, codes) == (errno.EPERM, {"permission.target"})
    assert texts == [f"fd:{target.fd}: cannot be entered: Operation not permitted; CAP_SYS_ADMIN is needed"]


@pytest.mark.usefixtures("eth1")
def test_no_capability_at_all(host: Namespace, target: Namespace) -> None:
    """P3: what needs no privilege is found all the same: a device that is not there."""

    def child() -> Refusal:
        drop_capabilities(*range(40))
        return refusal({"eth1": "net0", "nope": "net1"}, target.fd)

    code, codes, _ = untouched(host, target, child)
    assert code in (errno.EPERM, errno.ENODEV)
    assert codes == {"permission.source", "permission.target", "device.unknown"}


@pytest.mark.usefixtures("eth1")
def test_permitted_here_but_not_there(host: Namespace, target: Namespace) -> None:
    """P3: root of a user namespace may not reach into a network namespace of the initial one."""

    def child() -> Refusal:
        enter_user_namespace(CLONE_NEWNET)
        with Namespace(current(), "own") as own:
            own.batch(["link add eth1 type veth peer name peer"])
        return refusal({"eth1": "net0"}, target.fd)

    code, codes, texts = untouched(host, target, child)
    why = "Operation not permitted; CAP_SYS_ADMIN is needed in the user namespace that owns it"
    assert texts == [f"fd:{target.fd}: cannot be entered: {why}"]
    assert (code, codes) == (errno.EPERM, {"permission.target"})


@pytest.mark.usefixtures("eth1")
def test_permitted_there_but_not_here(host: Namespace, target: Namespace) -> None:
    """P3: nor take a device away from the initial one, into a namespace of its own."""

    def child() -> Refusal:
        enter_user_namespace()
        with Namespace(os.dup(host.fd), "host") as here:
            unshare(CLONE_NEWNET)
            return refusal({"eth1": "net0"}, current(), source=here.fd)

    with Restored(host, target):
        code, codes, _ = in_child(child)
    assert code == errno.EPERM
    assert "permission.source" in codes


@pytest.mark.usefixtures("host", "target")
def test_unprivileged_user_in_a_namespace_of_his_own() -> None:
    """P3: privilege is tried, not guessed from the uid: root of a user namespace moves between his own namespaces."""

    def child() -> set[str]:
        enter_user_namespace(CLONE_NEWNET)
        with Namespace(current(), "own") as own, Namespace.create("target") as there:
            own.batch(["link add eth1 type veth peer name peer", "addr add 10.0.0.1/24 dev eth1"])
            netdevns.move({"eth1": "net0"}, there.fd)
            return there.names()

    assert in_child(child) == {"net0"}


@pytest.mark.usefixtures("eth1")
def test_no_way_back(host: Namespace, target: Namespace) -> None:
    """DESIGN 4.3: a thread that may enter the target but not return is refused; nothing is sent."""

    def child() -> Refusal:
        ready, go = os.pipe(), os.pipe()
        # The target belongs to a user namespace that this child enters; its own network namespace stays the host's.
        enter_user_namespace()
        with Namespace(current(), "host"):
            pid = os.fork()
            if pid == 0:
                unshare(CLONE_NEWNET)
                os.write(ready[1], b"x")
                os.read(go[0], 1)
                os._exit(0)
            os.read(ready[0], 1)
            fd = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
            try:
                return refusal({"eth1": "net0"}, fd)
            finally:
                os.write(go[1], b"x")
                os.waitpid(pid, 0)

    code, codes, texts = untouched(host, target, child)
    assert code in (errno.EPERM, errno.ENOTRECOVERABLE)
    assert codes & {"permission.source", "system"}
    assert texts


def test_no_way_back_keeps_the_thread_at_home(host: Namespace) -> None:
    """P3: a thread that may enter the target but not come home again is refused *before* it leaves."""
    host.ip("link add eth1 type ifb")

    def child() -> bool:
        ready, go = os.pipe(), os.pipe()
        enter_user_namespace()
        pid = os.fork()
        if pid == 0:
            unshare(CLONE_NEWNET)
            os.write(ready[1], b"x")
            os.read(go[0], 1)
            os._exit(0)
        os.read(ready[0], 1)
        try:
            assert not netdevns.check({"eth1": {}}, f"pid:{pid}").ok
            return host.is_here()
        finally:
            os.write(go[1], b"x")
            os.waitpid(pid, 0)

    assert in_child(child)

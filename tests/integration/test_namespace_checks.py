"""Namespaces that a check refuses: none, of another kind, or the same on both sides."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

import netdevns
from tests.support.namespaces import Namespace
from tests.support.restored import Untouched

from .refusals import Bad, expect_command, expect_refused, furnished


@pytest.fixture
def sides(host: Namespace, target: Namespace) -> tuple[Namespace, Namespace]:
    return furnished(host, target)


@pytest.fixture
def vanished() -> str:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return f"pid:{pid}"


NAMESPACES: dict[str, tuple[Any, int, str]] = {
    "unknown": ("no-such-netns", errno.ENOENT, "/run/netns/no-such-netns"),
    "unknown path": ("/nonexistent/ns", errno.ENOENT, "/nonexistent/ns"),
    "empty": ("", errno.ENOENT, "empty"),
    "a file": ("/etc/passwd", errno.EINVAL, "not a namespace"),
    "a directory": ("/proc/self", errno.EINVAL, "not a namespace"),
    "a device": ("/dev/null", errno.EINVAL, "not a namespace"),
    "another kind": ("/proc/self/ns/mnt", errno.EINVAL, "another kind"),
    "user namespace": ("/proc/self/ns/user", errno.EINVAL, "another kind"),
    "PathLike": (Path("/etc/passwd"), errno.EINVAL, "not a namespace"),
    "closed descriptor": (987654, errno.EBADF, "fd:987654"),
    "descriptor that is none": (1 << 32, errno.EBADF, "fd:4294967296"),
    "pid of no process": ("pid:4194305", errno.ENOENT, "no such process"),
    "no pid": ("pid:abc", errno.ENOENT, 'pid:abc: "abc" is no process id'),
    "pid that is none": ("pid:me", errno.ENOENT, "pid:me"),
    "nul": ("a\0b", errno.EINVAL, "NUL"),
}


@pytest.mark.sampled(2)
@pytest.mark.parametrize("where", NAMESPACES.values(), ids=NAMESPACES)
@pytest.mark.parametrize("side", ["target", "source"])
def test_bad_namespace(
    sides: tuple[Namespace, Namespace], side: str, where: tuple[Any, int, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """P3: what is no network namespace is refused, with the errno of the kernel and a line that names it."""
    host, target = sides
    name, code, says = where
    more = {"source": name} if side == "source" else {}
    to = target.fd if side == "source" else name
    with Untouched(host, target):
        report = netdevns.check({"eth1": "a"}, to, **more)
        with pytest.raises(netdevns.CheckFailed) as raised:
            netdevns.move({"eth1": "a"}, to, **more)
    (finding,) = (f for f in report.findings if f.code == "netns.open")
    assert (finding.severity, finding.device) == ("error", None)
    assert says in finding.text
    assert raised.value.errno == code
    if isinstance(name, str) and "\0" not in name:
        which = ["--from", name, "--to", f"fd:{target.fd}"] if side == "source" else ["--to", name]
        expect_command(["move", "eth1=a", *which], finding.text, capsys)


def test_vanished_process(sides: tuple[Namespace, Namespace], vanished: str) -> None:
    """P3: the namespace of a process that has ended."""
    host, target = sides
    with Untouched(host, target), pytest.raises(netdevns.CheckFailed, match="no such process"):
        netdevns.move({"eth1": "a"}, vanished)


def test_bad_namespace_does_not_hide_bad_devices(sides: tuple[Namespace, Namespace]) -> None:
    """P3: a target that cannot be opened does not suppress the findings in the source."""
    host, target = sides
    with Untouched(host, target):
        report = netdevns.check({"nope": "a", "eth1": "a/b"}, "no-such-netns")
    codes = {f.code for f in report.findings if f.severity == "error"}
    assert codes == {"netns.open", "device.unknown", "name.invalid"}


@pytest.mark.smoke(3)
@pytest.mark.parametrize(
    "where", ["/proc/thread-self/ns/net", "/proc/self/fd/{}", "fd"], ids=["thread", "path", "descriptor"]
)
def test_target_is_the_source(sides: tuple[Namespace, Namespace], where: str) -> None:
    """P3: the target must be another namespace than the source, however each is named."""
    host, target = sides
    with Untouched(host, target):
        named = host.fd if where == "fd" else where.format(host.fd)
        row = Bad("", {"eth1": "a"}, "netns.same", errno.EINVAL, (), None)
        expect_refused(row, host, target, named)
        report = netdevns.check({"eth1": "a"}, target.fd, source=target.path)
    assert [f.code for f in report.findings] == ["netns.same"]

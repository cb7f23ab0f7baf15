"""System calls that Python 3.11 lacks: namespaces, mounts, capabilities; and child processes."""

from __future__ import annotations

import ctypes
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ..netlink import uapi

# linux/sched.h, linux/mount.h, linux/prctl.h, linux/capability.h
CLONE_NEWNS = 0x20000
CLONE_NEWUTS = 0x4000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = uapi.CLONE_NEWNET
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 1 << 18
PR_SET_PDEATHSIG = 1
CAP_NET_ADMIN, CAP_NET_RAW, CAP_SYS_ADMIN = 12, 13, 21
CAPABILITY_VERSION_3 = 0x20080522

NETNS = "/proc/thread-self/ns/net"

_libc = ctypes.CDLL(None, use_errno=True)


class ChildFailed(Exception):
    """A probe's child failed; the text is its error."""


def call(name: str, *arguments: object) -> int:
    """Calls a function of libc that returns -1 and sets errno. Raises OSError."""
    result = int(getattr(_libc, name)(*arguments))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")
    return result


def unshare(flags: int) -> None:
    """Moves the calling thread into new namespaces."""
    call("unshare", flags)


def enter(fd: int, kind: int = CLONE_NEWNET) -> None:
    """Moves the calling thread into a namespace; `kind` 0: of any kind."""
    call("setns", fd, kind)


def current() -> int:
    """A new descriptor of the calling thread's network namespace."""
    return os.open(NETNS, os.O_RDONLY | os.O_CLOEXEC)


@contextmanager
def entered(fd: int) -> Iterator[None]:
    """Runs the block in a network namespace."""
    home = current()
    enter(fd)
    try:
        yield
    finally:
        enter(home)
        os.close(home)


def enter_user_namespace(flags: int = 0) -> None:
    """Makes the calling process root of a new user namespace; `flags`: further new namespaces, which that owns."""
    uid, gid = os.geteuid(), os.getegid()
    unshare(CLONE_NEWUSER | flags)
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
        with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
            file.write(text)


def is_real_root() -> bool:
    """Whether the calling process is root outside of user namespaces."""
    with open("/proc/self/uid_map", encoding="ascii") as file:
        return os.geteuid() == 0 and file.read().split() == ["0", "0", "4294967295"]


def die_with_parent(signal_: int) -> None:
    """Sends the calling process a signal when the thread that forked it ends."""
    call("prctl", PR_SET_PDEATHSIG, signal_, 0, 0, 0)


def mount(source: bytes | None, target: bytes, kind: bytes | None, flags: int = 0) -> None:
    call("mount", source, target, kind, flags, None)


class _CapHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


def drop_capabilities(*capabilities: int) -> None:
    """Drops capabilities of the calling thread, irrevocably."""
    header = _CapHeader(CAPABILITY_VERSION_3, 0)
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable of the first 32, then of the others
    call("capget", ctypes.byref(header), sets)
    for capability in capabilities:
        for which in range(3):
            sets[capability // 32 * 3 + which] &= ~(1 << capability % 32)
    call("capset", ctypes.byref(header), sets)


def read_all(fd: int) -> bytes:
    """Reads until the other end is closed; closes this one."""
    with os.fdopen(fd, "rb") as file:
        return file.read()


def spawn(function: Callable[[int], object]) -> tuple[int, int]:
    """Forks a child that runs a function with a pipe's end to write to; returns its pid and the end to read from."""
    read, write = os.pipe()
    pid = os.fork()
    if pid:
        os.close(write)
        return pid, read
    code = 1
    try:
        os.close(read)
        function(write)
        code = 0
    finally:
        os._exit(code)


def run_in_child(function: Callable[[], object]) -> object:
    """Runs a function in a forked child, for irreversible steps. The result is passed as JSON.

    Raises:
        ChildFailed: The function raised, or the child died.
    """

    def work(write: int) -> None:
        try:
            result: dict[str, object] = {"value": function()}
        except Exception as e:
            result = {"error": f"{type(e).__name__}: {e}"}
        os.write(write, json.dumps(result).encode())

    pid, read = spawn(work)
    data = read_all(read)
    os.waitpid(pid, 0)
    result = json.loads(data or b'{"error": "the child died"}')
    if "error" in result:
        raise ChildFailed(result["error"])
    return result["value"]

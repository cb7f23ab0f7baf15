"""Makes, names and removes network namespaces as `ip netns` does: a file in NETNS_DIR with the namespace mounted on it.

Source: ip-netns(8), mount(2) "MS_BIND", namespaces(7) "The /proc/[pid]/ns/ directory": a mount keeps it alive.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import threading
from collections.abc import Iterator

from ..netlink import uapi
from .libc import call
from .netns import CURRENT, NETNS_DIR, NetNS

MS_BIND, MS_REC, MS_SHARED = 1 << 12, 1 << 14, 1 << 20  # linux/mount.h
MNT_DETACH = 2


def new(path: str) -> NetNS:
    """Makes a namespace, called `path` in messages; it ends when it is closed, unless it is attached.

    Raises:
        OSError: EPERM: CAP_SYS_ADMIN is missing; EAGAIN: no thread can be started.
    """
    made: list[int | OSError | MemoryError] = []

    def run() -> None:
        # In a thread of its own: the calling thread never leaves its namespace.
        try:
            call("unshare", uapi.CLONE_NEWNET, path=NETNS_DIR)
            made.append(os.open(CURRENT, os.O_RDONLY | os.O_CLOEXEC))
        except (OSError, MemoryError) as e:
            made.append(e)

    thread = threading.Thread(target=run)
    try:
        thread.start()
    except RuntimeError:  # Python gives no errno
        raise OSError(errno.EAGAIN, f"no thread can be started: {os.strerror(errno.EAGAIN)}") from None
    thread.join()
    if isinstance(made[0], (OSError, MemoryError)):
        raise made[0]
    return NetNS(made[0], path)


def attach(netns: NetNS, name: str) -> None:
    """Gives a namespace a name. Raises OSError: EEXIST: the name is taken; nothing was changed."""
    path = os.path.join(NETNS_DIR, name)
    with contextlib.suppress(FileExistsError):
        os.mkdir(NETNS_DIR, 0o755)
    if not os.path.isdir(NETNS_DIR):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), NETNS_DIR)
    # Shared with all mount namespaces: a namespace that is unmounted in one must not live on in another.
    try:
        _mount("", NETNS_DIR, MS_SHARED | MS_REC)
    except OSError as e:
        if e.errno != errno.EINVAL:  # it is no mount point yet
            raise
        _mount(NETNS_DIR, NETNS_DIR, MS_BIND | MS_REC)
        _mount("", NETNS_DIR, MS_SHARED | MS_REC)
    os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0))
    try:
        _mount(f"/proc/self/fd/{netns.fd}", path, MS_BIND)
    except OSError:
        os.unlink(path)
        raise


def is_seen(name: str) -> bool:
    """Whether the mount is visible to process 1; True where that cannot be read, or it has another NETNS_DIR.

    A mount in a private mount namespace (unshare -m, ip netns exec, PrivateTmp=) ends with that namespace.
    """
    path, theirs = os.path.join(NETNS_DIR, name), "/proc/1/root"
    try:
        # Mounted on itself, it is still the same directory.
        if not os.path.samestat(os.stat(NETNS_DIR), os.stat(theirs + NETNS_DIR)):
            return True
        return os.path.samestat(os.stat(path), os.stat(theirs + path))
    except OSError:
        return True


def detach(name: str) -> None:
    """Removes a namespace's name; the namespace ends when no process is in it. Raises OSError."""
    path = os.path.join(NETNS_DIR, name)
    with contextlib.suppress(FileNotFoundError):
        try:
            call("umount2", os.fsencode(path), MNT_DETACH, path=path)
        except OSError as e:
            if e.errno != errno.EINVAL:  # nothing is mounted there: its maker was killed before the mount
                raise
        os.unlink(path)


def is_unused(path: str) -> bool:
    """Whether it is a file without a namespace mounted on it: its maker was killed in between."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return False
    return stat.S_ISREG(status.st_mode) and not status.st_size and not stat.S_IMODE(status.st_mode)


def processes(netns: NetNS) -> list[int]:
    """The processes with at least one thread in the namespace.

    Raises:
        OSError: A process cannot be inspected; EACCES: CAP_SYS_PTRACE is missing.
    """
    of = os.fstat(netns.fd)
    return sorted({pid for pid, path in _threads() if _is(path, of)})


def _threads() -> Iterator[tuple[int, str]]:
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended
            for thread in os.listdir(f"/proc/{pid}/task"):
                yield int(pid), f"/proc/{pid}/task/{thread}/ns/net"


def _is(path: str, of: os.stat_result) -> bool:
    try:
        return os.path.samestat(os.stat(path), of)
    except (FileNotFoundError, ProcessLookupError):  # it has ended
        return False


def _mount(source: str, target: str, flags: int) -> None:
    call("mount", os.fsencode(source), os.fsencode(target), b"none", flags, None, path=target)

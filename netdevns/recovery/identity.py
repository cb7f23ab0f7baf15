"""Records the identity of a network namespace, and finds the namespace again in another process."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

from ..engine import EngineError, Socket
from ..system import mounts
from ..system.netns import CURRENT, NETNS_DIR, NetNS
from . import layout

PID_NS = "/proc/self/ns/pid"
_GONE = (errno.ENOENT, errno.ESRCH, errno.ENOTDIR)
_FORBIDDEN = (errno.EACCES, errno.EPERM)  # another user's process, or one that a security module hides


def recorded(type_: int, netns: NetNS, socket: Socket) -> list[bytes]:
    """The section of a namespace: its name, cookie, inode, and the process that it was named by."""
    status = os.fstat(netns.fd)
    pid = _pid_of(netns.where)
    return layout.section(
        type_,
        {
            layout.A_WHERE: os.fsencode(netns.where),
            layout.A_COOKIE: socket.cookie,
            layout.A_DEV: status.st_dev,
            layout.A_INO: status.st_ino,
            layout.A_OF_PID: pid,
            layout.A_OF_START: _start_of(pid) if pid else 0,
            layout.A_PID_NS: os.stat(PID_NS).st_ino,
        },
    )


def found(section: layout.Section) -> tuple[NetNS, Socket] | None:
    """Opens the namespace of a section, with a socket in it; None: it is gone.

    Raises:
        OSError: Unknown: a candidate could not be examined, or the record was written in another pid namespace, whose
            processes are not visible here.

    Inode numbers are reused at once (probe death.inode.reused), SO_NETNS_COOKIE (Linux 5.14) never is (probe
    death.cookie.unique). Before 5.14, the caller must identify the namespace by the devices in it.
    """
    dev, ino = section.number(layout.A_DEV), section.number(layout.A_INO)
    cookie = section.number(layout.A_COOKIE)
    unseen = _Unseen()
    for path in _candidates(section, ino, unseen):
        try:
            status = os.stat(path)
            if (status.st_dev, status.st_ino) != (dev, ino):
                continue
        except OSError as e:
            unseen.note(e, path)
            continue
        try:
            netns = NetNS.open(path)
        except OSError as e:
            if e.errno not in (*_GONE, errno.EINVAL):  # EINVAL: not a namespace
                unseen.keep(e, path)
            continue
        try:
            socket = Socket(netns.fd)
        except EngineError:
            netns.close()
            raise
        if socket.cookie == cookie:
            netns.where = os.fsdecode(section.text(layout.A_WHERE))
            return netns, socket
        socket.close()
        netns.close()
    if unseen.why is not None:
        raise unseen.why
    if not is_visible(section):
        where = os.fsdecode(section.text(layout.A_WHERE))
        raise OSError(errno.ESRCH, "recorded in another pid namespace, and can only be found there", where)
    return None


class _Unseen:
    """Candidates that could not be examined, one of which may be the namespace.

    EPERM on another user's process is no obstacle for an ordinary user, whose namespace is not there. For root of the
    machine it is one: without CAP_SYS_PTRACE, as in many containers, or under a security module, root cannot examine
    the namespaces of other users' processes.

    Attributes:
        why: The error of the last one; None: all were examined.
    """

    def __init__(self) -> None:
        self.why: OSError | None = None
        self._harmless = _GONE if _is_root_of_machine() else (*_GONE, *_FORBIDDEN)

    def note(self, e: OSError, path: str) -> None:
        if e.errno not in self._harmless:
            self.keep(e, path)

    def keep(self, e: OSError, path: str) -> None:
        self.why = OSError(e.errno, os.strerror(e.errno or 0), path)


def _is_root_of_machine() -> bool:
    """Whether this is root of the initial user namespace: user_namespaces(7), "User and group ID mappings"."""
    with open("/proc/self/uid_map", "rb") as file:
        return os.geteuid() == 0 and file.read().split() == [b"0", b"0", b"4294967295"]


def is_there(section: layout.Section) -> bool:
    """Whether a namespace still exists; closed at once, as an open descriptor would keep it alive."""
    namespace = found(section)
    if namespace is None:
        return False
    for closable in namespace:
        closable.close()
    return True


def is_orphan(section: layout.Section) -> bool:
    """Whether the process that a namespace was named by has ended."""
    return section.number(layout.A_OF_PID) != 0 and is_visible(section) and not is_running(section)


def is_running(section: layout.Section) -> bool:
    """Whether the process that a namespace was named by still runs. Raises OSError: unknown."""
    pid = section.number(layout.A_OF_PID)
    return pid != 0 and _start_of(pid) == section.number(layout.A_OF_START)


def is_visible(section: layout.Section) -> bool:
    """Whether it was recorded in this pid namespace."""
    return os.stat(PID_NS).st_ino == section.number(layout.A_PID_NS)


def is_mounted(section: layout.Section) -> bool:
    """Whether it is mounted somewhere, so that it outlives its processes."""
    return any(_mounted(section.number(layout.A_INO)))


def _candidates(section: layout.Section, ino: int, unseen: _Unseen) -> Iterator[str]:
    """Paths where it may be, the likely ones first; cookie and inode decide."""
    where = os.fsdecode(section.text(layout.A_WHERE))
    yield CURRENT
    if where.startswith("/"):
        yield where
    if is_running(section):
        yield f"/proc/{section.number(layout.A_OF_PID)}/ns/net"
    yield "/proc/1/ns/net"
    yield from _listed(NETNS_DIR, "", unseen)
    link = f"net:[{ino}]"
    yield from _leading_to(link, _listed("/proc", "/ns/net", unseen), unseen)
    yield from _mounted(ino)
    # It may be kept by a mere descriptor of a process (probe death.kept-by.descriptor).
    for process in _listed("/proc", "/fd", unseen):
        yield from _leading_to(link, _listed(process, "", unseen), unseen)


def _leading_to(link: str, paths: Iterator[str], unseen: _Unseen) -> Iterator[str]:
    """The links below /proc with this text; to follow others could hang in FUSE or a network file system."""
    for path in paths:
        try:
            if os.readlink(path) == link:
                yield path
        except OSError as e:
            unseen.note(e, path)


def _listed(directory: str, suffix: str, unseen: _Unseen) -> Iterator[str]:
    try:
        names = os.listdir(directory)
    except OSError as e:
        unseen.note(e, directory)
        return
    for name in names:
        if not suffix or name.isdigit():
            yield f"{directory}/{name}{suffix}"


def _mounted(ino: int) -> Iterator[str]:
    """Where a file of nsfs is mounted: the fourth field of its mountinfo line is net:[INODE], the fifth the path.

    Looks in this mount namespace and in process 1's: mounts made after this one was copied may exist only there.
    """
    for process, root in (("self", ""), ("1", "/proc/1/root")):
        try:
            with open(f"/proc/{process}/mountinfo", "rb") as file:
                lines = file.readlines()
        except (FileNotFoundError, PermissionError):
            if not root:
                raise
            continue  # no permission
        for line in lines:
            fields = line.split(b" ")
            if fields[3] == b"net:[%d]" % ino:
                yield root + os.fsdecode(mounts.unescaped(fields[4]))


def _pid_of(where: str) -> int:
    """The process that a namespace was named by: "pid:N" or /proc/N/...; 0: none."""
    parts = where.split("/")
    text = where[4:] if where.startswith("pid:") else parts[2] if parts[:2] == ["", "proc"] and len(parts) > 2 else ""
    return int(text) if text.isascii() and text.isdigit() else 0


def _start_of(pid: int) -> int:
    """When a process started, in ticks since boot: unique together with its pid. 0: it does not run."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # Fields 3 and 22 (proc(5)); the name before them, in parentheses, may contain any byte.
            fields = file.read().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return 0 if fields[0] in (b"Z", b"X") else int(fields[19])

"""Opens network namespaces, named by path, name, pid or descriptor, and verifies that they are such."""

from __future__ import annotations

import errno
import fcntl
import os
from typing import Self

from .. import descriptors
from ..errors import NetDevError
from ..netlink import uapi
from ..text.quote import quoted
from . import inputs

NETNS_DIR = "/run/netns"


class NetNS:
    """An open network namespace; a context manager that closes it.

    Made by `NetNS.open`. `move`, `check` and `snapshot` also accept an open one and leave it open, so a program that
    moves devices into one namespace repeatedly can open it once.

    Attributes:
        fd: The open descriptor; closed by `close`, never by a move.
        where: The name that the caller gave, for messages.
        path: That `open` has opened for this object; "": a descriptor, or another NetNS, was given.

    Example:
        >>> import netdevns
        >>> with netdevns.NetNS.open("blue") as blue:
        ...     netdevns.check({"eth1": None}, blue).ok
        True
    """

    __slots__ = ("_owned", "fd", "path", "where")

    def __init__(self, fd: int, where: str, *, owned: bool = True, path: str = "") -> None:
        self.fd = fd
        self.where = where
        self.path = path
        self._owned = owned

    @classmethod
    def open(cls, where: NetNS | str | os.PathLike[str] | int) -> NetNS:
        """Open a network namespace and verify that it is one (NS_GET_NSTYPE).

        Args:
            where: A path (a str with "/", or a PathLike), a name under /run/netns, "pid:N" for a process's, an open
                descriptor (an int; it is duplicated) or a NetNS (shared: closing the result does not close it).

        Raises:
            NetDevError: ENOENT, EACCES, ...: it cannot be opened; EINVAL: it is not a network namespace.
            TypeError: Another type.

        Example:
            >>> import netdevns
            >>> netdevns.NetNS.open("/dev/null")
            Traceback (most recent call last):
                ...
            netdevns.errors.NetDevError: /dev/null: this is not a namespace; a network namespace is needed

        Source: ioctl_ns(2).
        """
        if isinstance(where, NetNS):
            if where.fd < 0:
                raise NetDevError(f"{where.where}: this NetNS is closed", errno=errno.EBADF, step="open")
            return cls(where.fd, where.where, owned=False)
        if isinstance(where, bool) or not isinstance(where, (str, int, os.PathLike)):
            raise TypeError(f"a network namespace is a NetNS, str, PathLike or int, not {type(where).__name__}")
        name, path = _named(where)
        if not name:  # not NETNS_DIR itself
            raise NetDevError(_cannot_open(name, path, OSError()), errno=errno.ENOENT, step="open", netns=name)
        if isinstance(where, int) and where < 0:
            raise NetDevError(f"{name}: no descriptor can be negative", errno=errno.EBADF, step="open", netns=name)
        try:
            fd = _open(where, path)
        except OSError as e:
            raise NetDevError(_cannot_open(name, path, e), errno=e.errno or 0, step="open", netns=name) from None
        except OverflowError:
            raise NetDevError(
                f"{name}: no descriptor is so large", errno=errno.EBADF, step="open", netns=name
            ) from None
        except ValueError:  # a NUL byte
            raise NetDevError("a NUL byte in a namespace's name", errno=errno.EINVAL, step="open") from None
        try:
            # (probes netns.nstype.network, netns.nstype.file)
            kind = fcntl.ioctl(fd, uapi.NS_GET_NSTYPE) if fd >= 0 else 0
        except OSError:
            kind = 0
        if kind != uapi.CLONE_NEWNET:
            descriptors.close(fd)
            what = "a namespace of another kind" if kind else "not a namespace"
            raise NetDevError(
                f"{name}: this is {what}; a network namespace is needed", errno=errno.EINVAL, step="open", netns=name
            )
        return cls(fd, name, path=path)

    def close(self) -> None:
        """Close the descriptor, unless it is another NetNS's. Can be repeated."""
        if self._owned and self.fd >= 0:
            descriptors.close(self.fd)
        self.fd = -1

    def same(self, other: NetNS) -> bool:
        """Whether both are the same namespace. Both are open, so the inode number cannot have been reused.

        Args:
            other: Another open namespace.

        Raises:
            OSError: EBADF: one of them is closed.
        """
        a, b = os.fstat(self.fd), os.fstat(other.fd)  # (probe netns.name.two-names)
        return (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"NetNS({self.where!r}, fd={self.fd})"


CURRENT = "/proc/thread-self/ns/net"


def is_at(netns: NetNS, path: str) -> bool:
    """Whether the path names this namespace. Raises OSError, but not for a path that does not exist."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(netns.fd))
    except FileNotFoundError:
        return False


def _open(where: str | os.PathLike[str] | int, path: str) -> int:
    """A descriptor; -1: not a regular file, as every file of nsfs is. A FIFO or a device must not be opened."""
    if isinstance(where, int):
        return fcntl.fcntl(where, fcntl.F_DUPFD_CLOEXEC, 3)
    if where == CURRENT or (isinstance(where, str) and where.startswith("pid:") and path.startswith("/proc/")):
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)  # below /proc or NETNS_DIR
    try:
        return inputs.open_regular(path)
    except inputs.NotRegular:
        return -1


def _named(where: str | os.PathLike[str] | int) -> tuple[str, str]:
    """The name for messages, and the path to open."""
    if isinstance(where, int):
        return f"fd:{where}", ""
    if not isinstance(where, str):
        path = os.fsdecode(os.fspath(where))
        return path, path
    if where.startswith("pid:") and "/" not in where:
        pid = where[4:]
        return where, f"/proc/{pid}/ns/net" if pid.isascii() and pid.isdigit() else f"{NETNS_DIR}/{where}"
    return where, where if "/" in where else f"{NETNS_DIR}/{where}"


def _cannot_open(name: str, path: str, e: OSError) -> str:
    if not name:
        return "the name of the network namespace is empty"
    if e.errno == errno.ENAMETOOLONG:  # so long a name need not be read in full, nor twice
        return f"{quoted(name)}: cannot open the network namespace: {e.strerror}"
    if name.startswith("fd:") and e.errno == errno.ENOENT and not (name[3:].isascii() and name[3:].isdigit()):
        return f'{name}: "{name[3:]}" is no descriptor\'s number'
    if name.startswith("pid:") and e.errno in (errno.ENOENT, errno.ESRCH):
        pid = name.removeprefix("pid:")
        return f"{name}: no such process" if pid.isascii() and pid.isdigit() else f'{name}: "{pid}" is no process id'
    if name == path or name.startswith("fd:"):
        return f"{name}: cannot open the network namespace: {e.strerror}"
    return f"{name}: cannot open the network namespace {path}: {e.strerror}"

"""Fresh network namespaces for a test, entered by its own thread; no process is needed."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import json
import os
import select
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from . import rawdump
from .require import require

CLONE_NEWNET = 0x40000000
CLONE_NEWUSER = 0x10000000
MS_BIND, MNT_DETACH = 0x1000, 2
SIOCETHTOOL, ETHTOOL_GLINK = 0x8946, 0x0A  # linux/sockios.h, linux/ethtool.h
_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> None:
    if result:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")


def unshare(flags: int) -> None:
    """The calling thread gets namespaces of its own."""
    _checked(_libc.unshare(flags), "unshare")


def enter_user_namespace(flags: int = 0) -> None:
    """The calling process gets a user namespace of its own, in which it is root; `flags`: others that belong to it."""
    uid = os.getuid()
    unshare(CLONE_NEWUSER | flags)
    with open("/proc/self/uid_map", "w") as file:
        file.write(f"0 {uid} 1")


def setns(fd: int) -> None:
    """The calling thread enters a network namespace."""
    _checked(_libc.setns(fd, CLONE_NEWNET), "setns")


def current() -> int:
    """A new descriptor of the calling thread's network namespace."""
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


class _CapHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


def drop_capabilities(*capabilities: int) -> None:
    """Permanently drops capabilities of the calling thread. Layout: linux/capability.h, version 3."""
    header = _CapHeader(0x20080522, 0)
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable of the first 32, then of the others
    _checked(_libc.capget(ctypes.byref(header), sets), "capget")
    for capability in capabilities:
        for which in range(3):
            sets[capability // 32 * 3 + which] &= ~(1 << capability % 32)
    _checked(_libc.capset(ctypes.byref(header), sets), "capset")


CAP_NET_ADMIN, CAP_SYS_ADMIN = 12, 21


class Namespace:
    """A network namespace; a context manager that closes it."""

    def __init__(self, fd: int, name: str) -> None:
        self.fd = fd
        self.name = name

    @classmethod
    def create(cls, name: str) -> Namespace:
        """A fresh one; the calling thread stays where it is."""
        home = current()
        try:
            unshare(CLONE_NEWNET)
            try:
                return cls(current(), name)
            finally:
                setns(home)
        finally:
            os.close(home)

    def __repr__(self) -> str:
        return f"Namespace({self.name})"

    def __enter__(self) -> Namespace:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
        self.fd = -1

    @property
    def path(self) -> str:
        """A path that names this namespace in this process."""
        return f"/proc/self/fd/{self.fd}"

    def is_here(self) -> bool:
        """Whether the calling thread is in it."""
        a, b = os.fstat(self.fd), os.stat("/proc/thread-self/ns/net")
        return (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino)

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """The calling thread is in it meanwhile; children that it starts are, too."""
        home = current()
        setns(self.fd)
        try:
            yield
        finally:
            setns(home)
            os.close(home)

    # ---- ip(8) ----

    def ip(self, command: str) -> str:
        """Runs `ip COMMAND` in it."""
        return self._run(["ip", *command.split()])

    def ip_json(self, command: str) -> list[dict[str, Any]]:
        """Runs `ip -j -d COMMAND` in it and returns what it shows, without the empty objects of older versions."""
        return [shown for shown in json.loads(self._run(["ip", "-j", "-d", *command.split()]) or "[]") if shown]

    def batch(self, commands: Iterable[str] | str) -> None:
        """Runs many commands by one `ip -batch`: starting a process is slow on some kernels."""
        lines = commands.strip().splitlines() if isinstance(commands, str) else list(commands)
        self._run(["ip", "-batch", "-"], "\n".join(line.strip() for line in lines) + "\n")

    def _run(self, argv: list[str], stdin: str = "") -> str:
        with self.entered():
            done = subprocess.run(argv, input=stdin, capture_output=True, text=True, check=False)
        if done.returncode:
            raise AssertionError(f"{self.name}: {' '.join(argv)}: {done.stderr.strip()}\n{stdin}")
        return done.stdout

    # ---- what is there ----

    def dump(self) -> dict[str, Any]:
        """Links, addresses, routes and nexthop objects, raw, without what changes by itself (rawdump).

        A work item of the kernel's adds the routes of an IPv6 address, and a busy machine lets it wait: so does this,
        for a bounded time, as a comparison of two dumps shows what is missing.
        """
        end = time.monotonic() + 5
        while _local_routes_to_come(found := rawdump.everything(self.socket())) and time.monotonic() < end:
            time.sleep(0.005)
        return found

    def links(self) -> dict[str, rawdump.Link]:
        """The devices by name."""
        with self.socket() as socket:
            return rawdump.links(socket)

    def names(self) -> set[str]:
        """The devices' names, without lo."""
        return set(self.links()) - {"lo"}

    def addresses(self, device: str, **only: object) -> list[rawdump.Address]:
        """A device's addresses in the kernel's order; `only`: fields and their values."""
        with self.socket() as socket:
            ifindex = rawdump.links(socket)[device].ifindex
            found = rawdump.addresses(socket).get(ifindex, [])
        return [a for a in found if all(getattr(a, field) == value for field, value in only.items())]

    def socket(self) -> rawdump.Socket:
        """A netlink socket of the test's own in it."""
        with self.entered():
            return rawdump.Socket()

    def monitor(self) -> rawdump.Monitor:
        """Collects notifications from now on."""
        with self.entered():
            return rawdump.Monitor()

    def wait_for_dad(self, timeout_s: float = 30) -> None:
        """Until no address is tentative (a duplicate stays one)."""
        end = time.monotonic() + timeout_s
        with self.socket() as socket:
            while any(a.tentative and not a.failed for found in rawdump.addresses(socket).values() for a in found):
                assert time.monotonic() < end, "DAD does not end"
                time.sleep(0.01)

    def wait_until_quiet(self) -> None:
        """Until what a set-up started has come to its end: carrier events, DAD."""
        self._look_at_carriers()
        self.wait_for_dad()
        end = time.monotonic() + 30
        with self.socket() as opened:
            while pending := rawdump.carrier_events_to_come(opened):  # up to a second, and until then ports may be open
                assert time.monotonic() < end, f"the kernel has not looked at the carrier of {pending}"
                time.sleep(0.01)
        while missing := _local_routes_to_come(self.dump()):
            assert time.monotonic() < end, f"no local route of {missing}"
        self._look_at_carriers()
        # On a busy machine a namespace with a bond sometimes notified of a link when all seemed quiet; cause unknown.
        # An event of a carrier waits for a second at most (net/core/link_watch.c).
        has_bond = any(link.attrs.get("kind") == "bond" for link in self.links().values())
        silence_s = 2.5 if has_bond else 0.03
        with self.monitor() as monitor:
            while monitor.raw in select.select([monitor.raw], [], [], silence_s)[0]:
                monitor.seen()

    def _look_at_carriers(self) -> None:
        """The kernel looks at the devices' carriers now, and notifies of it, if it was to do so later.

        A query does that since Linux 6.8 (linkwatch_sync_dev of net/core/link_watch.c), for drivers that have one.
        """
        with self.entered():
            opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with opened:
            for name in self.links():
                value = ctypes.create_string_buffer(struct.pack("=II", ETHTOOL_GLINK, 0))
                request = struct.pack("16sP16x", os.fsencode(name), ctypes.addressof(value))
                try:
                    fcntl.ioctl(opened, SIOCETHTOOL, request)
                except OSError as e:
                    if e.errno not in (errno.EOPNOTSUPP, errno.ENODEV):  # ENODEV: it has ended meanwhile
                        raise

    # ---- what a test does to it ----

    def give(self, device: str, to: Namespace, ifindex: int = 0) -> None:
        """Moves a device away, not by netdevns: IFLA_NET_NS_FD, and IFLA_NEW_IFINDEX."""
        attrs = rawdump.attribute(28, struct.pack("=I", to.fd))
        if ifindex:
            attrs += rawdump.attribute(49, struct.pack("=I", ifindex))
        with self.socket() as socket:
            assert socket.change_link(rawdump.links(socket)[device].ifindex, attrs) == 0

    def sysctl(self, name: str, value: object) -> None:
        """Writes /proc/sys/net/NAME in it."""
        with self.entered(), open(f"/proc/sys/net/{name}", "w") as file:  # net is the opening thread's own
            file.write(f"{value}\n")


class Graves:
    """Namespaces that tests are done with. One that dies has the kernel's lock (rtnl) for 20 ms or more, and many that
    die at once have it for hardly longer.
    """

    # Where tests run one by one, as on guest kernels, no other test has to wait for it.
    ROOM = 64 if "PYTEST_XDIST_WORKER" in os.environ else 1

    def __init__(self) -> None:
        self.fds: list[int] = []

    def take(self, namespace: Namespace) -> None:
        """Keeps it alive for now, even when the test's descriptor is closed, unless that is closed already."""
        if namespace.fd >= 0:
            self.fds.append(os.dup(namespace.fd))
        if len(self.fds) >= self.ROOM:
            self.close()

    def close(self) -> None:
        """They die, but for what else keeps one alive."""
        while self.fds:
            os.close(self.fds.pop())


GRAVES = Graves()


def fresh(name: str) -> Namespace:
    """A fresh one for a test, which is skipped where none can be made (require).

    The kernel adds no link-local addresses of its own, which come and do DAD in their time: a test that is about them
    sets this back.
    """
    try:
        namespace = Namespace.create(name)
    except OSError as e:
        require("netns", f"no fresh network namespace for this user: {e}")
    namespace.sysctl("ipv6/conf/default/addr_gen_mode", 1)
    return namespace


@contextlib.contextmanager
def named(namespace: Namespace, name: str) -> Iterator[Path]:
    """Gives it a name in /run/netns, as `ip netns attach` does, until the block ends or removes it; yields the path."""
    path = Path("/run/netns", name)
    with contextlib.ExitStack() as stack:
        if not path.parent.exists():
            path.parent.mkdir()
            stack.callback(path.parent.rmdir)
        path.touch(exist_ok=False)
        stack.callback(path.unlink, missing_ok=True)
        if _libc.mount(os.fsencode(namespace.path), os.fsencode(path), None, MS_BIND, None):
            require("netns", f"cannot mount a namespace at {path}: {os.strerror(ctypes.get_errno())}")
        stack.callback(_libc.umount2, os.fsencode(path), MNT_DETACH)
        yield path


def in_child(function: Callable[[], object]) -> Any:
    """Runs a function in a forked child, which may give up what it cannot get back; returns its result, by pickle."""
    import pickle
    import traceback

    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            try:
                result = (True, function())
            except BaseException:
                result = (False, traceback.format_exc())
            with open(write, "wb") as file:
                pickle.dump(result, file)
        finally:
            os._exit(0)
    os.close(write)
    with open(read, "rb") as file:
        data = file.read()
    os.waitpid(pid, 0)
    good, result = pickle.loads(data)
    assert good, result
    return result


def _local_routes_to_come(dump: dict[str, Any]) -> set[str]:
    """IPv6 addresses of devices that are up, without the local route that the kernel gives each.

    Of a device without ARP also those that are tentative: their DAD ends in the same work item, at once
    (addrconf_dad_begin of net/ipv6/addrconf.c).
    """
    local = {route.split("/128 type 2 ")[0] for route in dump["routes"] if "/128 type 2 " in route}
    to_come: set[str] = set()
    for name, link in dump["links"].items():
        for a in dump["addresses"].get(name, []) if link.up else []:
            if a.tentative and (a.failed or not link.flags & rawdump.IFF_NOARP):
                continue
            if ":" in a.address and (a.tentative or f"inet6 {a.address}" not in local):
                to_come.add(a.address)
    return to_come

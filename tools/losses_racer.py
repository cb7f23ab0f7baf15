"""A process in the target that takes a name while a batch is under way, which no check beforehand can see."""

from __future__ import annotations

import os
import signal
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from tests.support import rawdump
from tests.support.namespaces import Namespace
from tools.losses_judge import Dump

PEER = "racer"  # the other end of the racer's veth
IFINDEX = 60000  # of the veth; the next number is the peer's: devices that move may keep theirs


def _take(name: str, socket: rawdump.Socket) -> None:
    """Makes a veth of that name, unless the name is taken already. Layout: linux/veth.h."""
    ifinfomsg, peer = (struct.pack("=BxHiII", 0, 0, IFINDEX + number, 0, 0) for number in range(2))
    peer += rawdump.attribute(rawdump.IFLA_IFNAME, PEER.encode() + b"\0")
    info = rawdump.attribute(1, b"veth\0") + rawdump.attribute(2, rawdump.attribute(1, peer))
    attrs = rawdump.attribute(rawdump.IFLA_IFNAME, name.encode() + b"\0")
    attrs += rawdump.attribute(rawdump.IFLA_LINKINFO, info)
    socket.request(rawdump.RTM_NEWLINK, rawdump.NLM_F_CREATE_EXCL, ifinfomsg + attrs)


def _goes_down(ifindex: int, datagram: bytes) -> bool:
    at = 0
    while at < len(datagram):
        length, type_ = struct.unpack_from("=IH", datagram, at)
        if type_ == rawdump.RTM_NEWLINK:
            _, _, of, flags, _ = struct.unpack_from("=BxHiII", datagram, at + 16)
            if of == ifindex and not flags & rawdump.IFF_UP:
                return True
        at += (length + 3) & ~3
    return False


@contextmanager
def racing(name: str, target: Namespace, host: Namespace, first: str) -> Iterator[None]:
    """Runs a process that takes `name` in the target as soon as the host's device `first` is set down.

    Each way to move a device sets it down before it leaves. After the first arrival it may be too late for the
    other names: a mover goes on before a process runs that waits. So it asks for a real-time priority, too.
    """
    ifindex = host.links()[first].ifindex
    ready, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            with host.monitor() as monitor, target.socket() as socket:
                monitor.raw.setblocking(True)
                with suppress(PermissionError):
                    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
                os.write(write, b".")
                # Other messages do not count: a carrier's change is notified up to a second late.
                while not _goes_down(ifindex, monitor.raw.recv(1 << 16)):
                    pass
                _take(name, socket)
        finally:
            os._exit(0)
    os.close(write)
    os.read(ready, 1)
    os.close(ready)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGKILL)  # not yet waited for: the number is still its own
        os.waitpid(pid, 0)


def without(name: str, dump: Dump) -> dict[str, Any]:
    """A dump without the racer's devices."""
    racers = {name, PEER}
    kept = {part: {n: found for n, found in dump[part].items() if n not in racers} for part in ("links", "addresses")}
    return {**dump, **kept}

"""A process in the target that takes a name while a batch is under way, which no check beforehand can see."""

from __future__ import annotations

import os
import select
import signal
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.support import rawdump
from tests.support.namespaces import Namespace
from tools.losses_judge import Dump

PEER = "racer"  # the other end of the racer's veth


def _take(name: str, socket: rawdump.Socket) -> None:
    """Makes a veth of that name, unless the name is taken already. Layout: linux/veth.h."""
    ifinfomsg = struct.pack("=BxHiII", 0, 0, 0, 0, 0)
    peer = ifinfomsg + rawdump.attribute(rawdump.IFLA_IFNAME, PEER.encode() + b"\0")
    info = rawdump.attribute(1, b"veth\0") + rawdump.attribute(2, rawdump.attribute(1, peer))
    attrs = rawdump.attribute(rawdump.IFLA_IFNAME, name.encode() + b"\0")
    attrs += rawdump.attribute(rawdump.IFLA_LINKINFO, info)
    socket.request(rawdump.RTM_NEWLINK, rawdump.NLM_F_CREATE_EXCL, ifinfomsg + attrs)


@contextmanager
def racing(name: str, target: Namespace) -> Iterator[None]:
    """Runs a process that takes `name` as soon as a device arrives in the target."""
    ready, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            with target.monitor() as monitor, target.socket() as socket:
                os.write(write, b".")
                # Which device is not asked: a request would wait for rtnl, and the batch goes on meanwhile.
                while "NEWLINK" not in monitor.seen():
                    select.select([monitor.raw], [], [])
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

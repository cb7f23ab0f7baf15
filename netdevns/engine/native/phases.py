"""The phases of a batch, in C: csrc/snapshot.c, csrc/phases.c. As in `engine.reference.phases`, call for call."""

from __future__ import annotations

import errno
from collections.abc import Sequence

from ..._ffi import ffi, lib
from ..batch_device import BatchDevice
from ..failed import Failed
from .memory import failure
from .socket import Socket, Watch


class Phases:
    """As `engine.reference.phases.Phases`, whose description is this one's, too.

    Raises:
        MemoryError: before anything was sent.
    """

    def __init__(
        self,
        source: Socket,
        target: Socket,
        target_fd: int,
        watch: Watch,
        devices: Sequence[BatchDevice],
        uppers: Sequence[BatchDevice],
    ) -> None:
        everyone = [*devices, *uppers]
        # What the batch borrows lives as long as it does.
        self._borrowed = source, target, watch
        self.everyone = everyone
        self._count = len(devices)
        self._failed = ffi.new("struct nd_failure *")
        self._is_late = ffi.new("int *")
        links = b"".join([device.link.message() for device in everyone])
        members = ffi.new("struct nd_member *[]", [device.member for device in everyone])
        orders = ffi.new("uint32_t[]", self._count), ffi.new("uint32_t[]", self._count)
        with ffi.from_buffer(links) as data:
            sockets = source.raw, target.raw, watch.raw
            counts = self._count, len(everyone)
            plan = ffi.new("struct nd_plan *", (*sockets, members, *counts, data, len(links), target_fd, *orders))
            made = ffi.new("struct netdevns_batch **")
            if lib.nd_phases_open(made, plan, ffi.addressof(self._failed, "err")):
                raise MemoryError  # the links are what this engine has read: nothing else fails
        self._batch = ffi.gc(made[0], lib.nd_phases_close)
        self.moves, self.replays = ([everyone[at] for at in ffi.unpack(order, self._count)] for order in orders)

    def _done(self, code: int) -> None:
        if not code:
            return
        f = self._failed[0]
        e = failure(f.err)
        step = ffi.string(f.step).decode()
        if step == "notify":
            raise e
        device = self.everyone[f.device] if f.device >= 0 else None
        raise Failed(device, step, 0 if e.errno == errno.ESTALE else e.errno, e.extack)

    def snapshot(self) -> None:
        """Records what the kernel drops: one dump of addresses; the links are those that were just read."""
        self._done(lib.nd_batch_snapshot(self._batch, self._failed))

    def set_down(self) -> None:
        """All links of several in one send: each move then waits for one tick of the kernel's less (9-15 %)."""
        self._done(lib.nd_batch_set_down(self._batch, self._failed))

    def move_next(self) -> int:
        """Moves the next device; returns how many have moved."""
        self._done(lib.nd_batch_move_next(self._batch, self._failed))
        return int(self._batch.moved)

    def catch_up(self) -> bool:
        """Addresses that somebody added or changed between snapshot and move: the kernel told of them when they went.

        Returns whether there were any. An IPv4 route that was added meanwhile is lost: nobody is told of it (probe
        notify.route.ipv4). Raises EngineError: some notifications could not be read.
        """
        self._done(lib.nd_batch_catch_up(self._batch, self._is_late, self._failed))
        return bool(self._is_late[0])

    def replay_next(self) -> int:
        """Gives the next device its addresses in the target and sets it up; returns how many have theirs."""
        self._done(lib.nd_batch_replay_next(self._batch, self._failed))
        return int(self._batch.replayed)

    def verify_next(self) -> int:
        """Compares the next window with the snapshots; returns how many are as they were."""
        self._done(lib.nd_batch_verify_next(self._batch, self._failed))
        return int(self._batch.verified)

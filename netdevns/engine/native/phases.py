"""Runs the phases of a batch in C (csrc/snapshot.c, csrc/phases.c), with the interface of `engine.reference.phases`."""

from __future__ import annotations

import errno
from collections.abc import Sequence

from ..._ffi import ffi, lib
from ..batch_device import BatchDevice
from ..failed import Failed
from .memory import failure
from .socket import Socket, Watch


class Phases:
    """The native `engine.reference.phases.Phases`.

    Raises:
        MemoryError: Before anything was sent.
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
        # Keeps alive what the C batch points to.
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
                raise MemoryError  # the only failure: this engine has parsed the links already
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
        """Records each device: its addresses by one dump, its link as just read."""
        self._done(lib.nd_batch_snapshot(self._batch, self._failed))

    def set_down(self) -> None:
        """Sets all links down in one send, where there are several: each move then takes 9-15 % less."""
        self._done(lib.nd_batch_set_down(self._batch, self._failed))

    def move_next(self) -> int:
        """Moves the next device; returns how many have moved."""
        self._done(lib.nd_batch_move_next(self._batch, self._failed))
        return int(self._batch.moved)

    def catch_up(self) -> bool:
        """Adds addresses that changed between snapshot and move: the move's RTM_DELADDR notifications have them.

        Returns whether there were any. An IPv4 route that was added meanwhile is lost: the kernel sends no notification
        of its end (probe notify.route.ipv4). Raises EngineError: notifications were lost.
        """
        self._done(lib.nd_batch_catch_up(self._batch, self._is_late, self._failed))
        return bool(self._is_late[0])

    def replay_next(self) -> int:
        """Adds the next device's addresses in the target and sets it up; returns how many are done."""
        self._done(lib.nd_batch_replay_next(self._batch, self._failed))
        return int(self._batch.replayed)

    def verify_next(self) -> int:
        """Compares the next window of devices with their snapshots; returns how many are done."""
        self._done(lib.nd_batch_verify_next(self._batch, self._failed))
        return int(self._batch.verified)

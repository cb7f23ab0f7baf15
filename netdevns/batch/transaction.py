"""The batch: all devices arrive, or all are put back. Written once, for every engine.

Phases: check all (checks.examine) - snapshot all - all links down in one send - move all, uppers before lowers -
replay, lowers first - read back and compare. When anything fails, `undo` takes the same order in the other direction.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable

from ..engine import EngineError, Socket, Watch, address_runs, lookups
from ..errors import MoveFailed
from ..netlink import ifname, uapi, wire
from ..system.interrupts import Shield
from . import failures, losses, readback, undo
from .failures import Stopped, step
from .plan import Item, Member, Plan
from .undo import OnStep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from ..results import Moved
    from ..system.interrupts import Interrupts
    from ..system.process import Process
    from .preserved import Preserver

    class Recorder(Protocol):
        """Keeps what another process needs to undo the batch. Raises OSError, with the path."""

        def write(self, plan: Plan, members: list[Member], uppers: list[Member]) -> None: ...
        def end(self, *, keep: bool) -> bool: ...

    class Lender(Protocol):
        """Keeps what the devices were, for when they come home. `lend` raises OSError, with the path."""

        def lend(self, plan: Plan, members: list[Member]) -> None: ...
        def retract(self) -> None: ...


UNDO_TRIES = 100
DOWN_WINDOW = 64  # messages; a refusal of each still fits into a default receive buffer
UNREAD_BYTES = 8 << 10  # of addresses that were moved: fewer than a buffer of net.core.rmem_max holds


def _members(items: list[Item]) -> list[Member]:
    return [Member(item, item.device, item.link) for item in items if item.device is not None and item.link is not None]


class Batch:
    def __init__(
        self,
        plan: Plan,
        deadline: float | None,
        on_step: OnStep | None = None,
        recorder: Recorder | None = None,
        lender: Lender | None = None,
        interrupts: Interrupts | None = None,
        process: Process | None = None,
    ) -> None:
        self.plan = plan
        self.deadline = deadline
        self.on_step = on_step
        self.recorder = recorder
        self.lender = lender
        self.interrupts = interrupts
        self.process = process
        self.members = _members(plan.items)
        self.uppers = _members(plan.uppers)
        self.preserver: Preserver | None = None
        self.is_up_to_date = False  # whether the snapshots have what was added after them
        self.may_miss_late = False  # not all that was told could be read
        # Literal names before templates, those that bring alternative names first: "eth%d" must not take the "eth0"
        # that another device wants or brings along (probes clash.template-zero-taken, clash.template-zero-altname).
        self.move_order = sorted(
            self.members, key=lambda m: (-m.item.depth, ifname.is_template(m.item.wanted), not m.link.altnames)
        )
        self.up_order = sorted(self.members, key=lambda m: m.item.depth)

    @property
    def watch(self) -> Watch:
        assert self.plan.watch is not None
        return self.plan.watch

    @property
    def source(self) -> Socket:
        assert self.plan.source_socket is not None
        return self.plan.source_socket

    @property
    def target(self) -> Socket:
        assert self.plan.target_socket is not None
        return self.plan.target_socket

    def run(self, results: Callable[[Batch], tuple[Moved, ...]] | None = None) -> tuple[Moved, ...]:
        shield = Shield() if self.interrupts is None else None  # a command's signals are held back already
        try:
            moved = self._run(results, shield)
        except BaseException as e:
            try:
                if shield:
                    shield.release()
            except BaseException as struck:  # a signal that came during the undo
                raise struck from (e if isinstance(e, MoveFailed) else e.__cause__)
            raise
        if shield:
            shield.release()
        return moved

    def _run(self, results: Callable[[Batch], tuple[Moved, ...]] | None, shield: Shield | None) -> tuple[Moved, ...]:
        try:
            self._forward()
            moved = results(self) if results else ()
            if shield:
                shield.hold()  # what came until now interrupts the move, what comes later does not
        except BaseException as e:
            cause = e
        else:
            if self.recorder:
                self.recorder.end(keep=False)
            return moved
        # Python looks for signals at calls and jumps backwards: none can strike between the lines above and this `try`.
        tries = 0
        while True:
            try:
                if shield:
                    shield.hold()
                self._late_for_undo()
                left = undo.everything(self.plan, self.move_order, self.uppers, self._tell)
                if self.lender is not None:
                    self.lender.retract()
                break
            except BaseException:  # a signal handler may raise what it likes
                tries += 1
                if tries == UNDO_TRIES:
                    raise
                continue  # every step of the undo can be repeated: begin again
        is_kept = False
        if self.recorder:
            is_kept = self.recorder.end(keep=not undo.is_all_for_good(left, [*self.members, *self.uppers]))
        failed = failures.failed(cause, left, self.plan, is_kept=is_kept, may_miss_late=self.may_miss_late)
        if isinstance(cause, (Stopped, EngineError)):
            raise failed from None
        raise cause from failed

    # ---- forward ----

    def _forward(self) -> None:
        readback.snapshots(self.source, (*self.members, *self.uppers))
        if self.recorder is not None and self.members:
            self._write_record(self.recorder)
        if len(self.members) > 1:
            self._down()
        assert self.plan.target is not None
        count = len(self.members)
        # Little is done between two moves: after milliseconds of waiting, none of it is in the processor's caches.
        source, target, fd = self.source, self.target, self.plan.target.fd
        unread, sizes = 0, [member.device.addresses_size for member in self.move_order]
        keeps_altnames = not any(member.link.altnames for member in self.members) or lookups.moves_altnames()
        for done, member in enumerate(self.move_order, 1):
            self._in_time(member)
            member.touched = True
            if member.link.altnames and not keeps_altnames:
                self._take_altnames(member)
            step(member, "move", member.device.move, source, target, fd)
            unread += sizes[done - 1]
            if unread > UNREAD_BYTES:
                self.watch.drain()
                unread = 0
            self._tell("move", done, count)
        self._late()
        self._carry(up=False)
        for done, member in enumerate(self.up_order, 1):
            self._in_time(member)
            step(member, "replay", member.device.up_and_replay, target)
            if member.link.altnames and not keeps_altnames:
                self._give_altnames(member)
            self._tell("replay", done, count)
        self._carry(up=True)
        for done, _ in enumerate(readback.verify(self.target, self.members), 1):
            self._tell("verify", done, count)
        if self.lender is not None and self.members:  # before the record of the move goes: one of the two is there
            self._lend(self.lender)
        self._see_process()

    def _lend(self, lender: Lender) -> None:
        try:
            lender.lend(self.plan, self.members)
        except OSError as e:
            raise Stopped(None, "record", e.errno or errno.EIO, f"{e.filename}: {e.strerror}") from None

    def _carry(self, *, up: bool) -> None:
        if not self.plan.preserve:
            return
        from . import preserved  # loaded by then

        if self.preserver is None:
            self.preserver = preserved.Preserver(self.plan, self.up_order)
        step(None, "carry", self.preserver.after_up if up else self.preserver.before_up)

    def _write_record(self, recorder: Recorder) -> None:
        try:
            recorder.write(self.plan, self.move_order, self.uppers)
        except OSError as e:
            raise Stopped(None, "record", e.errno or errno.EIO, f"{e.filename}: {e.strerror}") from None

    def _late(self) -> None:
        """Addresses that somebody added or changed between snapshot and move: the kernel told of them when they went.

        An IPv4 route that was added meanwhile is lost: nobody is told of it (probe notify.route.ipv4).
        """
        self.watch.drain()
        everyone = [member for member in (*self.members, *self.uppers) if member.device.has_snapshot]
        if len(everyone) == 1:
            everyone[0].device.late(self.watch.told)
        else:
            told: dict[int, list[bytes | memoryview]] = {}
            for ifindex, messages in address_runs(self.watch.told):
                told.setdefault(ifindex, []).append(messages)
            for member in everyone:
                if member.link.ifindex in told:
                    member.device.late(b"".join(told[member.link.ifindex]))
        self.is_up_to_date = True
        if self.recorder is not None and any(member.device.was_late for member in everyone):
            self._write_record(self.recorder)

    def _late_for_undo(self) -> None:
        """The same where the moves did not come to their end; once: an undo's own replays are told of, too."""
        for _ in range(2):  # behind an overflow lies what was told before it
            if self.is_up_to_date:
                return
            try:
                self._late()
            except Exception:  # the undo itself is not to depend on it
                self.may_miss_late |= not self.is_up_to_date
        self.is_up_to_date = True

    def _tell(self, what: str, done: int, count: int) -> None:
        if self.on_step is None:
            return
        try:
            self.on_step(what, done, count)
        except Exception:
            self.on_step = None  # who only watches must not stop a move, and still less an undo

    def _take_altnames(self, member: Member) -> None:
        """Removes the alternative names before a move that loses them (probe clash.own-altname.left-behind)."""
        lost = step(member, "move", lookups.lost_altnames, self.source, member.link.altnames, member.link)
        names = [name for name in dict.fromkeys(member.link.altnames) if name not in lost]
        if names:
            request = wire.altnames_message(uapi.RTM_DELLINKPROP, member.device.ifindex, names)
            step(member, "move", self.source.command, request)

    def _give_altnames(self, member: Member) -> None:
        names = dict.fromkeys(member.link.altnames)
        request = wire.altnames_message(uapi.RTM_NEWLINKPROP, member.device.target_ifindex, names)
        step(member, "replay", self.target.command, request)

    def _in_time(self, member: Member) -> None:
        if self.interrupts is not None and (name := self.interrupts.name):
            raise Stopped(None, "interrupt", 0, name)
        if self.deadline is not None and time.monotonic() >= self.deadline:
            raise Stopped(member, "time-out", errno.ETIMEDOUT, "")
        self._see_process()

    def _see_process(self) -> None:
        """Raises Stopped where the container's process has ended."""
        if self.process is not None and self.process.has_ended():
            raise Stopped(None, "process", errno.ESRCH, f"the container's process {self.process.pid} has ended")

    def _down(self) -> None:
        """All links down in one send: each move then waits for one tick of the kernel's less (9-15 % of a batch)."""
        up = [member for member in self.move_order if member.link.flags & uapi.IFF_UP]
        for at in range(0, len(up), DOWN_WINDOW):
            window = up[at : at + DOWN_WINDOW]
            requests = []
            for member in window:
                member.touched = True
                flags = uapi.NLM_F_ACK if member is window[-1] else 0
                requests.append(wire.link_message(uapi.RTM_NEWLINK, flags, member.device.ifindex, up=False))
            try:
                self.source.command(b"".join(requests))
            except EngineError as e:
                raise Stopped(window[min(e.index, len(window) - 1)], "down", e.errno, e.extack) from None

    def results(self) -> tuple[Moved, ...]:
        from ..results import Moved

        moved = []
        for member in self.members:
            losses.find_addresses(self.plan, member.item, member.device.unprotected)
            lost = [*member.item.lost, *readback.resets(self.plan, member)]
            if member.device.cut_labels:
                lost.append(f"{member.device.cut_labels} labels")
            moved.append(
                Moved.lazy(
                    member.device.arrived,
                    host_name=member.item.host_name,
                    name=os.fsdecode(member.device.name),
                    ifindex=member.device.target_ifindex,
                    host_ifindex=member.link.ifindex,
                    not_carried=tuple(lost),
                )
            )
        return tuple(moved)

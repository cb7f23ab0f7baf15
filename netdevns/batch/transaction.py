"""Moves a batch: all devices arrive, or all are restored. The same for every engine.

Phases, after all checks (`api.transact`): snapshot all - write the record - all links down in one send - move all,
uppers before lowers - catch up with late addresses - replay, lowers first, with what `preserve` asks for carried before
and after it - read back and compare - lend, for a container - drop the record. On any failure, `undo` goes back in the
opposite order. The words (Sides, upper, late, carry, lend): docs/architecture.md, "Words".
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from typing import Protocol

from .. import state
from ..engine import EngineError
from ..engine.batch_device import BatchDevice
from ..engine.failed import Failed, attempt
from ..engine.phases import Phases
from ..errors import MoveFailed
from ..results import Left, Moved
from ..state.kind import View
from ..system.interrupts import Interrupts, Shield
from ..system.netns import is_at
from ..system.process import Process
from . import failures, losses, undo
from .plan import Plan, Sides
from .preserved import Preserver
from .undo import OnStep


class Recorder(Protocol):
    """Records the batch, so that another process can undo it. Raises OSError, with the path."""

    def write(self, plan: Plan, sides: Sides, devices: list[BatchDevice], uppers: list[BatchDevice]) -> None: ...
    def end(self, *, keep: bool) -> bool: ...


class Lender(Protocol):
    """Writes the loan by which the devices are restored when they return. `lend` raises OSError, with the path."""

    def lend(self, plan: Plan, sides: Sides, devices: list[BatchDevice]) -> None: ...
    def retract(self) -> None: ...


# The most undos of one batch: each exception in one leads to the next, and one in the last propagates. As many as Linux
# has signals (signal(7)): each may be pending when `hold` blocks it, and its handler may raise.
UNDO_TRIES = 64


class Batch:
    """One move of devices that have been checked.

    Args:
        deadline_s: On the clock of time.monotonic(): no device is moved or replayed after it. None: none.
        on_step: Is called with the phase, the devices done and their number.
        recorder, lender: Write the record and the loan; None: there is none.
        interrupts: A command's signals, held back; None: this is a library's call, which blocks them for its undo.
        process: The container's: if it ends, the move is undone.
        path: Of the target: if it is removed, the move is undone. "": none.
    """

    def __init__(
        self,
        plan: Plan,
        sides: Sides,
        phases: Phases,
        deadline_s: float | None,
        on_step: OnStep | None = None,
        recorder: Recorder | None = None,
        lender: Lender | None = None,
        interrupts: Interrupts | None = None,
        process: Process | None = None,
        path: str = "",
    ) -> None:
        self.plan = plan
        self.sides = sides
        self.phases = phases
        self.deadline_s = deadline_s
        self.on_step = on_step
        self.recorder = recorder
        self.lender = lender
        self.interrupts = interrupts
        self.process = process
        self.path = path
        self.preserver: Preserver | None = None
        self.has_caught_up = False  # late addresses are in the snapshots; or the undo has begun, and does not try again
        self.may_miss_late = False  # whether notifications could not be read
        self.cause: BaseException | None = None  # why the move failed
        self.left: tuple[Left, ...] | None = None  # what could not be restored; None: there was no undo

    def run(self, collect: Callable[[Batch], tuple[Moved, ...]] | None = None) -> tuple[Moved, ...]:
        """Moves all devices, or restores all of them.

        Args:
            collect: Makes the result of a move, as `results` does; None: the result is empty.

        Raises:
            MoveFailed: The move failed; everything is restored, but for the devices in `left`.
            BaseException: An exception that interrupted the move, after the undo and with MoveFailed as its cause; or
                the last one, if each of UNDO_TRIES undos was interrupted.
        """
        shield = Shield() if self.interrupts is None else None  # a command's signals are held back already
        try:
            moved = self._run(collect, shield)
        except BaseException as e:
            try:
                if shield:
                    shield.release()
            except BaseException as signal:  # arrived during the undo
                raise signal from (e if isinstance(e, MoveFailed) else e.__cause__)
            raise
        if shield:
            shield.release()
        return moved

    def _run(self, collect: Callable[[Batch], tuple[Moved, ...]] | None, shield: Shield | None) -> tuple[Moved, ...]:
        moved = self._moved_or_undone(UNDO_TRIES, collect, shield)
        if self.cause is None or self.left is None:
            if self.recorder:
                self.recorder.end(keep=False)
            return moved
        is_kept = False
        if self.recorder:
            is_kept = self.recorder.end(
                keep=not undo.is_all_unrestorable(self.left, [*self.plan.devices, *self.plan.uppers])
            )
        failed = failures.failed(self.cause, self.left, self.plan, is_kept=is_kept, may_miss_late=self.may_miss_late)
        if isinstance(self.cause, (Failed, EngineError)):
            raise failed from None
        raise self.cause from failed

    def _moved_or_undone(
        self, tries: int, collect: Callable[[Batch], tuple[Moved, ...]] | None, shield: Shield | None
    ) -> tuple[Moved, ...]:
        """Moves; after an exception undoes the move, and after one in the undo undoes it again, up to `tries` times.

        Nests `tries` blocks of `try` by recursion, with the move in the innermost one; each that gets an exception from
        the one inside runs the undo. A loop around the undo would not do: a signal handler may raise at each call, each
        entry of a function and each jump back to the head of a loop (CPython 3.11 to 3.13), and that jump would be
        outside the loop's `try`. All blocks are entered before the move begins, so that from then on each place where a
        handler may raise is inside one.
        """
        if not tries:
            self._forward()
            moved = collect(self) if collect else ()
            if shield:
                shield.hold()  # from here on, signals no longer interrupt the move
            return moved
        try:
            return self._moved_or_undone(tries - 1, collect, shield)
        except BaseException as e:  # a handler's or our own, which may have the same type: both are treated alike
            if self.cause is None:
                self.cause = e
            self._undo(shield)
            return ()

    def _undo(self, shield: Shield | None) -> None:
        """Undoes the move. Every step can be repeated."""
        if shield:
            shield.hold()
        self._late_for_undo()
        left = undo.everything(self.plan, self.sides, self.phases.moves, self.plan.uppers, self._report)
        if self.lender is not None:
            self.lender.retract()
        self.left = left

    def _forward(self) -> None:
        phases, count = self.phases, len(self.plan.devices)
        phases.snapshot()
        self._write_record()
        phases.set_down()
        for device in phases.moves:
            self._in_time(device)
            self._report("move", phases.move_next(), count)
        self._late()
        self._carry(up=False)
        for device in phases.replays:
            self._in_time(device)
            self._report("replay", phases.replay_next(), count)
        self._carry(up=True)
        verified = 0
        while verified < count:
            verified = phases.verify_next()
            self._report("verify", verified, count)
        for device in self.plan.devices:
            self._find_losses(device)
        self._lend()  # before the record is dropped: at any moment one of the two exists
        self._see_process()
        self._see_path()

    def _find_losses(self, device: BatchDevice) -> None:
        """Notes the addresses and labels that were not carried; the checks have noted the rest."""
        losses.find_addresses(self.plan, device, device.unprotected)
        if device.cut_labels:
            device.lost.append(f"{device.cut_labels} label{'s' if device.cut_labels > 1 else ''}")

    def _write_record(self) -> None:
        if self.recorder is not None and self.plan.devices:
            _recorded(self.recorder.write, self.plan, self.sides, self.phases.moves, self.plan.uppers)

    def _lend(self) -> None:
        if self.lender is not None and self.plan.devices:
            _recorded(self.lender.lend, self.plan, self.sides, self.plan.devices)

    def _carry(self, *, up: bool) -> None:
        if not self.plan.preserve:
            return
        if self.preserver is None:
            self.preserver = Preserver(self.plan, self.sides, self.phases.replays)
        attempt(None, "carry", self.preserver.after_up if up else self.preserver.before_up)

    def _late(self) -> None:
        was_late = self.phases.catch_up()
        self.has_caught_up = True
        if was_late:
            self._write_record()

    def _late_for_undo(self) -> None:
        """Catches up before an undo, if the moves were cut short. Once: the undo itself causes notifications, too."""
        for _ in range(2):  # after an overflow, earlier notifications are still in the socket
            if self.has_caught_up:
                return
            try:
                self._late()
            except Exception:  # must not prevent the undo
                self.may_miss_late |= not self.has_caught_up
        self.has_caught_up = True

    def _report(self, what: str, done: int, count: int) -> None:
        if self.on_step is None:
            return
        try:
            self.on_step(what, done, count)
        except Exception:
            self.on_step = None  # an observer must not stop a move, and still less an undo

    def _in_time(self, device: BatchDevice) -> None:
        if self.interrupts is not None and (name := self.interrupts.name):
            raise Failed(None, "interrupt", 0, name)
        if self.deadline_s is not None and time.monotonic() >= self.deadline_s:
            raise Failed(device, "time-out", errno.ETIMEDOUT, "")
        self._see_process()

    def _see_process(self) -> None:
        """Raises Failed if the container's process has ended."""
        if self.process is not None and self.process.has_ended():
            raise Failed(None, "process", errno.ESRCH, f"the container's process {self.process.pid} has ended")

    def _see_path(self) -> None:
        """Raises Failed if the target has lost its path: without this call's descriptor, it would end."""
        if not self.path:
            return
        try:
            is_there = is_at(self.sides.target, self.path)
        except OSError as e:
            is_there = e.errno != errno.ESRCH  # a process's; another error says nothing about it
        if not is_there:
            raise Failed(None, "target", errno.ENOENT, f"{self.path} was removed or replaced during the move")

    def results(self) -> tuple[Moved, ...]:
        before = View({device.link.ifindex: device.link for device in self.plan.devices}, state=self.plan.state)
        kinds = [kind for kind in state.KINDS if kind.name not in self.plan.preserve]
        moved = []
        for device in self.plan.devices:
            lost, arrived_link = [*device.lost], device.arrived_link
            for kind in kinds:
                lost += kind.resets(before, device.link.ifindex, arrived_link)
            moved.append(
                Moved.lazy(
                    device.arrived,
                    host_name=device.host_name,
                    name=os.fsdecode(device.name),
                    ifindex=device.target_ifindex,
                    host_ifindex=device.link.ifindex,
                    not_carried=tuple(lost),
                )
            )
        return tuple(moved)


def _recorded(write: Callable[..., None], *args: object) -> None:
    try:
        write(*args)
    except OSError as e:
        raise Failed(None, "record", e.errno or errno.EIO, f"{e.filename}: {e.strerror}") from None

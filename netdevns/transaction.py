"""The batch: all devices arrive, or all are put back. Written once, for every engine.

Phases: check all (checks.examine) - snapshot all - all links down in one send - move all, uppers before lowers -
replay, lowers first - read back and compare. When anything fails, `undo` takes the same order in the other direction.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Collection, Mapping

from . import checks, lookups, losses, names, uapi, undo, wire
from .engine import EngineError, Socket
from .errors import CheckFailed, MoveFailed
from .netns import NetNS
from .plan import Item, Plan
from .undo import Member, OnStep, location

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .results import Left, Moved

UNDO_TRIES = 100
DOWN_WINDOW = 64  # messages; a refusal of each still fits into a default receive buffer
WORDS = {
    "open": "it could not be prepared",
    "exchange": "the kernel could not be asked",
    "snapshot": "its addresses could not be read",
    "down": "it could not be set down",
    "move": "the move failed",
    "replay": "its addresses could not be set in the target",
    "verify": "it did not arrive as it was",
    "undo": "it could not be put back",
}


def move(
    devices: Mapping[str, Mapping[str, object] | str | None],
    netns: NetNS | str | os.PathLike[str] | int,
    *,
    source: NetNS | str | os.PathLike[str] | int | None = None,
    preserve: Collection[str] = (),
    journal: str | os.PathLike[str] | None = None,
    force: bool = False,
    timeout_s: float | None = None,
) -> tuple[Moved, ...]:
    """Move devices into a network namespace, all of them or none.

    Args:
        devices: Host name -> name in the target, in the shape of `linux.netDevices`: a mapping with an optional "name",
            a str, "" or None (the host name is kept). A name with one "%d" is a template: the kernel picks the number.
        netns: The target: a `NetNS`, a path, a name under /run/netns, "pid:N" or an open descriptor (not closed).
        source: The namespace that the devices are in; the calling thread's by default.
        preserve: Must be empty in this version: nothing is carried over besides what the runtime-spec protects.
        journal: Must be None in this version: no record is written, a killed process is not undone.
        force: Move a device although it carries a default route.
        timeout_s: Seconds after which no further device is started; what was moved is undone. None: no limit.

    Returns:
        One `Moved` for each device, in the order of `devices`.

    Raises:
        CheckFailed: Nothing was touched; `.report` has every finding, not only the first.
        MoveFailed: Everything is back in the source, unless `.left` says otherwise. ETIMEDOUT: the time was over.
        TypeError, ValueError: Wrong Python types; a `preserve` or `journal` that this version does not have.
        BaseException: Whatever interrupts the move (KeyboardInterrupt) first undoes it, then propagates; its
            `__cause__` is a MoveFailed that says where everything is.

    Example:
        >>> import netdevns
        >>> moved = netdevns.move({"eth1": {"name": "net0"}, "eth2": "port%d"}, "blue")
        >>> [(m.host_name, m.name) for m in moved]
        [('eth1', 'net0'), ('eth2', 'port0')]

    Source: OCI runtime-spec 1.3, config-linux.md "Network Devices" (the move); runtime.md "Errors" (all or nothing).
    """
    checks.known_preserve(preserve)
    if journal is not None:
        raise ValueError("journal: crash records are not available in this version")
    return transact(devices, netns, source=source, force=force, timeout_s=timeout_s, results=True)


def transact(
    devices: Mapping[str, Mapping[str, object] | str | None],
    netns: NetNS | str | os.PathLike[str] | int,
    *,
    source: NetNS | str | os.PathLike[str] | int | None = None,
    force: bool = False,
    timeout_s: float | None = None,
    results: bool = False,
    on_step: OnStep | None = None,
) -> tuple[Moved, ...]:
    """`move` for this package's own callers.

    Args:
        results: Whether to make them: a hook must not pay for what nobody reads.
        on_step: Called between two calls of the engine with a step ("move", "replay", "verify", "undo"), how many
            devices have done it, and of how many. It only watches: an Exception that it raises ends its calls, not the
            move. KeyboardInterrupt and SystemExit interrupt the move there as anywhere else.
    """
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    with checks.examine(devices, netns, source, force) as plan:
        errors = plan.errors
        if errors:
            more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
            raise CheckFailed(
                errors[0].text + more,
                report=plan.report(),
                errno=errors[0].errno,
                device=errors[0].device,
                step="check",
                netns=plan.target.where if plan.target else None,
                location="source" if errors[0].device else None,
            )
        return _Batch(plan, deadline, on_step).run(_Batch.results if results else None)


def _members(items: list[Item]) -> list[Member]:
    return [Member(item, item.device, item.link) for item in items if item.device is not None and item.link is not None]


class _Stopped(Exception):
    """A step of one device failed."""

    def __init__(self, member: Member | None, step: str, errno_: int, extack: str) -> None:
        super().__init__(step)
        self.member = member
        self.step = step
        self.errno = errno_
        self.extack = extack


class _Batch:
    def __init__(self, plan: Plan, deadline: float | None, on_step: OnStep | None = None) -> None:
        self.plan = plan
        self.deadline = deadline
        self.on_step = on_step
        self.members = _members(plan.items)
        self.uppers = _members(plan.uppers)
        # Literal names before templates, those that bring alternative names first: "eth%d" must not take the
        # "eth0" that another device wants or brings along.
        self.move_order = sorted(
            self.members, key=lambda m: (-m.item.depth, names.is_template(m.item.wanted), not m.link.altnames)
        )
        self.up_order = sorted(self.members, key=lambda m: m.item.depth)

    @property
    def source(self) -> Socket:
        assert self.plan.source_socket is not None
        return self.plan.source_socket

    @property
    def target(self) -> Socket:
        assert self.plan.target_socket is not None
        return self.plan.target_socket

    def run(self, results: Callable[[_Batch], tuple[Moved, ...]] | None = None) -> tuple[Moved, ...]:
        try:
            self._forward()
            return results(self) if results else ()
        except BaseException as e:
            cause = e
        # Python looks for signals at calls and jumps backwards: none can strike between the lines above and this `try`.
        tries = 0
        while True:
            try:
                left = undo.everything(self.plan, self.move_order, self.uppers, self._tell)
                break
            except BaseException:  # a signal handler may raise what it likes
                tries += 1
                if tries == UNDO_TRIES:
                    raise
                continue  # every step of the undo can be repeated: begin again
        failed = self._failed(cause, left)
        if isinstance(cause, (_Stopped, EngineError)):
            raise failed from None
        raise cause from failed

    # ---- forward ----

    def _forward(self) -> None:
        for member in (*self.members, *self.uppers):
            self._step(member, "snapshot", member.device.snapshot, self.source)
        if len(self.members) > 1:
            self._down()
        assert self.plan.target is not None
        count = len(self.members)
        for done, member in enumerate(self.move_order, 1):
            self._in_time(member)
            member.touched = True
            self._take_altnames(member)
            self._step(member, "move", member.device.move, self.source, self.target, self.plan.target.fd)
            self._tell("move", done, count)
        for done, member in enumerate(self.up_order, 1):
            self._in_time(member)
            self._step(member, "replay", member.device.up_and_replay, self.target)
            self._give_altnames(member)
            self._tell("replay", done, count)
        for done, member in enumerate(self.members, 1):
            self._step(member, "verify", member.device.verify, self.target)
            if member.link.altnames:
                self._step(member, "verify", self._verify_altnames, member)
            self._tell("verify", done, count)

    def _tell(self, step: str, done: int, count: int) -> None:
        if self.on_step is None:
            return
        try:
            self.on_step(step, done, count)
        except Exception:
            self.on_step = None  # who only watches must not stop a move, and still less an undo

    def _take_altnames(self, member: Member) -> None:
        """Removes the alternative names before the move, where the kernel would lose them in it."""
        if member.link.altnames and not lookups.moves_altnames():
            request = wire.altnames_message(uapi.RTM_DELLINKPROP, member.device.ifindex, member.link.altnames)
            self._step(member, "move", self.source.command, request)

    def _give_altnames(self, member: Member) -> None:
        if member.link.altnames and not lookups.moves_altnames():
            request = wire.altnames_message(uapi.RTM_NEWLINKPROP, member.device.target_ifindex, member.link.altnames)
            self._step(member, "replay", self.target.command, request)

    @staticmethod
    def _verify_altnames(member: Member) -> None:
        arrived = wire.Link(next(wire.messages(member.device.arrived)).body)
        if set(arrived.altnames) != set(member.link.altnames):
            raise EngineError(errno.ESTALE, "its alternative names did not arrive", "verify")

    @staticmethod
    def _step(member: Member, step: str, call: object, *args: object) -> None:
        try:
            call(*args)  # type: ignore[operator]  # a step of the engine's Device
        except EngineError as e:
            # A comparison that failed is no failed system call.
            raise _Stopped(member, step, 0 if e.errno == errno.ESTALE else e.errno, e.extack) from None

    def _in_time(self, member: Member) -> None:
        if self.deadline is not None and time.monotonic() >= self.deadline:
            raise _Stopped(member, "time-out", errno.ETIMEDOUT, "")

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
                raise _Stopped(window[min(e.index, len(window) - 1)], "down", e.errno, e.extack) from None

    def results(self) -> tuple[Moved, ...]:
        from .results import Moved

        moved = []
        for member in self.members:
            losses.find_addresses(self.plan, member.item, member.device.addresses)
            lost = [*member.item.lost]
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

    def _failed(self, cause: BaseException, left: tuple[Left, ...]) -> MoveFailed:
        target = self.plan.target.where if self.plan.target else None
        stopped = cause if isinstance(cause, _Stopped) else _Stopped(None, "interrupt", 0, "")
        if isinstance(cause, EngineError):
            stopped = _Stopped(None, cause.step, cause.errno, cause.extack)
        member = stopped.member
        text = f"{member.item.label}: " if member else ""
        if stopped.step == "time-out":
            text += "the time was over before this device"
        elif stopped.step == "interrupt":
            text += f"interrupted ({type(cause).__name__})"
        else:
            said = [os.strerror(stopped.errno)] if stopped.errno else []
            words = WORDS[stopped.step]
            if member and stopped.step == "move" and stopped.errno == errno.EEXIST:
                words = f'the name "{names.shown(member.item.wanted)}" was taken in the target meanwhile'
            text += ": ".join([words, *said, *([stopped.extack] if stopped.extack else [])])
        text += (
            "; devices, addresses and routes are back as before"
            if not left
            else f"; NOT as before: {', '.join(names.shown(names.encode(x.device)) for x in left)}"
        )
        return MoveFailed(
            text,
            errno=stopped.errno,
            extack=stopped.extack,
            device=member.item.host_name if member else None,
            step=stopped.step,
            netns=target,
            location=(location(member) if member.touched else "source") if member else None,
            left=left,
        )

"""The batch: all devices arrive, or all are put back. Written once, for every engine.

Phases: check all (checks.examine) - snapshot all - all links down in one send - move all, uppers before lowers -
replay, lowers first - read back and compare. Undo takes the same order in the other direction: uppers back first, then
lowers; lowers up first; then nexthop objects and routes.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Collection, Mapping

from . import checks, lookups, names, routes, uapi, wire
from .engine import PLACE_GONE, PLACE_SOURCE, PLACE_TARGET, RESTORE, RETURN, Device, EngineError, Socket
from .errors import CheckFailed, MoveFailed
from .netns import NetNS
from .plan import Item, Plan

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

    Source: OCI runtime-spec 1.3, config-linux.md "Network Devices" (the move); runtime.md "Errors" (all or nothing).
    """
    checks.known_preserve(preserve)
    if journal is not None:
        raise ValueError("journal: crash records are not available in this version")
    return transact(devices, netns, source=source, force=force, timeout_s=timeout_s, results=_Batch.results)


def transact(
    devices: Mapping[str, Mapping[str, object] | str | None],
    netns: NetNS | str | os.PathLike[str] | int,
    *,
    source: NetNS | str | os.PathLike[str] | int | None = None,
    force: bool = False,
    timeout_s: float | None = None,
    results: Callable[[_Batch], tuple[Moved, ...]] | None = None,
) -> tuple[Moved, ...]:
    """`move` without results where nobody reads them: a hook must not pay for making them."""
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
        return _Batch(plan, deadline).run(results)


class _Member:
    """A device of the batch, checked."""

    __slots__ = ("device", "item", "link", "touched")

    def __init__(self, item: Item, device: Device, link: wire.Link) -> None:
        self.item = item
        self.device = device
        self.link = link
        self.touched = False  # whether anything was sent that may have changed it


class _Stopped(Exception):
    """A step of one device failed."""

    def __init__(self, member: _Member | None, step: str, errno_: int, extack: str) -> None:
        super().__init__(step)
        self.member = member
        self.step = step
        self.errno = errno_
        self.extack = extack


class _Batch:
    def __init__(self, plan: Plan, deadline: float | None) -> None:
        self.plan = plan
        self.deadline = deadline
        self.members = [_Member(i, i.device, i.link) for i in plan.items if i.device is not None and i.link is not None]
        # Literal names before templates: "eth%d" must not take the "eth0" that another device of the batch wants.
        self.move_order = sorted(self.members, key=lambda m: (-m.item.depth, names.is_template(m.item.wanted)))
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
                left = self._undo()
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
        for member in self.members:
            self._step(member, "snapshot", member.device.snapshot, self.source)
        if len(self.members) > 1:
            self._down()
        assert self.plan.target is not None
        for member in self.move_order:
            self._in_time(member)
            member.touched = True
            self._take_altnames(member)
            self._step(member, "move", member.device.move, self.source, self.target, self.plan.target.fd)
        for member in self.up_order:
            self._in_time(member)
            self._step(member, "replay", member.device.up_and_replay, self.target)
            self._give_altnames(member)
        for member in self.members:
            self._step(member, "verify", member.device.verify, self.target)
            if member.link.altnames:
                self._step(member, "verify", self._verify_altnames, member)

    def _take_altnames(self, member: _Member) -> None:
        """Removes the alternative names before the move, where the kernel would lose them in it."""
        if member.link.altnames and not lookups.moves_altnames():
            request = wire.altnames_message(uapi.RTM_DELLINKPROP, member.device.ifindex, member.link.altnames)
            self._step(member, "move", self.source.command, request)

    def _give_altnames(self, member: _Member) -> None:
        if member.link.altnames and not lookups.moves_altnames():
            request = wire.altnames_message(uapi.RTM_NEWLINKPROP, member.device.target_ifindex, member.link.altnames)
            self._step(member, "replay", self.target.command, request)

    @staticmethod
    def _verify_altnames(member: _Member) -> None:
        arrived = wire.Link(next(wire.messages(member.device.arrived)).body)
        if set(arrived.altnames) != set(member.link.altnames):
            raise EngineError(errno.ESTALE, "its alternative names did not arrive", "verify")

    @staticmethod
    def _step(member: _Member, step: str, call: object, *args: object) -> None:
        try:
            call(*args)  # type: ignore[operator]  # a step of the engine's Device
        except EngineError as e:
            # A comparison that failed is no failed system call.
            raise _Stopped(member, step, 0 if e.errno == errno.ESTALE else e.errno, e.extack) from None

    def _in_time(self, member: _Member) -> None:
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

    # ---- undo ----

    def _undo(self) -> tuple[Left, ...]:
        """Puts everything back that was touched. Can be repeated. Returns what is not as before."""
        touched = [m for m in self.move_order if m.touched]
        missing: dict[_Member, list[str]] = {member: [] for member in touched}
        assert self.plan.source is not None
        for member in touched:
            self._part(member, RETURN, missing)
        for member in sorted(touched, key=lambda m: m.item.depth):
            if member.device.place == PLACE_SOURCE:
                self._part(member, RESTORE, missing)
                self._properties(member, missing)
        if touched:
            self._routes(touched[0], missing)
        return tuple(self._left(member, missing[member]) for member in self.members if missing.get(member))

    def _part(self, member: _Member, part: int, missing: dict[_Member, list[str]]) -> None:
        assert self.plan.source is not None
        try:
            member.device.undo(self.source, self.target, self.plan.source.fd, part)
        except EngineError as e:
            missing[member].append(e.extack if e.errno == errno.ESTALE else lookups.says(e))
        if part == RETURN and member.device.place == PLACE_SOURCE and member.device.ifindex != member.link.ifindex:
            missing[member].append(f"ifindex {member.link.ifindex}")

    def _properties(self, member: _Member, missing: dict[_Member, list[str]]) -> None:
        """Master and alternative names: a move silently releases a port of a bridge or bond."""
        was, ifindex = member.link, member.device.ifindex
        if not was.master and not was.altnames:
            return
        again = []
        try:
            now = lookups.link_of(lookups.ask(self.source, [wire.get_link(ifindex)])[0])
            if was.master and (now is None or now.master != was.master):
                master = wire.attr_u32(uapi.IFLA_MASTER, was.master)
                request = wire.link_message(uapi.RTM_NEWLINK, uapi.NLM_F_ACK, ifindex, master)
                again.append((f"master (ifindex {was.master})", request))
            lost = [name for name in was.altnames if now is None or name not in now.altnames]
            if lost:
                words = ", ".join(map(names.shown, lost))
                again.append((f"altname {words}", wire.altnames_message(uapi.RTM_NEWLINKPROP, ifindex, lost)))
        except (EngineError, wire.Malformed) as e:
            missing[member].append(f"master, altnames: {lookups.says(e) if isinstance(e, EngineError) else e}")
        for what, request in again:
            try:
                self.source.command(request)
            except EngineError as e:
                missing[member].append(f"{what}: {lookups.says(e)}")

    def _routes(self, first: _Member, missing: dict[_Member, list[str]]) -> None:
        """Nexthop objects and routes that the source had before; what cannot be put back is told with the first device.

        All of them and not only those of the batch: a route of another device goes, too, when its `src` or one of its
        legs leaves. A route that somebody else deleted in these milliseconds comes back with them.
        """
        renumbered = {m.link.ifindex: m.device.ifindex for m in missing if m.device.ifindex != m.link.ifindex}
        answers: dict[bytes, str] = {}
        try:
            # A gateway must be reachable when it is used: by a nexthop object, or by a route.
            for part in (routes.Part.DIRECT, routes.Part.NEXTHOPS, routes.Part.OTHERS):
                for body in self._lost(part, renumbered):
                    answers[body] = ""
                    try:
                        self.source.command(routes.add(part, body))
                    except EngineError as e:
                        answers[body] = f": {lookups.says(e)}"
            # What was refused may be there all the same (EEXIST), and what was taken may not: look.
            for part in (routes.Part.DIRECT, routes.Part.NEXTHOPS, routes.Part.OTHERS) if answers else ():
                for body in self._lost(part, renumbered):
                    missing[first].append(routes.text(part, body) + answers.get(body, ""))
        except (EngineError, wire.Malformed) as e:
            missing[first].append(f"routes: {lookups.says(e) if isinstance(e, EngineError) else e}")

    def _lost(self, part: int, renumbered: Mapping[int, int]) -> list[bytes]:
        """The routes or nexthop objects that the source had before and has no longer."""
        if part == routes.Part.NEXTHOPS:
            _, now = self.source.query(routes.DUMP_NEXTHOPS)
            return routes.missing_nexthops(self.plan.nexthops, now, renumbered)
        _, now = self.source.query(routes.DUMP_ROUTES)
        lost = routes.missing_routes(self.plan.routes, now, renumbered)
        return [body for body in lost if routes.needs_gateway(body) == (part == routes.Part.OTHERS)]

    @staticmethod
    def _left(member: _Member, missing: list[str]) -> Left:
        from .results import Left

        location, device = _location(member), member.device
        name: str | None = None
        ifindex: int | None = None
        if location == "source":
            name, ifindex = member.item.host_name, device.ifindex
        elif location == "target":
            name, ifindex = os.fsdecode(device.name), device.target_ifindex
        return Left(member.item.host_name, location, name, ifindex, tuple(missing))

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
            if member and stopped.errno == errno.EEXIST:
                words = f'the name "{names.shown(member.item.wanted)}" was taken in the target meanwhile'
            text += ": ".join([words, *said, *([stopped.extack] if stopped.extack else [])])
        text += (
            "; everything is back as before"
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
            location=(_location(member) if member.touched else "source") if member else None,
            left=left,
        )


def _location(member: _Member) -> str:
    place = member.device.place
    return {PLACE_SOURCE: "source", PLACE_TARGET: "target", PLACE_GONE: "gone"}.get(place, "unknown")

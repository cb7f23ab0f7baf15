"""Carries over what `preserve` asks for and the runtime-spec does not protect: sysctls, neighbours, routes.

Never in the way of a move: what the target refuses is told in `not_carried`. An exchange that fails ends the move, as
in any other step; undoing it needs nothing of this, since all that is set here goes when the device leaves.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence

from ..engine import EngineError, Socket, lookups
from ..netlink import wire
from ..state import neighbours, routes, sysctls
from .plan import Plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .plan import Member


def over(plan: Plan, members: Sequence[Member], up: bool) -> None:
    """To devices in the target: first while all are down, without addresses, then when all are up and have theirs.

    Sysctls are for before, too: what addresses and IFF_UP do depends on them (disable_ipv6, addr_gen_mode, ...).
    """
    try:
        if "sysctls" in plan.preserve and not up:
            _settings(plan, members)
        if "sysctls" in plan.preserve and up:
            _settings_again(plan, members)
        if "neighbours" in plan.preserve and up:
            _neighbours(plan, members)
        if "routes" in plan.preserve and up:
            _routes(plan, members)
    except wire.Malformed as e:
        raise EngineError(errno.EBADMSG, str(e), "carry") from None


def _target(plan: Plan) -> Socket:
    assert plan.target_socket is not None
    return plan.target_socket


def _refusals(plan: Plan, requests: list[bytes]) -> list[str]:
    """For each request what the target says against it; "": it is done."""
    said = []
    for answer in lookups.ask(_target(plan), requests):
        code, extack = wire.error(answer)
        said.append(lookups.says(EngineError(code, extack, "carry")) if code else "")
    return said


# ---- sysctls ----


def _now(plan: Plan, members: Sequence[Member]) -> list[sysctls.Settings]:
    asked = [wire.get_link(member.device.target_ifindex, statistics=True) for member in members]
    return [sysctls.Settings(answer.body) for answer in lookups.ask(_target(plan), asked)]


def _settings(plan: Plan, members: Sequence[Member]) -> dict[tuple[Member, str], str]:
    """Sets what is not as it was, and returns by device and setting what the target says against it."""
    assert plan.target is not None
    said: dict[tuple[Member, str], str] = {}
    paths: dict[str, Member] = {}
    files: dict[str, str | None] = {}
    todo: list[tuple[Member, tuple[str, ...], bytes]] = []
    for member, now in zip(members, _now(plan, members), strict=True):
        was = member.settings()
        own = was.files(now, member.device.name)
        files.update(own)
        paths.update(dict.fromkeys(own, member))
        requests = was.requests(now, member.device.target_ifindex, about_to_be_up=False)
        todo += [(member, which, request) for which, request in requests]
    if files:  # first: a token is refused where router advertisements are (probe sysctls.token.set-no-ra)
        with Socket(plan.target.fd, files) as visit:
            for path, result in visit.files.items():
                if isinstance(result, int):
                    said[paths[path], f"ipv6.{path.rpartition('/')[2]}"] = os.strerror(-result)
    answers = _refusals(plan, [request for _, _, request in todo])
    for (member, which, _), refusal in zip(todo, answers, strict=True):
        if refusal:
            said.update({(member, name): refusal for name in which})
    return said


def _settings_again(plan: Plan, members: Sequence[Member]) -> None:
    """Once more after IFF_UP, with which the kernel sets IPv6's MTU; then looks, and tells what is not as it was.

    (probe sysctls.ipv6.mtu)
    """
    said = _settings(plan, members)
    for member, now in zip(members, _now(plan, members), strict=True):
        for name in member.settings().differences(now):
            why = said.get((member, name))
            member.item.lost.append(f"sysctl {name}: {why}" if why else f"sysctl {name}")


# ---- neighbours, routes ----


def _arrived(members: Sequence[Member]) -> dict[int, int]:
    """ifindex in the source -> ifindex in the target."""
    return {member.link.ifindex: member.device.target_ifindex for member in members}


def _neighbours(plan: Plan, members: Sequence[Member]) -> None:
    arrived = _arrived(members)
    owner = {member.device.target_ifindex: member for member in members}
    bodies = [
        neighbours.on(body, arrived)
        for dump in plan.neighbours[: neighbours.FDB]
        for body in neighbours.kept(dump, arrived)
    ]
    for body, refusal in zip(bodies, _refusals(plan, [*map(neighbours.add, bodies)]), strict=True):
        if refusal:
            owner[neighbours.ifindex(body)].item.lost.append(f"{neighbours.text(body)}: {refusal}")


def _routes(plan: Plan, members: Sequence[Member]) -> None:
    """Beside those that the target has, never with them: an IPv6 route of equal metric would share their traffic."""
    arrived = _arrived(members)
    owner = {member.link.ifindex: member for member in members}
    places = set()
    for route in routes.portable(plan.routes, plan.nexthops, arrived):
        if not route.body:  # told by the check
            continue
        body = routes.by_devices(route.body, arrived)
        place = routes.place(body)
        (refusal,) = _refusals(plan, [routes.add_new(body, behind=place in places)])
        if refusal:
            owner[route.ifindex].item.lost.append(f"{route.text}: {refusal}")
        else:
            places.add(place)

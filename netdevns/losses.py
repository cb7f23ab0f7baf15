"""What a move drops that the runtime-spec does not protect: told before by `check`, and after in `not_carried`."""

from __future__ import annotations

from . import names, routes
from .plan import Found, Item, Plan

# What the kernel gives a device by itself: losing it loses nothing.
DEFAULT_QDISCS = (b"", b"noqueue", b"noop", b"mq", b"pfifo_fast", b"fq_codel", b"fq")


def find(plan: Plan) -> None:
    """Adds a finding of severity "loss" for each thing, and short words to the device's `lost`."""
    on_it: dict[int | None, list[Item]] = {}
    for upper in plan.uppers:
        on_it.setdefault(upper.link.lower if upper.link else None, []).append(upper)
    carries_routes = "routes" in plan.preserve
    counts = {} if carries_routes else routes.count_by_device(plan.routes, plan.nexthops)
    for item in plan.items:
        link = item.link
        if link is None:
            continue
        if link.master:
            master = plan.links.get(link.master)
            _lose(plan, item, "loss.master", f"master {names.shown(master.name) if master else link.master}")
        if link.qdisc not in DEFAULT_QDISCS:
            _lose(plan, item, "loss.qdisc", f"qdisc {names.shown(link.qdisc)}")
        for upper in on_it.get(link.ifindex, ()):
            _lose(plan, item, "loss.upper", f"{upper.label} on top of it, which stays behind")
        count = counts.get(link.ifindex, 0)
        if count:
            _lose(plan, item, "loss.routes", f"{count} route{'s' if count > 1 else ''}")
    if carries_routes:
        _routes(plan)


def _routes(plan: Plan) -> None:
    """Those that make no sense in the target, although routes are carried over."""
    by_ifindex = {item.link.ifindex: item for item in plan.items if item.link}
    for route in routes.portable(plan.routes, plan.nexthops, by_ifindex):
        if not route.body:
            _lose(plan, by_ifindex[route.ifindex], "loss.routes", route.text)


def _lose(plan: Plan, item: Item, code: str, what: str) -> None:
    item.lost.append(what)
    plan.found.append(Found(item.host_name, "loss", code, f"{item.label}: a move loses: {what}"))

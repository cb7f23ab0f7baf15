"""Names that a batch asks for: whether a device can have them, and whether they are free. Changes nothing."""

from __future__ import annotations

from ..engine.lookups import link_of
from ..netlink import ifname, wire
from .plan import Item, Plan, where


def in_batch(plan: Plan) -> None:
    """Names that no device can have, and wanted names that two devices of the batch want."""
    wanted: dict[bytes, Item] = {}
    for item in plan.items:
        is_invalid = item.why_invalid or ifname.is_template(item.ifname)
        if is_invalid and not ifname.may_be_altname(item.ifname):
            plan.find("device.invalid-name", item)
        if is_invalid and item.wanted == item.ifname:
            continue
        if ifname.is_template(item.wanted):
            if ifname.why_invalid_template(item.wanted):
                plan.find("name.template", item, name=item.wanted)
        elif item.why_wanted_invalid:
            plan.find("name.invalid", item, name=item.wanted)
        elif item.wanted in wanted:
            plan.find("name.twice", item, name=item.wanted, other=wanted[item.wanted].ifname, is_altname=False)
        else:
            wanted[item.wanted] = item


Claims = list[tuple[Item, bytes]]


def claims(plan: Plan) -> Claims:
    """The names that nobody may have in the target: wanted ones, and the alternative names that travel.

    Finds what of these clashes within the batch.
    """
    claims: Claims = []
    owner: dict[bytes, Item] = {}
    for item in plan.items:
        altnames = item.link.altnames if item.link else ()
        for altname in altnames:
            owner.setdefault(altname, item)
            claims.append((item, altname))
        if not ifname.is_template(item.wanted) and not item.why_wanted_invalid:
            claims.append((item, item.wanted))
    for item in plan.items:
        other = owner.get(item.wanted)
        if other is item:
            plan.find("name.own-altname", item, name=item.wanted, source=where(plan.source))
        elif other is not None:
            plan.find("name.twice", item, name=item.wanted, other=other.ifname, is_altname=True)
    return claims


def in_target(plan: Plan, claims: Claims, answers: list[wire.Message]) -> None:
    """Claims against names and alternative names in the target, of which `wire.get_link` tells.

    (probes clash.wanted-name, clash.wanted-altname, clash.own-altname.target-name, clash.own-altname.wanted)
    """
    netns = {"source": where(plan.source), "target": where(plan.target)}
    for (item, name), answer in zip(claims, answers, strict=True):
        link = link_of(answer)
        if link is None:
            continue
        code = "altname.taken"
        if name == item.wanted:
            code = "name.taken" if link.name == name else "name.taken-altname"
        plan.find(code, item, name=name, other=link.name, ifindex=link.ifindex, **netns)

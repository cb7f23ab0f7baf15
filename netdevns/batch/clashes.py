"""Checks the names of a batch: whether they are valid, and free in the target."""

from __future__ import annotations

from ..engine.lookups import link_of
from ..netlink import ifname, wire
from .plan import Asked, Plan, where


def in_batch(plan: Plan) -> None:
    """Adds findings for invalid names, and for names wanted by two devices of the batch."""
    wanted: dict[bytes, Asked] = {}
    for asked in plan.asked:
        is_invalid = asked.why_invalid or ifname.is_template(asked.ifname)
        if is_invalid and not ifname.may_be_altname(asked.ifname):
            plan.find("device.invalid-name", asked)
        if is_invalid and asked.wanted == asked.ifname:
            continue
        if ifname.is_template(asked.wanted):
            if ifname.why_invalid_template(asked.wanted):
                plan.find("name.template", asked, name=asked.wanted)
        elif asked.why_wanted_invalid:
            plan.find("name.invalid", asked, name=asked.wanted)
        elif asked.wanted in wanted:
            plan.find("name.twice", asked, name=asked.wanted, other=wanted[asked.wanted].ifname, is_altname=False)
        else:
            wanted[asked.wanted] = asked


Claims = list[tuple[Asked, bytes]]


def claims(plan: Plan) -> Claims:
    """The names that must be free in the target: wanted ones, and the alternative names of the devices.

    Adds findings for clashes within the batch.
    """
    claims: Claims = []
    owner: dict[bytes, str] = {}
    altnames = {device.host_name: device.link.altnames for device in plan.devices}
    for asked in plan.asked:
        for altname in altnames.get(asked.host_name, ()):
            owner.setdefault(altname, asked.host_name)
            claims.append((asked, altname))
        if not ifname.is_template(asked.wanted) and not asked.why_wanted_invalid:
            claims.append((asked, asked.wanted))
    for asked in plan.asked:
        other = owner.get(asked.wanted)
        if other == asked.host_name:
            plan.find("name.own-altname", asked, name=asked.wanted, source=where(plan.source))
        elif other is not None:
            plan.find("name.twice", asked, name=asked.wanted, other=ifname.encode(other), is_altname=True)
    return claims


def in_target(plan: Plan, claims: Claims, answers: list[wire.Message]) -> None:
    """Adds findings for claims that a device in the target has as name or alternative name.

    (probes clash.wanted-name, clash.wanted-altname, clash.own-altname.target-name, clash.own-altname.wanted)
    """
    netns = {"source": where(plan.source), "target": where(plan.target)}
    for (asked, name), answer in zip(claims, answers, strict=True):
        link = link_of(answer)
        if link is None:
            continue
        code = "altname.taken"
        if name == asked.wanted:
            code = "name.taken" if link.name == name else "name.taken-altname"
        plan.find(code, asked, name=name, other=link.name, ifindex=link.ifindex, **netns)

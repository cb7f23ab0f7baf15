"""Names that a batch asks for: whether a device can have them, and whether they are free. Changes nothing."""

from __future__ import annotations

import errno
import os

from ..engine.lookups import link_of
from ..netlink import ifname, uapi, wire
from ..text import quote
from .plan import Item, Plan, called, command_in


def in_batch(plan: Plan) -> None:
    """Names that no device can have, and wanted names that two devices of the batch want."""
    wanted: dict[bytes, Item] = {}
    for item in plan.items:
        reason = item.why_invalid or ('it contains "%"' if ifname.is_template(item.ifname) else None)
        if reason and not ifname.may_be_altname(item.ifname):
            text = f"{item.label}: no device can have that name: {reason}"
            plan.error(item.host_name, "device.invalid-name", text, errno.ENODEV)
        if reason and item.wanted == item.ifname:
            continue
        if ifname.is_template(item.wanted):
            if reason := ifname.why_invalid_template(item.wanted):
                _refuse(plan, item, "name.template", f"is no template: {reason}")
        elif item.why_wanted_invalid:
            _refuse(plan, item, "name.invalid", f"is no valid name: {item.why_wanted_invalid}")
        elif item.wanted in wanted:
            text = f'{item.label}: the name "{quote.shown(item.wanted)}" is also wanted for {wanted[item.wanted].label}'
            plan.error(item.host_name, "name.twice", text, errno.EEXIST, _numbered(item))
        else:
            wanted[item.wanted] = item


def _refuse(plan: Plan, item: Item, code: str, why: str) -> None:
    # As the kernel answers: the attribute's policy is looked at before the name (probe message.bad.name-too-long).
    number = errno.ERANGE if len(item.wanted) >= uapi.IFNAMSIZ else errno.EINVAL
    plan.error(item.host_name, code, f'{item.label}: "{quote.shown(item.wanted)}" {why}', number)


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
            text = f'{item.label}: "{quote.shown(item.wanted)}" is an alternative name of the device itself; remove it'
            plan.error(item.host_name, "name.own-altname", text, errno.EEXIST, _removal(plan, item, item.wanted))
        elif other is not None:
            text = f'{item.label}: "{quote.shown(item.wanted)}" is an alternative name of {other.label}'
            plan.error(item.host_name, "name.twice", text, errno.EEXIST, _numbered(item))
    return claims


def in_target(plan: Plan, claims: Claims, answers: list[wire.Message]) -> None:
    """Claims against names and alternative names in the target, of which `wire.get_link` tells.

    (probes clash.wanted-name, clash.wanted-altname, clash.own-altname.target-name, clash.own-altname.wanted)
    """
    where = called(plan.target)
    for (item, name), answer in zip(claims, answers, strict=True):
        link = link_of(answer)
        if link is None:
            continue
        by = f"a device with that alternative name, {quote.shown(link.name)}" if link.name != name else "a device there"
        if name == item.wanted:
            code, hint = "name.taken" if link.name == name else "name.taken-altname", _numbered(item)
            text = f'{item.label}: the name "{quote.shown(name)}" is taken in {where} by {by} (ifindex {link.ifindex})'
        else:
            code, hint = "altname.taken", _removal(plan, item, name)
            text = (
                f'{item.label}: its alternative name "{quote.shown(name)}" is taken in {where} by {by} '
                f"(ifindex {link.ifindex})"
            )
        plan.error(item.host_name, code, text, errno.EEXIST, hint)


def _numbered(item: Item) -> str | None:
    """A hint: a name like the wanted one, with a number that is free."""
    template = item.wanted.rstrip(b"0123456789") + b"%d"
    return None if ifname.why_invalid_template(template) else item.argument(wanted=template)


def _removal(plan: Plan, item: Item, altname: bytes) -> str | None:
    """A hint: the device without this alternative name."""
    arguments = ["link", "property", "del", "dev", item.host_name, "altname", os.fsdecode(altname)]
    return command_in(plan.source, "ip", *arguments)

"""Formats the command's output for people: tables on a terminal, unwrapped lines elsewhere."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ..doctor.finding import ERROR, OK, WARNING
from ..doctor.finding import Finding as Diagnosis
from ..netlink import ifname
from ..netlink.ifaddr import is_protected
from ..netlink.uapi import RT_SCOPE_UNIVERSE
from ..recovery import loans
from ..recovery.recover import is_aside
from ..reports import Device, Finding, Loan, Recovered, Report
from ..results import Address, Moved
from ..text import quote, tables

# Legible on dark and light backgrounds; the words carry the meaning without colour.
ANSWERS = {"yes": "bold green", "yes,": "bold green", "no": "bold red", "only": "bold magenta", "unknown": "bold"}
SEVERITIES = {"error": "bold red", "loss": "bold magenta", "note": "bold"}
DIAGNOSES = {ERROR: "bold red", WARNING: "bold magenta", OK: "bold green"}  # the worst first


def moved(results: Sequence[Moved], where: str) -> str:
    """A line for each device that arrived."""
    lines = []
    for m in results:
        count = f"{len(m.addresses)} address{'' if len(m.addresses) == 1 else 'es'}"
        lost = f"; not carried: {', '.join(m.not_carried)}" if m.not_carried else ""
        lines.append(f"{m.host_name} -> {m.name} in {where} (ifindex {m.ifindex}), {count}{lost}")
    return "\n".join(map(quote.printable, lines or ["no devices requested; nothing to do"]))


def returned(results: Sequence[Recovered], container: str | None, others: Sequence[str]) -> str:
    """A line for each device that is, or was, on loan; `others`: the containers that have devices on loan now."""
    if results:
        return recovered(results)
    if container is None or not others:
        return "nothing is on loan; nothing to do"
    return quote.printable(f"nothing is on loan to {container}, but to {', '.join(others)}; nothing to do")


def recovered(results: Sequence[Recovered], aside: int = 0) -> str:
    """A line for each device of a record; `aside`: how many records are set aside."""
    nothing = f"nothing to recover; {aside} set aside: `netdevns recover --list`" if aside else "nothing to recover"
    lines = [f"{r.device or r.record}: {r.outcome}: {r.text}" + (f" ({r.record})" if r.device else "") for r in results]
    return "\n".join(map(quote.printable, lines or [nothing]))


def pending(records: Sequence[str], running: Sequence[str], aside: Sequence[str], others: Sequence[str]) -> str:
    """A line for each record of a killed move, of one that runs, for each that is set aside, and the other lines."""
    lines = [f"killed: {each}; run `netdevns recover`" for each in records]
    lines += [*others, *(f"running: {each}" for each in running)]
    remedy = "; restore its devices by hand, then remove the file"
    lines += [f"set aside: {each}{remedy if is_aside(each) else ''}" for each in aside]
    return "\n".join(map(quote.printable, lines or ["nothing to recover"]))


def check(report: Report, away: Sequence[str], advice: Sequence[str], width: int | None) -> str:
    """The findings, the lines about devices that are away, the suggested commands, and the verdict as the last line."""
    if width is None:
        lines = [f"{f.severity:5}  {quote.printable(f.text)}" for f in report.findings]
    else:
        rows = [[[f.severity], [_label(f) or "-"], [f.code], [_said(f)]] for f in report.findings]
        lines = [tables.table(["SEVERITY", "DEVICE", "CODE", "WHAT"], rows, width, 0, SEVERITIES), ""] if rows else []
    lines += map(quote.printable, away)
    lines += [f"next   {command}" for command in advice]
    verdict = "ok: the move would succeed" if report.ok else "error: the move would be refused"
    return "\n".join([*lines, tables.styled(verdict, "bold green" if report.ok else "bold red", width)])


def _label(finding: Finding) -> str:
    return "" if finding.device is None else quote.shown(ifname.encode(finding.device))


def _said(finding: Finding) -> str:
    """A finding's text without the device at its beginning."""
    return finding.text.removeprefix(f"{_label(finding)}: ")


def show(
    devices: Sequence[Device],
    lent: Sequence[Loan],
    prepared: Collection[str],
    killed: Sequence[str],
    advice: Sequence[str],
    width: int | None,
) -> str:
    """The devices (whether each can move, what it would lose, what it is), the loans, and the suggested commands.

    `prepared`: those of the loans' containers that are namespaces of `netdevns prepare`. `killed`: lines about devices
    of killed moves.
    """
    rows = [[[device.name], _move(device), _addresses(device), _link(device)] for device in devices]
    lines = [tables.table(["DEVICE", "MOVE", "ADDRESSES", "LINK"], rows, width, 1, ANSWERS)]
    if any(text.endswith("*") for row in rows for text in row[2]):
        lines += ["", "* not carried: only permanent addresses of global scope are"]
    if lent:
        here = {device.name for device in devices}
        lines += ["", *(quote.printable(_loan(loan, prepared, here)) for loan in lent)]
    if killed:
        lines += ["", *map(quote.printable, killed)]
    if advice and width is not None:
        lines += ["", *(f"next   {command}" for command in advice)]
    return "\n".join(lines)


def _loan(loan: Loan, prepared: Collection[str], here: Collection[str]) -> str:
    """A line about a lent device; `here`: the names of the devices that are shown."""
    is_prepared = loan.container in prepared
    line = f"on loan: {loan.device} as {loan.name}, {loans.holder(loan.container, prepared)} ({loan.record})"
    command = loans.command(loan.container, prepared)
    if loan.device in here:  # by the kernel, by hand, or another device has the name now: the command finds out
        return f"{line}, but a device with this name is here: `{command}` restores the lent one if it has come back"
    return f"{line}, whose process has ended: run `{command}`" if loan.is_ended and not is_prepared else line


def _move(device: Device) -> list[str]:
    for finding in device.findings:
        if finding.code == "device.immutable":
            return ["no", _said(finding).removesuffix(" into another network namespace")]
    losses = [f"loses {what}" for what in device.not_carried]
    if device.movable is None:
        return ["unknown", "only root can see that on this kernel", *losses]
    if device.default_route:
        return ["only with --force", "carries a default route", *losses]
    return ["yes, but loses", *device.not_carried] if losses else ["yes"]


def _addresses(device: Device) -> list[str]:
    return [
        _address(address) + ("" if device.movable is False or _carried(address) else "*")
        for address in device.addresses
    ]


def _carried(address: Address) -> bool:
    return address.scope == "global" and is_protected(address.flags, RT_SCOPE_UNIVERSE)


def _address(address: Address) -> str:
    if address.peer is None:
        return f"{address.address}/{address.prefixlen}"
    return f"{address.address} peer {address.peer}/{address.prefixlen}"


def _link(device: Device) -> list[str]:
    kind = device.kind or ("loopback" if device.ifindex == 1 else "physical")  # 1 is lo in every namespace
    state = "down" if not device.up else "up" if device.carrier else "up without carrier"
    mac = [device.mac] if device.mac and device.mac.strip("0:") else []
    lines = [[kind, state, f"ifindex {device.ifindex}"], [f"mtu {device.mtu}", *mac]]
    return [*map(", ".join, lines), *(f"altname {name}" for name in device.altnames)]


def doctor(findings: Sequence[Diagnosis], width: int | None) -> str:
    """The findings, the worst first, each with its remedy, and the verdict as the last line."""
    ordered = sorted(findings, key=lambda finding: [*DIAGNOSES].index(finding.severity))
    rows = [[[f.severity], [f.subject], [f.text, *([f"remedy: {f.hint}"] if f.hint else [])]] for f in ordered]
    counts = [sum(f.severity == severity for f in findings) for severity in (ERROR, WARNING)]
    words = [f"{count} {name}{'' if count == 1 else 's'}" for count, name in zip(counts, DIAGNOSES, strict=False)]
    verdict = tables.styled(", ".join(words), "bold red" if counts[0] else "bold green", width)
    if width is None:
        lines = [f"{s[0]:7}  {subject[0]}: {'; '.join(text)}" for s, subject, text in rows]
        return "\n".join([*map(quote.printable, lines), verdict])
    return "\n".join([tables.table(["SEVERITY", "SUBJECT", "WHAT"], rows, width, 0, DIAGNOSES), "", verdict])

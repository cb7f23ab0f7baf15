"""The results of `check`, `show`, `snapshot` and `recover`, as frozen dataclasses.

Not in `results`: defining each takes a third of a millisecond, and a successful move needs none of these.
"""

from __future__ import annotations

from dataclasses import dataclass

from .results import Address


@dataclass(frozen=True)
class Finding:
    """One result of a check.

    Attributes:
        device: Host name, or None if it is about a namespace.
        severity: "error": a move is refused; "loss": a move loses this; "note": worth knowing.
        code: Stable; the list is `netdevns.batch.findings.CODES`.
        text: One line: the problem, and the remedy.
        hint: The remedy as it is typed: a command (`netdevns recover`), or one word for the command that found this:
            DEV=NAME as a replacement, an option (`--force`), or `sudo`. None: no remedy is known.
    """

    device: str | None
    severity: str
    code: str
    text: str
    hint: str | None = None


@dataclass(frozen=True)
class Device:
    """A device, and the findings of a move of it alone.

    Attributes:
        name, ifindex: As the kernel has them.
        kind: "macvlan", "bridge", ... (IFLA_INFO_KIND); None for hardware and lo.
        up: Whether IFF_UP is set.
        carrier: Whether the link has a carrier; None while the device is down, when this is not known.
        mtu: Bytes.
        mac: Hexadecimal digits, two a byte, as many bytes as the device has (6, 20 for InfiniBand); None without one.
        altnames: Alternative names; they travel with it.
        addresses: All addresses, of every scope and lifetime, in the kernel's order.
        movable: Whether the kernel moves it at all; None: not known, as a kernel before 6.15 answers that only with
            CAP_NET_ADMIN.
        default_route: Whether it, or a device on top of it, carries a default route of the main table.
        not_carried: State that a move drops and the runtime-spec does not protect, in short words, as in `Moved`.
        findings: The findings of `check` about the device itself, without those about a name or a target.
    """

    name: str
    ifindex: int
    kind: str | None
    up: bool
    carrier: bool | None
    mtu: int | None
    mac: str | None
    altnames: tuple[str, ...]
    addresses: tuple[Address, ...]
    movable: bool | None
    default_route: bool
    not_carried: tuple[str, ...]
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class Snapshot:
    """Addresses and IFF_UP of a device.

    Attributes:
        ifname, ifindex: The device.
        addresses: All addresses, of every scope and lifetime, in the kernel's order.
        up: Whether IFF_UP is set.
    """

    ifname: str
    ifindex: int
    addresses: tuple[Address, ...]
    up: bool


@dataclass(frozen=True)
class Report:
    """The result of a check: `ok` is False exactly if a finding has severity "error"."""

    ok: bool
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class Recovered:
    """The result of `recover` for one device of a crashed move, or of `netdevns return` for one on loan.

    Attributes:
        record: The record's path, or the namespace's.
        device: Host name; None for a record that cannot be read, or a namespace that `prepare` made.
        outcome: "undone": restored; "complete": its move had succeeded, nothing was done; "gone": it does not exist any
            more, or its source is gone; "kept": not restored completely, the record is kept for another try.
        location: Where it is: "source", "target", "init", "gone" or "unknown".
        text: One line: the reason, or the state that is missing.
    """

    record: str
    device: str | None
    outcome: str
    location: str
    text: str


@dataclass(frozen=True)
class Loan:
    """A device that is on loan to a container.

    Attributes:
        container: Its id.
        device, ifindex: The device on the host.
        name: Its name in the container, as it was asked for: a template such as "port%d" stays one.
        record: The record's path.
        is_ended: Whether the container's first process has ended: `netdevns return` settles the loan.
    """

    container: str
    device: str
    ifindex: int
    name: str
    record: str
    is_ended: bool = False

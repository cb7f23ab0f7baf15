"""What checks, snapshots and recovering return: frozen dataclasses.

Apart from `results`: each takes a third of a millisecond to make, and a first move that succeeds needs none of these.
"""

from __future__ import annotations

from dataclasses import dataclass

from .results import Address


@dataclass(frozen=True)
class Finding:
    """One thing that a check found.

    Attributes:
        device: Host name, or None if it is about a namespace.
        severity: "error": a move refuses; "loss": a move loses this; "note": worth knowing.
        code: Stable; the list is `netdevns.batch.findings.CODES`.
        text: One line: what, and what to do.
        hint: What helps, as it is typed: a command (`netdevns recover`), or one word for the command that found this:
            DEV=NAME instead of what was asked for, an option (`--force`), or `sudo`. None: nothing is known to help.
    """

    device: str | None
    severity: str
    code: str
    text: str
    hint: str | None = None


@dataclass(frozen=True)
class Device:
    """A device as it is, and what a move of it alone would meet.

    Attributes:
        name, ifindex: As the kernel has them.
        kind: "macvlan", "bridge", ...; None for what no kind of the kernel made: hardware, and lo.
        up: Whether IFF_UP is set.
        carrier: Whether there is a link; None while the device is down, when nobody can know.
        mtu: Bytes.
        mac: Hexadecimal digits, two a byte, as many bytes as the device has (6, 20 for InfiniBand); None without one.
        altnames: Alternative names; they travel with it.
        addresses: All addresses, of every scope and lifetime, in the kernel's order.
        movable: Whether the kernel moves it at all; None: before 6.15 it tells that only to who has CAP_NET_ADMIN.
        default_route: Whether it carries a default route of the main table, itself or below a device that does.
        not_carried: What a move drops that the runtime-spec does not protect, in short words, as in `Moved`.
        findings: What `check` finds about the device itself; nothing about a name or a target.
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
    """What the kernel would drop in a move.

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
    """The result of a check: `ok` is False exactly when a finding has severity "error"."""

    ok: bool
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class Recovered:
    """What `recover` did for one device of a crashed move, or `netdevns return` for one on loan.

    Attributes:
        record: The record's path.
        device: Host name; None for a record that cannot be read.
        outcome: "undone": it is back as it was; "complete": it had arrived, nothing was to be done; "gone": it does not
            exist any more, or nothing is left to return to; "kept": not as before, the record stays for another try.
        location: Where it is: "source", "target", "init", "gone" or "unknown".
        text: One line: why, or what is missing.
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
        name: In the container, when it arrived there.
        record: The record's path.
    """

    container: str
    device: str
    ifindex: int
    name: str
    record: str

"""What this package returns: frozen dataclasses. Imported only when a result is made."""

from __future__ import annotations

from dataclasses import dataclass

from . import snapshots


@dataclass(frozen=True)
class Address:
    """One address of a device.

    Attributes:
        family: "inet", "inet6", or the number of another address family as text.
        address: The local address; hexadecimal digits for a family without a notation of its own.
        prefixlen: Bits.
        peer: The other end of a point-to-point address, or None.
        broadcast: IPv4 broadcast address, or None (an address may have none).
        label: IPv4 label, or None.
        scope: "global", "site", "link", "host", "nowhere", or the number as text.
        flags: IFA_F_* bits, all 32 (linux/if_addr.h).
        metric: IFA_RT_PRIORITY of its prefix route, or None.
        protocol: IFA_PROTO (Linux 5.18), or None.
        valid_lft_s, preferred_lft_s: Seconds left; None is forever.
    """

    family: str
    address: str
    prefixlen: int
    peer: str | None
    broadcast: str | None
    label: str | None
    scope: str
    flags: int
    metric: int | None
    protocol: int | None
    valid_lft_s: int | None
    preferred_lft_s: int | None


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
class Moved:
    """A device that arrived.

    Attributes:
        host_name, host_ifindex: What it was in the source.
        name, ifindex: What it is in the target, read back.
        addresses: The protected addresses as they are in the target, in order. Decoded on first use.
        not_carried: What the kernel dropped that the runtime-spec does not protect, in short words.
    """

    host_name: str
    name: str
    ifindex: int
    host_ifindex: int
    addresses: tuple[Address, ...]
    not_carried: tuple[str, ...]

    @classmethod
    def lazy(cls, dumped: bytes | memoryview, **fields: object) -> Moved:
        """A result whose `addresses` are decoded from RTM_NEWADDR messages when somebody asks."""
        moved = cls.__new__(cls)
        moved.__dict__.update(fields, _dumped=dumped)
        return moved

    def __getattr__(self, name: str) -> tuple[Address, ...]:
        # Called only for what is not there yet: `addresses` of a lazy result.
        if name != "addresses" or "_dumped" not in self.__dict__:
            raise AttributeError(name)
        self.__dict__["addresses"] = decoded = addresses(self.__dict__["_dumped"], protected=True)
        return decoded

    def __getstate__(self) -> dict[str, object]:
        return {name: bytes(value) if name == "_dumped" else value for name, value in self.__dict__.items()}


@dataclass(frozen=True)
class Finding:
    """One thing that a check found.

    Attributes:
        device: Host name, or None if it is about a namespace.
        severity: "error": a move refuses; "loss": a move loses this; "note": worth knowing.
        code: Stable; the list is in `netdevns.checks`.
        text: One line: what, and what to do.
    """

    device: str | None
    severity: str
    code: str
    text: str


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
class Report:
    """The result of a check: `ok` is False exactly when a finding has severity "error"."""

    ok: bool
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class Recovered:
    """What `recover` did for one device of a crashed move.

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
class Left:
    """A device that is not as before.

    Attributes:
        device: Host name.
        location: "source", "target", "init", "gone" or "unknown".
        name, ifindex: What it is there; None if not known.
        missing: What could not be put back, in short words.
    """

    device: str
    location: str
    name: str | None
    ifindex: int | None
    missing: tuple[str, ...]


def addresses(dumped: bytes, *, protected: bool = False) -> tuple[Address, ...]:
    """Decodes dumped RTM_NEWADDR messages, all or only those that the runtime-spec protects."""
    return tuple(Address(**fields) for fields in snapshots.addresses(dumped, protected=protected))  # type: ignore[arg-type]

"""The results of moves, as frozen dataclasses: devices that arrived, and devices that a failed move left."""

from __future__ import annotations

from dataclasses import dataclass

from .netlink import ifaddr


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
class Moved:
    """A device that arrived.

    Attributes:
        host_name, host_ifindex: Its name and ifindex in the source.
        name, ifindex: Its name and ifindex in the target, as read back.
        addresses: The protected addresses as read back in the target, in order. Decoded on first use.
        not_carried: State that the kernel dropped and the runtime-spec does not protect, in short words: "qdisc tbf",
            "2 routes"; sysctls that it reset to the target's defaults: "sysctl ipv4.rp_filter 2 -> 0", or, from four
            on, their number: "5 sysctls"; labels of IPv4 addresses that are too long under the new name, which is the
            label now: "1 label"; and state of `preserve` that the target refused, with the kernel's error.
    """

    host_name: str
    name: str
    ifindex: int
    host_ifindex: int
    addresses: tuple[Address, ...]
    not_carried: tuple[str, ...]

    @classmethod
    def lazy(cls, dumped: bytes | memoryview, **fields: object) -> Moved:
        """A result whose `addresses` are decoded from RTM_NEWADDR messages on first use."""
        moved = cls.__new__(cls)
        moved.__dict__.update(fields, _dumped=dumped)
        return moved

    def __getattr__(self, name: str) -> tuple[Address, ...]:
        # Called only for missing attributes: `addresses` of a lazy result.
        if name != "addresses" or "_dumped" not in self.__dict__:
            raise AttributeError(name)
        self.__dict__["addresses"] = decoded = addresses(self.__dict__["_dumped"], protected=True)
        return decoded

    def __getstate__(self) -> dict[str, object]:
        return {name: bytes(value) if name == "_dumped" else value for name, value in self.__dict__.items()}


@dataclass(frozen=True)
class Left:
    """A device that was not restored completely.

    Attributes:
        device: Host name.
        location: "source", "target", "init", "gone" or "unknown".
        name, ifindex: Its name and ifindex there; None if not known.
        missing: The state that was not restored, in short words.
    """

    device: str
    location: str
    name: str | None
    ifindex: int | None
    missing: tuple[str, ...]


def addresses(dumped: bytes | memoryview, *, protected: bool = False) -> tuple[Address, ...]:
    """Decodes RTM_NEWADDR messages; `protected`: only those that the runtime-spec protects."""
    return tuple(Address(**fields) for fields in ifaddr.addresses(dumped, protected=protected))  # type: ignore[arg-type]

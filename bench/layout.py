"""The devices, addresses and surroundings that a scenario sets up, as data and as lines of `ip -batch`."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass

KIND = "ifb"  # in every kernel of tools/kernels; without DAD


@dataclass(frozen=True)
class Address:
    address: str
    prefixlen: int
    broadcast: str | None = None  # IPv4 only

    def __str__(self) -> str:
        return f"{self.address}/{self.prefixlen}"


@dataclass(frozen=True)
class Layout:
    """The devices that a contestant moves, `d0` to be called `net0`, and so on.

    Args:
        devices: How many; UP.
        ipv4: Addresses of each.
        ipv6: Addresses of each.
        host_routes: IPv4 addresses are /32, so that each one is a primary address with no broadcast address.
    """

    devices: int = 1
    ipv4: int = 2
    ipv6: int = 0
    host_routes: bool = False

    @property
    def names(self) -> dict[str, str]:
        """Name in the source -> name in the target."""
        return {f"d{n}": f"net{n}" for n in range(self.devices)}

    def ipv4_of(self, n: int) -> list[Address]:
        """In the order in which they are added to device n, which is the kernel's."""
        if self.host_routes:
            return [Address(str(ipaddress.IPv4Address(0x0A3C0001 + n * self.ipv4 + k)), 32) for k in range(self.ipv4)]
        if self.ipv4 > 16:  # a handful of prefixes, each with a primary address and many secondary ones
            return [_in_network(f"10.{51 + k % 5}.0.0", 16 + k % 5, k // 5 + 1) for k in range(self.ipv4)]
        return [_in_network(f"10.{k + 1}.{n // 250}.0", 24, n % 250 + 1) for k in range(self.ipv4)]

    def ipv6_of(self, n: int) -> list[Address]:
        """In the order in which they are added to device n: the kernel's is the reverse."""
        if self.ipv6 > 16:
            return [Address(f"2001:db8:1::{k + 1:x}", 64) for k in range(self.ipv6)]
        return [Address(f"2001:db8:{k + 1:x}::{n + 1:x}", 64) for k in range(self.ipv6)]

    def lines(self) -> Iterator[str]:
        for n in range(self.devices):
            yield from up([f"d{n}"])
            yield from replay(f"d{n}", self.ipv4_of(n), self.ipv6_of(n))


def up(names: list[str]) -> list[str]:
    """The lines that make devices without addresses, UP."""
    return [line for name in names for line in (f"link add {name} type {KIND}", f"link set {name} up")]


def _in_network(network: str, prefixlen: int, host: int) -> Address:
    found = ipaddress.ip_network(f"{network}/{prefixlen}")
    return Address(str(found.network_address + host), prefixlen, str(found.broadcast_address))


def replay(device: str, ipv4: list[Address], ipv6: list[Address]) -> Iterator[str]:
    """The lines that add a device's addresses. `nodad`: they are usable at once."""
    for a in ipv4:
        yield f"addr add {a} {f'brd {a.broadcast} ' if a.broadcast else ''}dev {device}"
    for a in ipv6:
        yield f"addr add {a} dev {device} nodad"


def others(count: int) -> Iterator[str]:
    """Devices that stay: down, without addresses, like a host's many veths."""
    for n in range(count):
        yield f"link add other{n} type {KIND}"


def routes(count: int) -> Iterator[str]:
    """IPv4 routes by a device that stays."""
    yield f"link add stays type {KIND}"
    yield "link set stays up"
    yield "addr add 172.16.0.1/24 dev stays"
    for n in range(count):
        yield f"route add {ipaddress.IPv4Address(0x64000000 + n * 4)}/30 via 172.16.0.2 dev stays"

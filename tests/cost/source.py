"""A source with devices to move, and with as much of everything else as a test asks for; a target beside it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from tests.support.namespaces import Namespace, fresh

OTHER = "other"  # the device that foreign routes, addresses and neighbours are on
FREE = 1_000_000  # an ifindex that no device of a source has


@dataclass(frozen=True)
class Source:
    """What there is before the move. Devices are ifbs, which every kernel of the tests has; those that move are UP.

    Attributes:
        batches: How many devices each move of the process takes; one move after the other.
        addresses: Of each device that moves.
        ipv6: Whether half of them, and of the other devices', are of IPv6.
        others, other_addresses, routes, neighbours: Of the source, and of no device that moves.
        target_others: Devices in the target.
        same_ifindexes: Whether these have the ifindexes that the source's devices have.
    """

    batches: tuple[int, ...] = (1,)
    addresses: int = 2
    ipv6: bool = False
    others: int = 0
    other_addresses: int = 0
    routes: int = 0
    neighbours: int = 0
    target_others: int = 0
    same_ifindexes: bool = False

    @contextlib.contextmanager
    def made(self) -> Iterator[tuple[Namespace, Namespace]]:
        """The source, which the calling thread enters, and the target."""
        with fresh("host") as host, fresh("target") as target, host.entered():
            host.batch(self._source())
            lowest = 2 if self.same_ifindexes else FREE
            target.batch([f"link add o{n} index {lowest + n} type ifb" for n in range(self.target_others)])
            host.wait_until_quiet()
            yield host, target

    def _source(self) -> list[str]:
        number = 0
        lines = [f"link add {OTHER} type ifb", f"link set {OTHER} up", f"addr add 192.168.0.1/16 dev {OTHER}"]
        for batch, count in enumerate(self.batches):
            for device in (device_name(batch, n) for n in range(count)):
                lines += [f"link add {device} type ifb", f"link set {device} up"]
                lines += [f"addr add {self._address(number + k)} dev {device}" for k in range(self.addresses)]
                number += self.addresses
        lines += [f"link add o{n} type ifb" for n in range(self.others)]
        for n in range(self.other_addresses):  # without routes of a subnet
            v6 = self.ipv6 and n % 2
            lines.append(f"addr add {f'2001:db8:f:{n:x}::1/128' if v6 else f'11.{_dotted(n)}/32'} dev {OTHER}")
        lines += [f"route add 12.{_dotted(n)}/32 via 192.168.0.2" for n in range(self.routes)]
        lines += [
            f"neigh add 192.168.{n >> 8 & 255}.{n & 255} lladdr 02:00:00:00:{n >> 8:02x}:{n & 255:02x} "
            f"nud permanent dev {OTHER}"
            for n in range(256, 256 + self.neighbours)
        ]
        return lines

    def _address(self, number: int) -> str:
        """Each of a subnet of its own, so that none is a secondary address."""
        if self.ipv6 and number % 2:
            return f"2001:db8:0:{number:x}::1/64 nodad"
        return f"10.{number >> 8}.{number & 255}.1/24 brd +"


def _dotted(number: int) -> str:
    return f"{number >> 16}.{number >> 8 & 255}.{number & 255}"


def device_name(batch: int, number: int) -> str:
    return f"b{batch}d{number}"

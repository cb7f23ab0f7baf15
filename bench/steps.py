"""Measures the kernel's waits: each step of a move alone, and moves that might share them.

    ./tools/bench steps

Twenty devices with two addresses each, UP; a variant is how the links are set down and how the moves are sent. The
client is netdevns.netlink.rtnl, and nothing is looked at but time: milliseconds of wall time a device, medians and
quartiles of seven rounds in which the variants take turns.
"""

from __future__ import annotations

import statistics
import sys
import threading
import time
from collections.abc import Callable, Sequence

from netdevns.netlink import rtnl, uapi, wire
from tests.support.namespaces import Namespace

from .layout import Layout
from .round import furnish

DEVICES = 20
ROUNDS = 7
SETTLE_S = 0.1  # for what the furnishing set going

Times = dict[str, list[float]]


def down(ifindex: int, *, ack: bool = True) -> bytes:
    return wire.link_message(uapi.RTM_NEWLINK, uapi.NLM_F_ACK if ack else 0, ifindex, up=False)


def up(ifindex: int, *, ack: bool = True) -> bytes:
    return wire.link_message(uapi.RTM_NEWLINK, uapi.NLM_F_ACK if ack else 0, ifindex, up=True)


def move(ifindex: int, fd: int, *, ack: bool = True) -> bytes:
    attrs = wire.attr_u32(uapi.IFLA_NET_NS_FD, fd) + wire.attr_name(uapi.IFLA_IFNAME, b"net%d" % ifindex)
    return wire.link_message(uapi.RTM_NEWLINK, uapi.NLM_F_ACK if ack else 0, ifindex, attrs)


def one_by_one(socket: rtnl.Socket, devices: Sequence[int], fd: int) -> None:
    for ifindex in devices:
        socket.command(move(ifindex, fd))


def in_one_send(socket: rtnl.Socket, devices: Sequence[int], fd: int) -> None:
    socket.command(b"".join(move(ifindex, fd, ack=ifindex == devices[-1]) for ifindex in devices))


def each_down_with_its_move(socket: rtnl.Socket, devices: Sequence[int], fd: int) -> None:
    for ifindex in devices:
        socket.command(down(ifindex, ack=False) + move(ifindex, fd))


def by_two_threads(socket: rtnl.Socket, devices: Sequence[int], fd: int) -> None:
    with rtnl.Socket() as other:
        callers = [(socket, devices[::2]), (other, devices[1::2])]
        threads = [threading.Thread(target=one_by_one, args=(*caller, fd)) for caller in callers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


Moves = Callable[[rtnl.Socket, Sequence[int], int], None]
# How the moves are sent, and whether all links are set down before, in one send.
VARIANTS: dict[str, tuple[Moves, bool]] = {
    "one by one, links up": (one_by_one, False),
    "one by one, each set down in the send of its move": (each_down_with_its_move, False),
    "all in one send, links up": (in_one_send, False),
    "all links down in one send, then one by one": (one_by_one, True),
    "all links down in one send, then all in one send": (in_one_send, True),
    "all links down in one send, then by two threads": (by_two_threads, True),
}


def play(variant: str, times: Times) -> None:
    moves, down_first = VARIANTS[variant]
    with Namespace.create("host") as host, Namespace.create("target") as target, host.entered():
        furnish(host, Layout(DEVICES).lines())
        host.wait_until_quiet()
        time.sleep(SETTLE_S)
        devices = [link.ifindex for name, link in host.links().items() if name.startswith("d")]
        with rtnl.Socket() as source, rtnl.Socket(target.fd) as there:
            begin = time.perf_counter()
            if down_first:
                source.command(b"".join(down(ifindex, ack=ifindex == devices[-1]) for ifindex in devices))
            links_down = time.perf_counter()
            moves(source, devices, target.fd)
            moved = time.perf_counter()
            arrived = [link.ifindex for name, link in target.links().items() if name.startswith("net")]
            begin_up = time.perf_counter()
            there.command(b"".join(up(ifindex, ack=ifindex == arrived[-1]) for ifindex in arrived))
            end = time.perf_counter()
    assert len(arrived) == DEVICES
    for what, seconds in (
        (variant, moved - begin),
        *([("of it: setting a link down", links_down - begin)] if down_first else []),
        ("afterwards: setting a link up", end - begin_up),
    ):
        times.setdefault(what, []).append(seconds * 1000 / DEVICES)


def main() -> int:
    times: Times = {}
    for _ in range(ROUNDS):
        for variant in VARIANTS:
            play(variant, times)
    for what in (*VARIANTS, *(what for what in times if what not in VARIANTS)):
        low, median, high = statistics.quantiles(times[what], n=4)
        print(f"{what:52} {median:7.2f} ms ({low:.2f} to {high:.2f})")
    return 0


if __name__ == "__main__":
    sys.exit(main())

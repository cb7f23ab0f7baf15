"""Concurrent requests: a move beside a move, a rename, a deletion, new addresses, or the end of the target's process.

The kernel serializes changes of devices (rtnl). The order is chance; a value has only what holds in every order.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ...netlink import uapi, wire
from .. import requests, system
from ..probe import SPEC, Value, probe
from ..requests import address, del_link, named, ns_fd, ns_pid, set_link
from ..world import Device, SetupFailed, World
from .permissions import raw_error
from .raw import Raw

RTNL = "net/core/rtnetlink.c, rtnl_lock"
ROUNDS = 3
ENOUGH, MOST = 8, 60  # addresses: before the move, and in all
Work = Callable[[], Any]


def at_once(first: Work, second: Work) -> tuple[Any, Any]:
    """Runs two functions in two threads at the same time. Raises what they raise."""
    barrier = threading.Barrier(2)

    def run(work: Work) -> Any:
        barrier.wait()
        return work()

    with ThreadPoolExecutor(2) as pool:
        one, two = pool.submit(run, first), pool.submit(run, second)
        return one.result(), two.result()


def rounds(world: World, one: Callable[[World, Device, int], str]) -> Value:
    """The outcomes of several rounds, each with a new device; sorted, each text once."""
    return sorted({one(world, world.source.device(b"eth%d" % number), number) for number in range(ROUNDS)})


def asked(world: World, first: bytes, second: bytes) -> tuple[str, str]:
    """The errors of two concurrent requests in the source, each on a socket of its own."""
    with Raw(world.source.fd) as one, Raw(world.source.fd) as two:
        return at_once(lambda: raw_error(one, first), lambda: raw_error(two, second))


@probe(
    "races.two-targets",
    SPEC,
    "Of two concurrent moves of one device to two namespaces, one succeeds, the other fails with ENODEV.",
    source=RTNL,
)
def two_targets(world: World) -> Value:
    names = ("target", "other")
    fds = [world.namespace(name).fd for name in names]

    def one(world: World, device: Device, number: int) -> str:
        del number
        errors = asked(world, *(set_link(device.ifindex, ns_fd(fd)) for fd in fds))
        won = [name for name, error in zip(names, errors, strict=True) if error == "ok"]
        found = world.find(device)
        is_there = found is not None and [found[0]] == won
        return f"{len(won)} ok, {max(errors, key=lambda e: e != 'ok')}, {'there' if is_there else 'elsewhere'}"

    return rounds(world, one)


@probe(
    "races.one-target",
    SPEC,
    "Of two concurrent moves of one device to two names, one succeeds and sets the name, the other fails with ENODEV.",
    source=RTNL,
)
def one_target(world: World) -> Value:
    def one(world: World, device: Device, number: int) -> str:
        names = [b"a%d" % number, b"b%d" % number]
        errors = asked(world, *(set_link(device.ifindex, ns_fd(world.target.fd) + named(name)) for name in names))
        found = world.find(device)
        won = [name for name, error in zip(names, errors, strict=True) if error == "ok"]
        is_right = found is not None and found[0] == "target" and [found[1].name] == won
        return f"{len(won)} ok, {max(errors, key=lambda e: e != 'ok')}, {'winner' if is_right else 'not winner'}'s name"

    return rounds(world, one)


@probe("races.renamer", SPEC,
       "A rename during a move takes effect, or fails with ENODEV; the device's name agrees with the answer.",
       source=RTNL)  # fmt: skip
def renamer(world: World) -> Value:
    def one(world: World, device: Device, number: int) -> str:
        new = b"new%d" % number
        move, rename = asked(
            world, set_link(device.ifindex, ns_fd(world.target.fd)), set_link(device.ifindex, named(new))
        )
        found = world.find(device)
        name = found[1].name if found else b""
        agrees = name == (new if rename == "ok" else device.name) and rename in ("ok", "ENODEV")
        return f"move {move}, {'agrees' if agrees else f'rename {rename}, but {name!r}'}"

    return rounds(world, one)


@probe(
    "races.renamer.name-in-the-move",
    SPEC,
    "A rename during a move with IFLA_IFNAME does not replace the move's name.",
    source=RTNL,
)
def renamer_named(world: World) -> Value:
    def one(world: World, device: Device, number: int) -> str:
        net = b"net%d" % number
        moving = set_link(device.ifindex, ns_fd(world.target.fd) + named(net))
        move, _ = asked(world, moving, set_link(device.ifindex, named(b"new%d" % number)))
        found = world.find(device)
        return f"move {move}, {'its name' if found and found[1].name == net else 'another name'}"

    return rounds(world, one)


@probe(
    "races.deleter",
    SPEC,
    "Of a concurrent move and deletion, one succeeds and the other fails with ENODEV.",
    source=RTNL,
)
def deleter(world: World) -> Value:
    def one(world: World, device: Device, number: int) -> str:
        del number
        move, delete = asked(world, set_link(device.ifindex, ns_fd(world.target.fd)), del_link(device.ifindex))
        wanted = "target" if move == "ok" else "gone"
        agrees = world.place(device).split()[0] == wanted
        return f"{sorted((move, delete))}, {'agrees' if agrees else 'is elsewhere'}"

    return rounds(world, one)


@probe("races.setter-up", SPEC, "A device that is set up during a move arrives down.", source=RTNL)
def setter_up(world: World) -> Value:
    def one(world: World, device: Device, number: int) -> str:
        del number
        move, _ = asked(world, set_link(device.ifindex, ns_fd(world.target.fd)), set_link(device.ifindex, up=True))
        return f"move {move}, {world.place(device).split()[2]}"

    return rounds(world, one)


@probe("races.crossing-names", SPEC, "Two devices moved at once, each to the other's name, both get it.",
       source="net/core/dev.c, __dev_change_net_namespace")  # fmt: skip
def crossing(world: World) -> Value:
    def one(world: World, device: Device, number: int) -> str:
        other = world.source.device(b"other%d" % number)
        to = ns_fd(world.target.fd)
        moves = [set_link(device.ifindex, to + named(other.name)), set_link(other.ifindex, to + named(device.name))]
        errors = asked(world, *moves)
        places = [world.find(each) for each in (device, other)]
        crossed = [found[1].name for found in places if found] == [other.name, device.name]
        return f"{list(errors)}, {'crossed' if crossed else 'not crossed'}"

    return rounds(world, one)


@probe("races.one-name", SPEC,
       "Of two devices moved at once to one name, the second is in the target under its old name.",
       source="net/core/dev.c, __dev_change_net_namespace")  # fmt: skip
def one_name(world: World) -> Value:
    def one(world: World, device: Device, number: int) -> str:
        other = world.source.device(b"other%d" % number)
        name = b"net%d" % number
        errors = asked(world, *(set_link(d.ifindex, ns_fd(world.target.fd) + named(name)) for d in (device, other)))
        places = dict(zip(errors, (world.find(each) for each in (device, other)), strict=True))
        loser = places.get("EEXIST")
        where = f"{loser[0]}, {'old name' if loser[1].name != name else 'new name'}" if loser else "?"
        return f"{sorted(errors)}, the refused one: {where}"

    return rounds(world, one)


def acked(raw: Raw, ifindex: int, family: int, some: threading.Event) -> list[bytes]:
    """Adds addresses until the device has gone (ENODEV); those that were acknowledged."""
    found: list[bytes] = []
    end = time.monotonic() + 60
    while time.monotonic() < end:
        number = min(len(found) + 1, MOST)  # then the last one again: the listener has room for so many
        text = f"10.0.{number}.1/32" if family == uapi.AF_INET else f"2001:db8::{number:x}/128"
        error = raw_error(raw, address(ifindex, text, flags=uapi.IFA_F_NODAD if family == uapi.AF_INET6 else 0))
        if error == "ok":
            found.append(requests.packed(text.partition("/")[0])[1])
        elif error == "ENODEV":
            return found
        elif error != "EEXIST":
            raise SetupFailed(f"{text}: {error}")
        if len(found) >= ENOUGH:
            some.set()
    raise SetupFailed("the device did not leave")


@probe("races.address-adder.{}", SPEC,
       "Each address that was acknowledged during a move is announced by RTM_DELADDR: {}.",
       source="net/ipv4/devinet.c, inet_rtm_newaddr; net/ipv6/addrconf.c, inet6_rtm_newaddr",
       cases={"ipv4": (uapi.AF_INET, 5), "ipv6": (uapi.AF_INET6, 9)},
       texts={"ipv4": "IPv4", "ipv6": "IPv6"})  # fmt: skip
def adder(world: World, family: int, group: int) -> Value:
    device = world.source.device(b"eth1")
    listener = world.source.listener(group)
    some = threading.Event()
    message = set_link(device.ifindex, ns_fd(world.target.fd))
    with Raw(world.source.fd) as one, Raw(world.source.fd) as two:
        taken, move = at_once(
            lambda: acked(one, device.ifindex, family, some),
            lambda: some.wait(5) and raw_error(two, message),
        )
    lost = {bytes(wire.attrs(m.body, 8)[uapi.IFA_ADDRESS]) for m in listener.read() if m.type == uapi.RTM_DELADDR}
    listener.raw.close()
    return {
        "move": move,
        "not-told": len(set(taken) - lost),
        "in-target": len(world.target.dump(uapi.RTM_GETADDR, family)),
    }


@probe("races.target-process-ends", SPEC,
       "A move by a pid whose process ends meanwhile succeeds, or fails with ESRCH and changes nothing.",
       source="net/core/net_namespace.c, get_net_ns_by_pid")  # fmt: skip
def process_ends(world: World) -> Value:
    """The target itself stays: the pid must be looked up once, at the beginning."""

    def one(world: World, device: Device, number: int) -> str:
        del number
        pid = world.process_in(world.target)

        def end() -> None:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)

        with Raw(world.source.fd) as raw:
            error, _ = at_once(lambda: raw_error(raw, set_link(device.ifindex, ns_pid(pid))), end)
        where = world.place(device).split()[0]
        agrees = (error, where) in (("ok", "target"), ("ESRCH", "source"))
        return "agrees" if agrees else f"{error}, but {where}"

    return rounds(world, one)


@probe("races.target-dies", SPEC,
       "A move by the pid of the target's only process, which ends meanwhile, succeeds, or fails with ESRCH.",
       source="net/core/net_namespace.c, get_net_ns_by_pid")  # fmt: skip
def target_dies(world: World) -> Value:
    """After ESRCH the device is in the source; after success it died with the namespace."""

    def one(world: World, _: Device, number: int) -> str:
        name = b"v%d" % number
        device = world.source.make(b"veth", name)
        pid = alone(world)

        def end() -> None:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)

        listener = world.source.listener(1)
        with Raw(world.source.fd) as raw:
            error, _none = at_once(lambda: raw_error(raw, set_link(device.ifindex, ns_pid(pid))), end)
        if error == "ok":  # then the peer is deleted when the namespace has died
            listener.until(lambda m: m.type == uapi.RTM_DELLINK and wire.Link(m.body).name == b"p-" + name)
        listener.raw.close()
        where = world.place(device).split()[0]
        agrees = (error, where) in (("ok", "gone"), ("ESRCH", "source"))
        return "agrees" if agrees else f"{error}, but {where}"

    return rounds(world, one)


def alone(world: World) -> int:
    """The pid of the only process in a network namespace."""

    def work(write: int) -> None:
        for each in world.namespaces.values():
            each.close()
        system.unshare(system.CLONE_NEWNET)
        os.write(write, b".")
        signal.pause()

    pid, ready = system.spawn(work)
    os.read(ready, 1)
    os.close(ready)
    return pid

"""The phases of a batch, over devices of either engine: snapshot, down, move, catch up, replay, verify.

No policy: which devices, in which order, and what follows from a failure is said by who calls. A phase ends at the
first device that fails, and `Failed` says which. What is called `*_next` does one device, so that its caller can look
at the time and at signals in between.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Sequence

from ..netlink import uapi, wire
from ..netlink.error import EngineError
from ..netlink.ifname import is_template
from ..text import quote
from . import PLACE_GONE, PLACE_SOURCE, PLACE_TARGET, Device, Socket, Watch, address_runs, lookups

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeVar

    T = TypeVar("T")

DOWN_WINDOW = 64  # messages; a refusal of each still fits into a default receive buffer
UNREAD_BYTES = 8 << 10  # of addresses that were moved: fewer than a buffer of net.core.rmem_max holds


class BatchDevice(Device):
    """A device on its way: all that is known of it, in one object.

    Attributes:
        host_name, label: What it was asked for by; the same for messages, where a newline must not stand.
        ifname, wanted: Its name in the source; that in the target, or a template.
        link: As it was in the source, before its snapshot.
        depth: On how many others of the batch it lies, one on the other.
        lost: What the move drops that the runtime-spec does not protect, in short words.
        touched: Whether anything was sent that may have changed it.
        arrived_link: The RTM_NEWLINK that was read in the target at the end.
        ended: Whether the kernel deleted it when its lower device left.
        for_good: What an undo found missing that nothing can put back.
    """

    __slots__ = (
        "arrived_link", "depth", "ended", "for_good", "host_name", "ifname", "label", "link", "lost", "touched",
        "wanted",
    )  # fmt: skip

    def __init__(self, host_name: str, ifname: bytes, wanted: bytes, link: wire.Link, ifindex: int = 0) -> None:
        super().__init__(ifname, wanted, ifindex or link.ifindex)
        self.host_name = host_name
        self.label = quote.shown(ifname)
        self.ifname = ifname
        self.wanted = wanted
        self.link = link
        self.depth = 0
        self.lost: list[str] = []
        self.touched = False
        self.arrived_link = b""
        self.ended = False
        self.for_good: list[str] = []

    @property
    def location(self) -> str:
        """Where it is, as `NetDevError.location` says it."""
        place = PLACE_GONE if self.ended else self.place
        return {PLACE_SOURCE: "source", PLACE_TARGET: "target", PLACE_GONE: "gone"}.get(place, "unknown")


class Failed(Exception):
    """A phase failed, for one device or (None) for all of them.

    Attributes:
        device: Which one.
        step: As in `NetDevError.step`.
        errno: 0: no system call failed, a comparison did.
        extack: The kernel's words, or the engine's.
    """

    def __init__(self, device: BatchDevice | None, step: str, errno_: int, extack: str) -> None:
        super().__init__(step)
        self.device = device
        self.step = step
        self.errno = errno_
        self.extack = extack


def attempt(device: BatchDevice | None, step: str, call: Callable[..., T], *args: object) -> T:
    """A call of the engine's; if it fails, `Failed` says of which device and in which step."""
    try:
        return call(*args)
    except EngineError as e:
        raise Failed(device, step, 0 if e.errno == errno.ESTALE else e.errno, e.extack) from None


class Phases:
    """
    Args:
        source, target: Sockets in both namespaces.
        target_fd: The target.
        watch: Of the source's addresses, from before the links were read.
        devices: Those that move.
        uppers: Devices that stay in the source, on top of one that moves.

    Attributes:
        moves, replays: The devices, in the order in which they move, and in which they come up.
    """

    def __init__(
        self,
        source: Socket,
        target: Socket,
        target_fd: int,
        watch: Watch,
        devices: Sequence[BatchDevice],
        uppers: Sequence[BatchDevice],
    ) -> None:
        self._source = source
        self._target = target
        self._target_fd = target_fd
        self._watch = watch
        self._devices = devices
        self._everyone = (*devices, *uppers)
        # Uppers before lowers; literal names before templates, those that bring alternative names first: "eth%d" must
        # not take the "eth0" that another device wants or brings along (probes clash.template-zero-taken,
        # clash.template-zero-altname).
        self.moves = sorted(devices, key=lambda d: (-d.depth, is_template(d.wanted), not d.link.altnames))
        self.replays = sorted(devices, key=lambda d: d.depth)
        self._moved = self._replayed = self._unread = 0
        # Before 6.6 they are removed before a move that loses them, and added after it (probe
        # clash.own-altname.left-behind).
        self._carries_altnames = any(device.link.altnames for device in devices) and not lookups.moves_altnames()

    def snapshot(self) -> None:
        """Records what the kernel drops: one dump of addresses; the links are those that were just read."""
        if not self._everyone:
            return
        ifindexes = [device.link.ifindex for device in self._everyone]
        found = attempt(self._only(), "snapshot", lookups.addresses, self._source, ifindexes)
        for device in self._everyone:
            read = device.link.message(), found[device.link.ifindex]
            attempt(device, "snapshot", device.snapshot, self._source, read)

    def set_down(self) -> None:
        """All links of several in one send: each move then waits for one tick of the kernel's less (9-15 %)."""
        up = [device for device in self.moves if device.link.flags & uapi.IFF_UP] if len(self.moves) > 1 else []
        for at in range(0, len(up), DOWN_WINDOW):
            window = up[at : at + DOWN_WINDOW]
            requests = []
            for device in window:
                device.touched = True
                flags = uapi.NLM_F_ACK if device is window[-1] else 0
                requests.append(wire.link_message(uapi.RTM_NEWLINK, flags, device.ifindex, up=False))
            try:
                self._source.command(b"".join(requests))
            except EngineError as e:
                raise Failed(window[min(e.index, len(window) - 1)], "down", e.errno, e.extack) from None

    def move_next(self) -> int:
        """Moves the next device; returns how many have moved.

        Little is done between two moves: after milliseconds of waiting, none of it is in the processor's caches.
        """
        device = self.moves[self._moved]
        device.touched = True
        if self._carries_altnames and device.link.altnames:
            attempt(device, "move", self._take_altnames, device)
        attempt(device, "move", device.move, self._source, self._target, self._target_fd)
        self._unread += device.addresses_size
        if self._unread > UNREAD_BYTES:
            self._watch.drain()
            self._unread = 0
        self._moved += 1
        return self._moved

    def catch_up(self) -> bool:
        """Addresses that somebody added or changed between snapshot and move: the kernel told of them when they went.

        Returns whether there were any. An IPv4 route that was added meanwhile is lost: nobody is told of it (probe
        notify.route.ipv4). Raises EngineError: some notifications could not be read.
        """
        self._watch.drain()
        everyone = [device for device in self._everyone if device.has_snapshot]
        if len(everyone) == 1:
            everyone[0].late(self._watch.told)
        else:
            told: dict[int, list[bytes | memoryview]] = {}
            for ifindex, messages in address_runs(self._watch.told):
                told.setdefault(ifindex, []).append(messages)
            for device in everyone:
                if device.link.ifindex in told:
                    device.late(b"".join(told[device.link.ifindex]))
        return any(device.was_late for device in everyone)

    def replay_next(self) -> int:
        """Gives the next device its addresses in the target and sets it up; returns how many have theirs."""
        device = self.replays[self._replayed]
        attempt(device, "replay", device.up_and_replay, self._target)
        if self._carries_altnames and device.link.altnames:
            attempt(device, "replay", self._give_altnames, device)
        self._replayed += 1
        return self._replayed

    def verify(self) -> Iterator[int]:
        """Compares what arrived with the snapshots, in few exchanges for all; yields how many are as they were."""
        ifindexes = [device.target_ifindex for device in self._devices]
        if not ifindexes:
            return
        size = sum(device.addresses_size for device in self._devices)
        links, found = attempt(self._only(), "verify", lookups.links_and_addresses, self._target, ifindexes, size)
        for done, (device, link) in enumerate(zip(self._devices, links, strict=True), 1):
            attempt(device, "verify", self._compare, device, link, found[device.target_ifindex])
            yield done

    def _compare(self, device: BatchDevice, answer: wire.Message, addresses: bytes | memoryview) -> None:
        if code := lookups.refused(answer):
            raise EngineError(code, wire.error(answer)[1], "verify")
        device.arrived_link = bytes(answer.data)
        device.verify(self._target, (device.arrived_link, addresses))
        if device.link.altnames and {*wire.Link(answer.body).altnames} != {*device.link.altnames}:
            raise EngineError(errno.ESTALE, "its alternative names did not arrive", "verify")

    def _only(self) -> BatchDevice | None:
        """Whose fault it is when an exchange for all fails."""
        return self._everyone[0] if len(self._everyone) == 1 else None

    def _take_altnames(self, device: BatchDevice) -> None:
        lost = lookups.lost_altnames(self._source, device.link.altnames, device.link)
        names = [name for name in dict.fromkeys(device.link.altnames) if name not in lost]
        if names:
            self._source.command(wire.altnames_message(uapi.RTM_DELLINKPROP, device.ifindex, names))

    def _give_altnames(self, device: BatchDevice) -> None:
        names = dict.fromkeys(device.link.altnames)
        self._target.command(wire.altnames_message(uapi.RTM_NEWLINKPROP, device.target_ifindex, names))

"""Runs the phases of a batch (snapshot, down, move, catch up, replay, verify): csrc/snapshot.c and phases.c in Python.

The caller decides which devices move and what follows a failure. A phase ends at the first device that fails, which
`Failed` names. A `*_next` method handles one device, or one window of look-ups, so that the caller can check the time
and signals in between.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping, Sequence
from typing import Any

from ...netlink import uapi, wire
from ...netlink.error import EngineError
from ...netlink.ifname import is_template
from ...netlink.rtnl import Watch
from .. import Socket, lookups
from ..batch_device import BatchDevice
from ..failed import Failed, attempt
from .device import address_runs

DOWN_WINDOW = 64  # messages; an error for each fits into a default receive buffer
UNREAD_BYTES = 8 << 10  # of moved addresses, whose notifications fit into a buffer of net.core.rmem_max


class Phases:
    """The phases of one batch, each to be called once and in this order.

    Args:
        source, target: Sockets in both namespaces.
        target_fd: A descriptor of the target.
        watch: A subscription to the source's addresses, from before the links were read.
        devices: The devices that move.
        uppers: Devices that stay in the source, on top of one that moves.

    Attributes:
        everyone: The devices, then the uppers.
        moves, replays: The devices, in the order of the moves and of the replays.
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
        self.everyone = (*devices, *uppers)
        # Uppers before lowers: one that is complete in the target loses its IPv6 addresses when its lower arrives
        # there, down. Within a level literal names before templates, devices with alternative names first:
        # "eth%d" must not take the "eth0" that another device wants or brings as an alternative name (probes
        # clash.template-zero-taken, clash.template-zero-altname).
        self.moves = sorted(devices, key=lambda d: (-d.depth, is_template(d.wanted), not d.link.altnames))
        # A VLAN cannot be set up before its lower device is up (probe kinds.upper-up.vlan).
        self.replays = sorted(devices, key=lambda d: d.depth)
        self._moved = self._replayed = self._verified = self._unread = 0
        self._found: Mapping[int, bytes | memoryview] = {}  # ifindex in the target -> RTM_NEWADDR messages
        # Before 6.6 a move loses them: they are removed before it and added after it (probe
        # clash.own-altname.left-behind).
        self._carries_altnames = any(device.link.altnames for device in devices) and not lookups.moves_altnames()

    def snapshot(self) -> None:
        """Records each device: its addresses by one dump, its link as just read."""
        if not self.everyone:
            return
        ifindexes = [device.link.ifindex for device in self.everyone]
        found = attempt(self._only(), "snapshot", lookups.addresses, self._source, ifindexes)
        for device in self.everyone:
            read = device.link.message(), found[device.link.ifindex]
            attempt(device, "snapshot", device.snapshot, self._source, read)

    def set_down(self) -> None:
        """Sets all links down in one send, where there are several: each move then takes 9-15 % less."""
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

        Little is done between two moves: after milliseconds of waiting in the kernel, the processor's caches are cold.
        """
        device = self.moves[self._moved]
        device.touched = True
        if self._carries_altnames and device.link.altnames:
            attempt(device, "move", self._take_altnames, device)
        attempt(device, "move", device.move, self._source, self._target, self._target_fd)
        self._unread += len(device.addresses)
        if self._unread > UNREAD_BYTES:
            self._watch.drain()
            self._unread = 0
        self._moved += 1
        return self._moved

    def catch_up(self) -> bool:
        """Adds addresses that changed between snapshot and move: the move's RTM_DELADDR notifications have them.

        Returns whether there were any. An IPv4 route that was added meanwhile is lost: the kernel sends no notification
        of its end (probe notify.route.ipv4). Raises EngineError: notifications were lost.
        """
        self._watch.drain()
        everyone = [device for device in self.everyone if device.has_snapshot]
        if len(everyone) == 1:
            everyone[0].late(self._watch.notifications)
        else:
            notified: dict[int, list[bytes | memoryview]] = {}
            for ifindex, messages in address_runs(self._watch.notifications):
                notified.setdefault(ifindex, []).append(messages)
            for device in everyone:
                if device.link.ifindex in notified:
                    device.late(b"".join(notified[device.link.ifindex]))
        return any(device.was_late for device in everyone)

    def replay_next(self) -> int:
        """Adds the next device's addresses in the target and sets it up; returns how many are done."""
        device = self.replays[self._replayed]
        attempt(device, "replay", device.up_and_replay, self._target)
        if self._carries_altnames and device.link.altnames:
            attempt(device, "replay", self._give_altnames, device)
        self._replayed += 1
        return self._replayed

    def verify_next(self) -> int:
        """Compares the next window of devices with their snapshots; returns how many are done."""
        window = self._devices[self._verified :][: lookups.WINDOW]
        ifindexes = [device.target_ifindex for device in window]
        if len(self._devices) == 1:
            links, self._found = attempt(self._only(), "verify", lookups.link_and_addresses, self._target, ifindexes[0])
        else:
            if not self._verified:
                every = [device.target_ifindex for device in self._devices]
                self._found = attempt(self._only(), "verify", lookups.addresses, self._target, every)
            links = attempt(self._only(), "verify", lookups.ask, self._target, [*map(wire.get_link, ifindexes)])
        for device, link in zip(window, links, strict=True):
            attempt(device, "verify", self._compare, device, link, self._found[device.target_ifindex])
        self._verified += len(window)
        return self._verified

    def _compare(self, device: Any, answer: wire.Message, addresses: bytes | memoryview) -> None:
        if code := lookups.refused(answer):
            raise EngineError(code, wire.error(answer)[1], "verify")
        device.arrived_link = bytes(answer.data)
        device.verify(self._target, (device.arrived_link, addresses))
        if device.link.altnames and {*wire.Link(answer.body).altnames} != {*device.link.altnames}:
            raise EngineError(errno.ESTALE, "its alternative names did not arrive", "verify")

    def _only(self) -> BatchDevice | None:
        """The device to name when an exchange for all devices fails; None: there are several."""
        return self.everyone[0] if len(self.everyone) == 1 else None

    def _take_altnames(self, device: BatchDevice) -> None:
        lost = lookups.lost_altnames(self._source, device.link.altnames, device.link)
        names = [name for name in dict.fromkeys(device.link.altnames) if name not in lost]
        if names:
            self._source.command(wire.altnames_message(uapi.RTM_DELLINKPROP, device.ifindex, names))

    def _give_altnames(self, device: BatchDevice) -> None:
        names = dict.fromkeys(device.link.altnames)
        self._target.command(wire.altnames_message(uapi.RTM_NEWLINKPROP, device.target_ifindex, names))

"""A device of a batch, on top of either engine's device."""

from __future__ import annotations

from ..netlink import wire
from ..text import quote
from . import PLACE_GONE, PLACE_SOURCE, PLACE_TARGET, Device


class BatchDevice(Device):
    """A device that moves, with all that is known about it.

    Attributes:
        host_name, label: The name in the request; the same, printable, for messages.
        ifname, wanted: Its name in the source; its name in the target, or a template.
        link: Its link in the source, read before the snapshot.
        lost: State that the move drops and the runtime-spec does not protect, in short words.
        ended: Whether the kernel deleted it when its lower device moved.
        is_replaced: Whether it ended, and another device has its name and MAC in the source.
        unrestorable: State that undo found missing and nothing can restore.
    """

    __slots__ = ("ended", "host_name", "ifname", "is_replaced", "label", "link", "lost", "unrestorable", "wanted")

    def __init__(self, host_name: str, ifname: bytes, wanted: bytes, link: wire.Link, ifindex: int = 0) -> None:
        super().__init__(ifname, wanted, ifindex or link.ifindex)
        self.host_name = host_name
        self.label = quote.shown(ifname)
        self.ifname = ifname
        self.wanted = wanted
        self.link = link
        self.lost: list[str] = []
        self.ended = False
        self.is_replaced = False
        self.unrestorable: list[str] = []

    @property
    def is_home(self) -> bool:
        """Whether it, and not another device that has its name, is in the source."""
        return self.place == PLACE_SOURCE and not self.ended and not self.is_replaced

    @property
    def location(self) -> str:
        """Where it is, in the words of `NetDevError.location`."""
        place = PLACE_GONE if self.ended or (self.is_replaced and self.place == PLACE_SOURCE) else self.place
        return {PLACE_SOURCE: "source", PLACE_TARGET: "target", PLACE_GONE: "gone"}.get(place, "unknown")

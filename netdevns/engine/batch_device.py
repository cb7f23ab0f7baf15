"""A device of a batch, of either engine."""

from __future__ import annotations

from ..netlink import wire
from ..text import quote
from . import PLACE_GONE, PLACE_SOURCE, PLACE_TARGET, Device


class BatchDevice(Device):
    """A device on its way: all that is known of it, in one object.

    Attributes:
        host_name, label: What it was asked for by; the same for messages, where a newline must not stand.
        ifname, wanted: Its name in the source; that in the target, or a template.
        link: As it was in the source, before its snapshot.
        lost: What the move drops that the runtime-spec does not protect, in short words.
        ended: Whether the kernel deleted it when its lower device left.
        for_good: What an undo found missing that nothing can put back.
    """

    __slots__ = ("ended", "for_good", "host_name", "ifname", "label", "link", "lost", "wanted")

    def __init__(self, host_name: str, ifname: bytes, wanted: bytes, link: wire.Link, ifindex: int = 0) -> None:
        super().__init__(ifname, wanted, ifindex or link.ifindex)
        self.host_name = host_name
        self.label = quote.shown(ifname)
        self.ifname = ifname
        self.wanted = wanted
        self.link = link
        self.lost: list[str] = []
        self.ended = False
        self.for_good: list[str] = []

    @property
    def location(self) -> str:
        """Where it is, as `NetDevError.location` says it."""
        place = PLACE_GONE if self.ended else self.place
        return {PLACE_SOURCE: "source", PLACE_TARGET: "target", PLACE_GONE: "gone"}.get(place, "unknown")

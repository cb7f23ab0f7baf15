"""A device of a batch that passed the checks, on its way."""

from __future__ import annotations

from . import sysctls, wire
from .engine import PLACE_GONE, PLACE_SOURCE, PLACE_TARGET, Device
from .plan import Item


class Member:
    """A device of the batch, checked."""

    __slots__ = ("arrived", "device", "ended", "for_good", "item", "link", "touched")

    def __init__(self, item: Item, device: Device, link: wire.Link) -> None:
        self.item = item
        self.device = device
        self.link = link
        self.arrived = b""  # the RTM_NEWLINK that was read in the target at the end
        self.touched = False  # whether anything was sent that may have changed it
        self.ended = False  # the kernel deleted it when its lower device left
        self.for_good: list[str] = []  # what an undo found missing that nothing can put back

    def settings(self) -> sysctls.Settings:
        """Its sysctls as they were in the source."""
        was = sysctls.Settings(self.device.link_body)
        if self.item.token is not None:
            was.token = self.item.token
        return was


def location(member: Member) -> str:
    """Where a device is, as `NetDevError.location` says it."""
    place = PLACE_GONE if member.ended else member.device.place
    return {PLACE_SOURCE: "source", PLACE_TARGET: "target", PLACE_GONE: "gone"}.get(place, "unknown")

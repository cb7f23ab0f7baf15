"""What a batch that failed says: what, which device, where it is, and what is not as before."""

from __future__ import annotations

import errno
import os

from ..engine.batch_device import BatchDevice
from ..engine.failed import Failed
from ..errors import MoveFailed
from ..netlink import ifname
from ..netlink.error import EngineError
from ..results import Left
from ..text import quote
from .plan import Plan, called

WORDS = {
    "record": "the record of this move could not be written",
    "open": "it could not be prepared",
    "exchange": "the kernel could not be asked",
    "snapshot": "its addresses could not be read",
    "down": "it could not be set down",
    "watch": "addresses that were added meanwhile are not known",
    "move": "the move failed",
    "replay": "its addresses could not be set in the target",
    "carry": "what was to be preserved could not be set in the target",
    "verify": "it did not arrive as it was",
    "undo": "it could not be put back",
}
# Of a batch, where one exchange is for all of it.
WORDS_OF_ALL = {
    "snapshot": "the addresses of the devices could not be read",
    "verify": "what arrived in the target could not be read",
}
# Where such an exchange was, in the source or in the target: with no device to name, the namespace is named.
IN_SOURCE, IN_TARGET = ("open", "snapshot", "down", "watch"), ("move", "replay", "carry", "verify")


def _where(device: BatchDevice | None, step: str, plan: Plan) -> str:
    """How a text begins: with the device at fault, or with the namespace."""
    if device:
        return f"{device.label}: "
    if step in IN_SOURCE or step in IN_TARGET:
        return f"{called(plan.source if step in IN_SOURCE else plan.target)}: "
    return ""


def failed(
    cause: BaseException, left: tuple[Left, ...], plan: Plan, *, is_kept: bool, may_miss_late: bool
) -> MoveFailed:
    """The error of a batch.

    Args:
        cause: A `Failed`, an EngineError, or what interrupted it.
        left: What could not be put back.
        plan: The batch.
        is_kept: Whether its record is kept for `recover`.
        may_miss_late: Whether an address that was added during the move may be lost.
    """
    stopped = cause if isinstance(cause, Failed) else Failed(None, "interrupt", 0, "")
    if isinstance(cause, EngineError):
        stopped = Failed(None, cause.step, cause.errno, cause.extack)
    device = stopped.device
    text = _where(device, stopped.step, plan)
    if stopped.step == "time-out":
        text += "the time was over before this device"
    elif stopped.step == "interrupt":
        text += f"interrupted by {stopped.extack}" if stopped.extack else f"interrupted ({type(cause).__name__})"
    elif stopped.step == "process":
        text += stopped.extack
    else:
        said = [os.strerror(stopped.errno)] if stopped.errno else []
        if said and stopped.extack.endswith(said[0]):  # a file and why
            said = []
        words = WORDS[stopped.step] if device else WORDS_OF_ALL.get(stopped.step, WORDS[stopped.step])
        if device and stopped.step == "move" and stopped.errno == errno.EEXIST:
            words = f'the name "{quote.shown(device.wanted)}" was taken in the target meanwhile'
        text += ": ".join([words, *said, *([stopped.extack] if stopped.extack else [])])
    text += (
        "; devices, addresses and routes are back as before"
        if not left
        else f"; NOT as before: {', '.join(quote.shown(ifname.encode(x.device)) for x in left)}"
    )
    if is_kept:
        text += "; the record is kept, and `netdevns recover` tries again"
    if may_miss_late or stopped.step == "watch":
        text += "; an address that was added during the move may be missing"
    return MoveFailed(
        text,
        errno=stopped.errno,
        extack="" if stopped.step in ("interrupt", "process") else stopped.extack,
        device=device.host_name if device else None,
        step=stopped.step,
        netns=plan.target.where if plan.target else None,
        location=_location(device, stopped) if device else None,
        left=left,
    )


def _location(device: BatchDevice, stopped: Failed) -> str:
    if device.touched:
        return device.location
    return "gone" if (stopped.step, stopped.errno) == ("snapshot", errno.ENODEV) else "source"

"""Builds the error of a failed batch: which step, which device, where it is, and what is not restored."""

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
    "open": "setup failed",
    "exchange": "netlink request failed",
    "snapshot": "its addresses could not be read",
    "down": "it could not be set down",
    "watch": "addresses that were added meanwhile could not be read",
    "move": "the move failed",
    "replay": "its addresses could not be set in the target",
    "carry": "preserved state could not be set in the target",
    "verify": "it did not arrive unchanged",
    "undo": "it could not be restored",
}
# For steps in which one exchange serves the whole batch.
WORDS_OF_ALL = {
    "snapshot": "the addresses of the devices could not be read",
    "verify": "the devices could not be read in the target",
}
# The namespace of such an exchange: named where no single device is at fault.
IN_SOURCE, IN_TARGET = ("open", "snapshot", "down", "watch"), ("move", "replay", "carry", "verify")
# The target has lost its process or its path: the text of the failure says all.
ENDED = ("process", "target")


def _where(device: BatchDevice | None, step: str, plan: Plan) -> str:
    """The beginning of a text: the device at fault, or the namespace."""
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
        cause: A `Failed`, an EngineError, or the exception that interrupted it.
        left: The devices that could not be restored.
        plan: The batch.
        is_kept: Whether its record is kept for `recover`.
        may_miss_late: Whether an address that was added during the move may be lost.
    """
    failure = cause if isinstance(cause, Failed) else Failed(None, "interrupt", 0, "")
    if isinstance(cause, EngineError):
        failure = Failed(None, cause.step, cause.errno, cause.extack)
    device = failure.device
    text = _where(device, failure.step, plan)
    if failure.step == "time-out":
        text += "timed out before this device was finished"
    elif failure.step == "interrupt":
        text += f"interrupted by {failure.extack}" if failure.extack else f"interrupted ({type(cause).__name__})"
    elif failure.step in ENDED:
        text += failure.extack
    else:
        error = [os.strerror(failure.errno)] if failure.errno else []
        if error and failure.extack.endswith(error[0]):  # "FILE: ERROR"
            error = []
        words = WORDS[failure.step] if device else WORDS_OF_ALL.get(failure.step, WORDS[failure.step])
        if device and failure.step == "move" and failure.errno == errno.EEXIST:
            words = f'the name "{quote.shown(device.wanted)}" was taken in the target meanwhile'
        text += ": ".join([words, *error, *([failure.extack] if failure.extack else [])])
    location = _location(device, failure) if device else None
    if left:
        text += f"; NOT restored: {', '.join(quote.shown(ifname.encode(x.device)) for x in left)}"
    elif location == "gone":
        text += "; it is not here any more"
    else:
        text += "; all devices are restored"
    if is_kept:
        text += "; the record is kept, and `netdevns recover` tries again"
    if may_miss_late or failure.step == "watch":
        text += "; an address that was added during the move may be missing"
    return MoveFailed(
        text,
        errno=failure.errno,
        extack="" if failure.step in ("interrupt", *ENDED) else failure.extack,
        device=device.host_name if device else None,
        step=failure.step,
        netns=plan.target.where if plan.target else None,
        location=location,
        left=left,
    )


def _location(device: BatchDevice, failure: Failed) -> str:
    if device.touched:
        return device.location
    return "gone" if (failure.step, failure.errno) == ("snapshot", errno.ENODEV) else "source"

"""The exception with which a phase of a batch fails."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import TypeVar

from ..netlink.error import EngineError
from .batch_device import BatchDevice

T = TypeVar("T")


class Failed(Exception):
    """A phase failed, for one device or for all.

    Attributes:
        device: The device; None: all of them.
        step: As in `NetDevError.step`.
        errno: 0: a comparison failed, not a system call.
        extack: The kernel's text, or the engine's.
    """

    def __init__(self, device: BatchDevice | None, step: str, errno_: int, extack: str) -> None:
        super().__init__(step)
        self.device = device
        self.step = step
        self.errno = errno_
        self.extack = extack


def attempt(device: BatchDevice | None, step: str, call: Callable[..., T], *args: object) -> T:
    """Calls the engine; turns an EngineError into `Failed`, with the device and the step."""
    try:
        return call(*args)
    except EngineError as e:
        raise Failed(device, step, 0 if e.errno == errno.ESTALE else e.errno, e.extack) from None

"""Strikes at a step of a move: just before or after a device does it, whichever engine runs the phases.

    monkeypatch.setattr(*steps.before("move", lambda number: ...))

Steps of a batch are "snapshot", "move", "up_and_replay" and "verify"; the first and the last are one call for several
devices, and all strikes come before or after that. Others are those of one device: "find", "undo".
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

from netdevns.engine import Device, EngineError
from netdevns.engine.failed import Failed
from netdevns.engine.phases import Phases

CALLS = {"snapshot": "snapshot", "move": "move_next", "up_and_replay": "replay_next", "verify": "verify_next"}
Strike = Callable[[int], object]  # gets the number of the device, from 1, over all batches
Patch = tuple[type, str, Callable[..., Any]]


def before(step: str, strike: Strike) -> Patch:
    """What to set, on which class. An EngineError of the strike is the failure of that device."""
    return _patch(step, strike, lambda _: None)


def after(step: str, strike: Strike) -> Patch:
    """The same, once it has done it."""
    return _patch(step, lambda _: None, strike)


def _patch(step: str, first: Strike, then: Strike) -> Patch:
    owner, name = (Phases, CALLS[step]) if step in CALLS else (Device, step)
    real, done, by_batch = getattr(owner, name), 0, WeakKeyDictionary[Any, int]()

    def wrapped(self: Any, *arguments: Any) -> Any:
        nonlocal done
        devices = _next_devices(self, step, by_batch) if owner is Phases else [self]
        numbers = range(done + 1, done + 1 + len(devices))
        for number, device in zip(numbers, devices, strict=True):
            done = number
            _strike(first, number, device if owner is Phases else None, step)
        result = real(self, *arguments)
        for number in numbers:
            then(number)
        return result

    return owner, name, wrapped


def _next_devices(phases: Any, step: str, by_batch: WeakKeyDictionary[Any, int]) -> list[Any]:
    """Those that the call is about."""
    if step in ("snapshot", "verify"):
        return [*phases.everyone] if step == "snapshot" else [*phases.everyone[: len(phases.moves)]]
    order = phases.moves if step == "move" else phases.replays
    at = by_batch[phases] = by_batch.get(phases, -1) + 1
    return [order[at]]


def _strike(strike: Strike, number: int, device: Any, step: str) -> None:
    try:
        strike(number)
    except EngineError as e:
        if device is None:
            raise
        code = 0 if e.errno == errno.ESTALE else e.errno
        raise Failed(device, step.removeprefix("up_and_"), code, e.extack) from None

"""Whether namespaces are as before: each comparison of raw dumps is made here."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from . import rawdump
from .namespaces import Namespace

State = dict[str, Any]  # Namespace.dump(), or those of several by one dict
Shown = Callable[[State], State]


def whole(state: State) -> State:
    return state


def differences(look: Callable[[], State], *wanted: State, shown: Shown = whole, timeout_s: float = 20) -> list[str]:
    """The differences from the first wanted state; none as soon as `look` returns one of them.

    Not at once: the kernel adds the local route of an IPv6 address by a work item, after the address, and looks at
    carriers once a second.

    Args:
        look: Returns the present state.
        shown: Reduces a state to the part that is compared.
        timeout_s: Seconds until a difference is final; 0: looks once.
    """
    end = time.monotonic() + timeout_s
    states = [shown(each) for each in wanted]
    while True:
        now = shown(look())
        found = [rawdump.differences(each, now) for each in states]
        if not all(found):
            return []
        if time.monotonic() >= end:
            return found[0]
        time.sleep(0.01)


def assert_equal_soon(before: State, side: Namespace, *, shown: Shown = whole, timeout_s: float = 20) -> None:
    """All in a namespace is as in a dump of it."""
    changed = differences(side.dump, before, shown=shown, timeout_s=timeout_s)
    assert not changed, "\n".join([f"{side.name}:", *changed])


class Restored:
    """All in these namespaces is as before when the block ends."""

    def __init__(self, *sides: Namespace) -> None:
        self.before = [(side, side.dump()) for side in sides]

    def __enter__(self) -> Restored:
        return self

    def __exit__(self, kind: object, *exc: object) -> None:
        if kind is None:
            for side, before in self.before:
                assert_equal_soon(before, side)


class Untouched(Restored):
    """Nothing in these namespaces changes in the block, not even for a moment.

    What was done before it has come to its end in all of them: a veth's peer gets the event of its carrier up to a
    second later.
    """

    def __init__(self, *sides: Namespace) -> None:
        for side in sides:
            side.wait_until_quiet()
        super().__init__(*sides)
        self.monitors = [side.monitor() for side in sides]

    def __exit__(self, kind: object, *exc: object) -> None:
        seen = {side.name: monitor.seen() for (side, _), monitor in zip(self.before, self.monitors, strict=True)}
        for monitor in self.monitors:
            monitor.raw.close()
        if kind is None:
            assert not any(seen.values()), seen
        super().__exit__(kind, *exc)

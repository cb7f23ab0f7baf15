"""Whether all is as before after a move that failed."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from . import rawdump
from .namespaces import Namespace


class Restored:
    """All as before in the source, and nothing in the target, when the block ends."""

    def __init__(self, host: Namespace, target: Namespace) -> None:
        self.sides = host, target
        self.before = host.dump(), target.dump()

    def __enter__(self) -> Restored:
        return self

    def __exit__(self, kind: object, *exc: object) -> None:
        if kind is None:
            for side, before in zip(self.sides, self.before, strict=True):
                assert_equal_soon(before, side)


Shown = Callable[[dict[str, Any]], dict[str, Any]]


def whole(dump: dict[str, Any]) -> dict[str, Any]:
    return dump


def assert_equal_soon(before: dict[str, Any], side: Namespace, *, shown: Shown = whole) -> None:
    """All in it is as in a dump that was `shown` so.

    Not at once: the kernel adds the local route of an IPv6 address by a work item of its own, after the address, and
    looks at carriers once a second.
    """
    end = time.monotonic() + 5
    while changed := rawdump.differences(before, shown(side.dump())):
        assert time.monotonic() < end, "\n".join([f"{side.name}:", *changed])
        time.sleep(0.01)

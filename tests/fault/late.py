"""`netdevns ARGUMENT...`, in which no module can be imported any more from the first RTM_NEWLINK on.

In the environment: NETDEVNS_LATE=1 does that; otherwise everything is as ever, to compare with. NETDEVNS_FAIL: the
steps of a device that fail, such as "up_and_replay,undo"; "interrupt": the first is interrupted.
"""

from __future__ import annotations

import errno
import os
import sys
from typing import Any

from netdevns import engine
from netdevns.netlink import uapi, wire
from tests.support import steps

FAIL = os.environ.get("NETDEVNS_FAIL", "").split(",")


class Refusal:
    """A finder that finds no module."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        raise ImportError(f"{name} cannot be imported any more: {path} {target}")


def arm() -> None:
    if os.environ.get("NETDEVNS_LATE") and not isinstance(sys.meta_path[0], Refusal):
        sys.meta_path.insert(0, Refusal())


def watch_requests(name: str) -> None:
    """Arms when a socket sends a request that changes a link, or one that only tries the permission."""
    method = getattr(engine.Socket, name)

    def watched(self: Any, request: bytes, *args: Any, **kwargs: Any) -> Any:
        if any(message.type == uapi.RTM_NEWLINK for message in wire.messages(request)):
            arm()
        return method(self, request, *args, **kwargs)

    setattr(engine.Socket, name, watched)


def strike(name: str) -> None:
    """Arms where a device is changed, and fails that."""
    arm()
    if name in FAIL and "interrupt" in FAIL:
        FAIL.remove("interrupt")
        raise KeyboardInterrupt
    if name in FAIL:
        raise engine.EngineError(errno.EIO, "so that it fails", name)


def watch_undo(self: Any, *args: Any, real: Any = engine.Device.undo) -> None:
    """The same; a device does come back."""
    if args[-1] == engine.RETURN:
        arm()
    else:
        strike("undo")
    real(self, *args)


for each in ("query", "read", "command"):
    watch_requests(each)
for step in ("move", "up_and_replay"):
    setattr(*steps.before(step, lambda _, step=step: strike(step)))
engine.Device.undo = watch_undo

if sys.argv[1] == "hook":
    from netdevns.oci.hook_command import run

    sys.exit(run(sys.argv[2:]))
if sys.argv[1] != "library":  # whose program goes on
    from netdevns.cli.main import main

    sys.exit(main())

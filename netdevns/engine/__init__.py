"""Runs the phases of a batch and the steps of one device; decisions are made in `batch.transaction`.

Two engines send the same bytes: `native` is csrc/ through cffi; `reference` is pure Python, chosen by
NETDEVNS_ENGINE=reference in the environment when this package is loaded.
"""

import os
from typing import TYPE_CHECKING

from ..netlink.error import EngineError
from .numbers import PLACE_GONE, PLACE_SOURCE, PLACE_TARGET, PLACE_UNKNOWN, RESTORE, RETURN

NAME = os.environ.get("NETDEVNS_ENGINE") or "native"
if NAME == "native" or TYPE_CHECKING:
    from .native import Device, Socket, Watch, address_runs, foreign_routes, spans
elif NAME == "reference":
    from .reference import Device, Socket, Watch, address_runs, foreign_routes, spans
else:
    raise ImportError(f"netdevns: NETDEVNS_ENGINE={NAME}: no such engine; unset it, or set it to native or reference")

__all__ = [
    "NAME",
    "PLACE_GONE",
    "PLACE_SOURCE",
    "PLACE_TARGET",
    "PLACE_UNKNOWN",
    "RESTORE",
    "RETURN",
    "Device",
    "EngineError",
    "Socket",
    "Watch",
    "address_runs",
    "foreign_routes",
    "spans",
]

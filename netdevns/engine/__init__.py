"""The engine: five steps for one device, and one plain exchange. No policy: that is written once, in `transaction`.

`NETDEVNS_ENGINE=reference` will select the pure-Python one; today there is the native one, csrc/ through cffi.
"""

import os

from ._base import PLACE_GONE, PLACE_SOURCE, PLACE_TARGET, PLACE_UNKNOWN, RESTORE, RETURN, EngineError

if os.environ.get("NETDEVNS_ENGINE", "native") != "native":
    raise ImportError(
        f"netdevns: NETDEVNS_ENGINE={os.environ['NETDEVNS_ENGINE']}: no such engine; unset it, or set it to native"
    )

from .native import Device, Socket

__all__ = [
    "PLACE_GONE",
    "PLACE_SOURCE",
    "PLACE_TARGET",
    "PLACE_UNKNOWN",
    "RESTORE",
    "RETURN",
    "Device",
    "EngineError",
    "Socket",
]

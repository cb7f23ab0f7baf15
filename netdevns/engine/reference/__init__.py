"""The engine in pure Python: a readable specification of csrc/."""

from ...netlink.rtnl import Watch
from ...netlink.wire import spans
from .device import Device, address_runs
from .filter import foreign_routes
from .socket import Socket

__all__ = ["Device", "Socket", "Watch", "address_runs", "foreign_routes", "spans"]

"""The engine in pure Python: a readable specification of csrc/."""

from .device import Device, Socket, Watch, address_runs, foreign_routes, spans

__all__ = ["Device", "Socket", "Watch", "address_runs", "foreign_routes", "spans"]

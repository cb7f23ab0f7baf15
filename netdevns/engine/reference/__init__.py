"""The engine that is Python alone: the specification of csrc/, to be read."""

from .device import Device, Socket, Watch, address_runs, foreign_routes, spans

__all__ = ["Device", "Socket", "Watch", "address_runs", "foreign_routes", "spans"]

"""The native engine, csrc/ through cffi: only makes and copies buffers.

cffi releases the GIL around every call. Semantics and errors: csrc/netdevns-core.h, and csrc/binding.h for the phases.
"""

from .device import Device
from .messages import address_runs, foreign_routes, spans
from .socket import Socket, Watch

__all__ = ["Device", "Socket", "Watch", "address_runs", "foreign_routes", "spans"]

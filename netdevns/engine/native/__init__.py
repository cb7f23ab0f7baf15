"""The native engine: csrc/ through cffi. Thin: buffers are made and copied here, nothing is decided.

cffi releases the GIL around every call. Semantics and errors: csrc/netdevns-core.h, and csrc/binding.h for the phases.
"""

from .device import Device
from .messages import address_runs, foreign_routes, spans
from .socket import Socket, Watch

__all__ = ["Device", "Socket", "Watch", "address_runs", "foreign_routes", "spans"]

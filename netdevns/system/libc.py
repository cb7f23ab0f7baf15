"""Calls libc functions that Python 3.11 lacks, such as mount(2) and unshare(2), through ctypes."""

from __future__ import annotations

import ctypes
import os

_libc = ctypes.CDLL(None, use_errno=True)


def call(name: str, *arguments: bytes | int | None, path: str | None = None) -> None:
    """Calls a function of libc that returns a negative number when it fails. Raises OSError, with the path."""
    if getattr(_libc, name)(*arguments) < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}", path)

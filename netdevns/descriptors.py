"""Descriptors of files."""

import os


def close(fd: int) -> None:
    """Closes a descriptor. Linux does so whatever close(2) returns, so an error must neither end nor undo anything."""
    if fd >= 0:
        try:
            os.close(fd)
        except OSError:
            return

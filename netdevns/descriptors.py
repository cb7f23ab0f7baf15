"""Closes file descriptors without raising."""

import os


def close(fd: int) -> None:
    """Closes a descriptor and ignores errors: Linux has closed it also where close(2) fails."""
    if fd >= 0:
        try:
            os.close(fd)
        except OSError:
            return

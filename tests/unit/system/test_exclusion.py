"""A mover's locks in a directory that cannot be used."""

from __future__ import annotations

import errno
import os

import pytest

from netdevns.system import exclusion
from netdevns.system.interrupts import Patience


class Netns:
    """A stand-in for this process's namespace, with what a lock uses."""

    def __init__(self) -> None:
        self.fd = os.open("/proc/self/ns/net", os.O_RDONLY)


@pytest.mark.parametrize(
    ("code", "is_must", "is_refused"),
    [(errno.EACCES, False, False), (errno.EROFS, False, False), (errno.EACCES, True, True),
     (errno.EMFILE, False, True), (errno.ENFILE, False, True), (errno.EIO, False, True)],
)  # fmt: skip
def test_directory_cannot_be_used(monkeypatch: pytest.MonkeyPatch, code: int, is_must: bool, is_refused: bool) -> None:
    """P8: the library goes on without locks if it may not write there, but not if it has no descriptor left."""

    def fail(*_: object, **__: object) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(exclusion, "open_folder", fail)
    netns = Netns()
    try:
        with exclusion.Exclusion(Patience(0), is_must=is_must) as locks:
            if is_refused:
                with pytest.raises(OSError, match=os.strerror(code)):
                    locks.hold(netns, {7})  # type: ignore[arg-type]
            else:
                assert locks.hold(netns, {7})  # type: ignore[arg-type]
    finally:
        os.close(netns.fd)

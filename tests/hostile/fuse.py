"""A file system whose file can be opened, and which answers nothing after that, as a network's whose server died."""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

# linux/fuse.h, protocol 7.31: struct fuse_in_header, fuse_out_header, fuse_attr, and what is asked.
IN_HEADER = struct.Struct("=IIQQIIII")
OUT_HEADER = struct.Struct("=IiQ")
ATTR = struct.Struct("=QQQQQQIIIIIIIIII")
LOOKUP, GETATTR, OPEN, RELEASE, FLUSH, INIT = 1, 3, 14, 18, 25, 26
ROOT, FILE = 1, 2
BUFFER = 1 << 20


def _attr(node: int, mode: int) -> bytes:
    return ATTR.pack(node, 0, 0, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 512, 0)


def _answer(opcode: int, node: int) -> bytes | None:
    """What it says; None: nothing, for ever. Nothing may be remembered, so that each question is asked again."""
    if opcode == INIT:
        return struct.pack("=IIIIHHIIHHI", 7, 31, 0, 0, 12, 10, 4096, 1, 0, 0, 0) + bytes(28)
    if opcode == LOOKUP:
        return struct.pack("=QQQQII", FILE, 0, 0, 0, 0, 0) + _attr(FILE, 0o100644)
    if opcode == OPEN:
        return struct.pack("=QII", 7, 0, 0)
    if opcode in (FLUSH, RELEASE):  # or its holder could not end
        return b""
    if opcode == GETATTR and node == ROOT:
        return struct.pack("=QII", 0, 0, 0) + _attr(ROOT, 0o40755)
    return None


def _serve(device: int) -> None:
    while True:
        try:
            data = os.read(device, BUFFER)
        except OSError:  # unmounted
            return
        _, opcode, unique, node, *_ = IN_HEADER.unpack_from(data)
        body = _answer(opcode, node)
        if body is not None:
            os.write(device, OUT_HEADER.pack(OUT_HEADER.size + len(body), 0, unique) + body)


@contextlib.contextmanager
def hanging(folder: Path) -> Iterator[Path]:
    """Mounts it; yields the path of its file. OSError where this kernel has no FUSE."""
    libc = ctypes.CDLL(None, use_errno=True)
    device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    try:
        options = f"fd={device},rootmode=40000,user_id=0,group_id=0".encode()
        if libc.mount(b"hung", os.fsencode(folder), b"fuse", 0, options):
            raise OSError(ctypes.get_errno(), "mount")
        server = threading.Thread(target=_serve, args=(device,), daemon=True)
        server.start()
        try:
            yield folder / "file"
        finally:
            libc.umount2(os.fsencode(folder), 1 | 2)  # MNT_FORCE: waiting readers get an error; MNT_DETACH
            server.join(10)
    finally:
        os.close(device)

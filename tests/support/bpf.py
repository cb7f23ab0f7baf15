"""An XDP program that passes everything, and attaching it. Layouts: linux/bpf.h, linux/if_link.h."""

from __future__ import annotations

import ctypes
import errno
import os
import struct

import pytest

from . import rawdump
from .namespaces import Namespace

IFLA_XDP, XDP_FLAGS_SKB_MODE = 43, 2


def program() -> int:
    """Its descriptor: BPF_PROG_LOAD."""
    number = {"x86_64": 321, "aarch64": 280}[os.uname().machine]
    code = ctypes.create_string_buffer(struct.pack("=BBhiBBhi", 0xB7, 0, 0, 2, 0x95, 0, 0, 0))  # r0 = XDP_PASS; exit
    licence = ctypes.create_string_buffer(b"Apache-2.0")
    words = struct.pack("=IIQQ", 6, 2, ctypes.addressof(code), ctypes.addressof(licence))  # BPF_PROG_TYPE_XDP
    libc = ctypes.CDLL(None, use_errno=True)
    fd = int(libc.syscall(number, 5, ctypes.create_string_buffer(words, 128), 128))
    if fd < 0 and ctypes.get_errno() == errno.ENOSYS:
        pytest.skip("this kernel has no bpf(2)")
    assert fd >= 0, os.strerror(ctypes.get_errno())
    return fd


def attach_xdp(side: Namespace, device: str, program_fd: int | None = None) -> None:
    """Attaches a new program in generic mode, in place of another one; -1: detaches."""
    fd = program() if program_fd is None else program_fd
    nested = rawdump.attribute(1, struct.pack("=i", fd)) + rawdump.attribute(3, struct.pack("=I", XDP_FLAGS_SKB_MODE))
    with side.socket() as socket:
        ifindex = rawdump.links(socket)[device].ifindex
        assert socket.change_link(ifindex, rawdump.attribute(IFLA_XDP | 0x8000, nested)) == 0
    if fd >= 0:
        os.close(fd)

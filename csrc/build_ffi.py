"""The cffi declaration of the C core, cut out of netdevns.h so that there is no second copy to keep in step."""

import re
from pathlib import Path

import cffi

HERE = Path(__file__).resolve().parent
SOURCES = ("message", "socket", "locate", "replay", "compare", "device")


def declarations() -> str:
    """What lies between the two marks in netdevns.h, without comments."""
    header = (HERE / "netdevns.h").read_text(encoding="utf-8")
    cut = re.search(r"/\* cffi: begin .*?\*/(.*)/\* cffi: end \*/", header, re.DOTALL)
    if cut is None:
        raise SystemExit("csrc/netdevns.h has lost its cffi marks")
    return re.sub(r"/\*.*?\*/", "", cut.group(1), flags=re.DOTALL)


ffi = cffi.FFI()
ffi.cdef(declarations())
ffi.set_source(
    "netdevns._core",
    '#include "netdevns.h"',
    sources=[f"csrc/{name}.c" for name in SOURCES],
    depends=["csrc/netdevns.h", "csrc/internal.h"],
    include_dirs=["csrc"],
    extra_compile_args=["-std=c11", "-O2", "-Wall", "-Wextra"],
)

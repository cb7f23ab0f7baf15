"""The cffi declarations of the C core, cut out of its headers so that there is no second copy to keep in step."""

import os
import re
from pathlib import Path

import cffi

HERE = Path(__file__).resolve().parent
HEADERS = ("netdevns-core.h", "binding.h")
SOURCES = ("message", "filter", "socket", "exchange", "notify", "find", "replay", "compare", "load", "device")

# NETDEVNS_SANITIZE=address,undefined: a core for tests (tools/sanitize). Python must be started with the sanitizer's
# library in LD_PRELOAD then. Undefined behaviour traps: UBSan's own library, loaded second, loses its reports.
SANITIZE = os.environ.get("NETDEVNS_SANITIZE")
COMPILE = ["-std=c11", "-O2", "-Wall", "-Wextra"]
LINK: list[str] = []
if SANITIZE:
    LINK += [f"-fsanitize={SANITIZE}"]
    COMPILE += ["-O1", "-g", *LINK, "-fsanitize-undefined-trap-on-error", "-fno-omit-frame-pointer"]


def declarations(name: str) -> str:
    """The text between the two marks of a header, without comments."""
    header = (HERE / name).read_text(encoding="utf-8")
    cut = re.search(r"/\* cffi: begin .*?\*/(.*)/\* cffi: end \*/", header, re.DOTALL)
    if cut is None:
        raise SystemExit(f"csrc/{name} has lost its cffi marks")
    return re.sub(r"/\*.*?\*/", "", cut.group(1), flags=re.DOTALL)


ffi = cffi.FFI()
for header in HEADERS:
    ffi.cdef(declarations(header))
ffi.set_source(
    "netdevns._core",
    "".join(f'#include "{header}"\n' for header in HEADERS),
    sources=[f"csrc/{name}.c" for name in SOURCES],
    depends=[f"csrc/{header}" for header in (*HEADERS, "internal.h")],
    include_dirs=["csrc"],
    extra_compile_args=COMPILE,
    extra_link_args=LINK,
)

"""The cffi declarations of the C core, cut out of its headers so that there is no second copy to keep in step."""

import os
import re
from pathlib import Path

import cffi

HERE = Path(__file__).resolve().parent
HEADERS = ("netdevns-core.h", "binding.h")
SOURCES = sorted(path.stem for path in HERE.glob("*.c") if path.stem not in ("example", "_core"))
# Of a batch and its devices, what Python reads and writes; the compiler completes it.
PARTS = """
struct nd_memory { unsigned char *data; size_t used; ...; };
struct nd_member { struct nd_dev *dev; uint32_t depth; int touched; struct nd_memory addresses, arrived; ...; };
struct netdevns_batch { size_t moved, replayed, verified; ...; };
"""

# NETDEVNS_SANITIZE=address,undefined: a core for tests (tools/sanitize). Python must be started with the sanitizer's
# library in LD_PRELOAD then. Undefined behaviour traps: UBSan's own library, loaded second, loses its reports.
SANITIZE = os.environ.get("NETDEVNS_SANITIZE")
COMPILE = ["-std=c11", "-O2", "-Wall", "-Wextra", "-DNETDEVNS_LOCAL", "-fvisibility=hidden"]
# Unused functions are not linked in.
COMPILE += ["-ffunction-sections", "-fdata-sections"]
LINK = ["-Wl,--gc-sections"]
if SANITIZE:
    LINK += [f"-fsanitize={SANITIZE}"]
    COMPILE += ["-O1", "-g", f"-fsanitize={SANITIZE}", "-fsanitize-undefined-trap-on-error", "-fno-omit-frame-pointer"]


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
ffi.cdef(PARTS)
ffi.set_source(
    "netdevns._core",
    '#include "batch.h"\n',
    sources=[f"csrc/{name}.c" for name in SOURCES],
    depends=[f"csrc/{path.name}" for path in sorted(HERE.glob("*.h"))],
    include_dirs=["csrc"],
    extra_compile_args=COMPILE,
    extra_link_args=LINK,
)

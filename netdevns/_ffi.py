"""The only importer of the compiled core."""

try:
    from ._core import ffi, lib
except ImportError as e:
    raise ImportError(
        "netdevns: the compiled core is missing; build it with `pip install -e .` (needs gcc and the Python headers)"
    ) from e

__all__ = ["ffi", "lib"]

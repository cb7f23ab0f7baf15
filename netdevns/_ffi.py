"""The only importer of the compiled core."""

try:
    from ._core import ffi, lib
except ImportError as e:
    # The cause matters: the core may be there, and cffi's run-time (_cffi_backend) out of this interpreter's sight.
    raise ImportError(
        f"netdevns: the compiled core cannot be loaded: {e}; "
        "install netdevns for this interpreter: `pip install .` (needs gcc and the Python headers)"
    ) from e

__all__ = ["ffi", "lib"]

"""The only importer of the compiled core."""

try:
    from ._core import ffi, lib
except ImportError as e:
    # The cause matters: the core may be there, and cffi's run-time (_cffi_backend) out of this interpreter's sight.
    advice = "install netdevns for this interpreter: `pip install .` (needs gcc and the Python headers)"
    if "subinterpreter" in str(e):
        advice = (
            "in a sub-interpreter with a GIL of its own it never can: use one that shares the main interpreter's, "
            "a thread, or, from Python 3.13 on, NETDEVNS_ENGINE=reference"
        )
    raise ImportError(f"netdevns: the compiled core cannot be loaded: {e}; {advice}") from e

__all__ = ["ffi", "lib"]

"""Imports the compiled core, and explains why it cannot be loaded; no other module imports it."""

try:
    from ._core import ffi, lib
except ImportError as e:
    # The cause matters: the core may exist, but not cffi's run-time (_cffi_backend) for this interpreter.
    advice = "install netdevns for this interpreter: `pip install .` (needs gcc and the Python headers)"
    if "subinterpreter" in str(e):
        advice = (
            "a sub-interpreter with its own GIL cannot load it: use one that shares the main interpreter's GIL, "
            "a thread, or, from Python 3.13 on, NETDEVNS_ENGINE=reference"
        )
    raise ImportError(f"netdevns: the compiled core cannot be loaded: {e}; {advice}") from e

__all__ = ["ffi", "lib"]

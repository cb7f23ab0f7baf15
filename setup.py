"""Build: one abi3 extension for the C core (csrc/build_ffi.py); everything else is in pyproject.toml."""

import sysconfig

from setuptools import setup

# A free-threaded Python has no such stable ABI: what is built with it is for its version alone.
LIMITED = not sysconfig.get_config_var("Py_GIL_DISABLED")

setup(
    cffi_modules=["csrc/build_ffi.py:ffi"],
    options={"bdist_wheel": {"py_limited_api": "cp311"}} if LIMITED else {},
)

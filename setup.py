"""Build: one abi3 extension for the C core (csrc/build_ffi.py), and the hook in C; all else is in pyproject.toml."""

import os
import subprocess
import sysconfig

from setuptools import setup  # first: distutils is its own from then on

from distutils.command.build_scripts import build_scripts  # isort: skip

HOOK = "netdevns-hook"
# A free-threaded Python has no such stable ABI: what is built with it is for its version alone.
LIMITED = not sysconfig.get_config_var("Py_GIL_DISABLED")


class BuildHook(build_scripts):
    """HOOK is a program, not a script that is copied. Where it cannot be built, `netdevns hook` does its work."""

    def get_source_files(self) -> list[str]:
        return []  # MANIFEST.in has them

    def run(self) -> None:
        self.mkpath(self.build_dir)
        hook = os.path.abspath(os.path.join(self.build_dir, HOOK))
        if os.path.exists(hook):  # of an earlier build
            os.unlink(hook)
        command = ["sh", "csrc/hook/build", hook]
        done = subprocess.run(command, text=True, stdout=subprocess.PIPE, check=False)
        if done.returncode:
            self.warn(f"{HOOK} could not be built, as said above; hooks are started with Python: netdevns hook")
        else:
            print(f"{HOOK}: built by {done.stdout.strip()}")


setup(
    cffi_modules=["csrc/build_ffi.py:ffi"],
    cmdclass={"build_scripts": BuildHook},
    scripts=[HOOK],
    options={"bdist_wheel": {"py_limited_api": "cp311"}} if LIMITED else {},
)

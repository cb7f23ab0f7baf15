"""Fetches QEMU and a Debian kernel with its modules, of trixie, into .cache/sriov (150 MB, unpacked 330 MB).

Nothing is installed. QEMU has the model of an SR-IOV NIC, igb, from 8.0 on; Debian 12 has 7.2.
"""

import pathlib
import platform
import shutil
import subprocess
import sys

import debian

TOP = pathlib.Path(__file__).resolve().parent.parent
CACHE = TOP / ".cache" / "sriov"
PACKAGES = CACHE / "packages"
QEMU = "usr/bin/qemu-system-x86_64"
SUITE = "trixie"

# The guest's kernel runs it: with its own libraries, and with nothing of this machine's modprobe.d.
MODPROBE = """#!/bin/sh
tree=${0%/*}
exec "$tree/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2" --library-path "$tree/usr/lib/x86_64-linux-gnu" \\
	"$tree/usr/sbin/modprobe" -C /dev/null -d "$tree" "$@"
"""


def fetch():
    """Makes PACKAGES."""
    print(f"fetching QEMU and a kernel of Debian {SUITE} (150 MB)", file=sys.stderr, flush=True)
    debian.fetch_programs(CACHE, [SUITE], ["qemu-system-x86", "linux-image-amd64", "kmod"], [QEMU], finish=finish)


def finish(tree):
    """What a guest needs besides the packages."""
    (tree / "modprobe").write_text(MODPROBE)
    (tree / "modprobe").chmod(0o755)
    index_modules(tree)


def release(tree):
    """The release of the unpacked kernel."""
    (modules,) = (tree / "usr/lib/modules").iterdir()
    return modules.name


def index_modules(tree):
    """Makes modules.dep and the like, which a package makes when it is installed."""
    (tree / "lib").symlink_to("usr/lib")  # where kmod looks
    libraries = tree / debian.LIBRARIES
    depmod = [libraries / "ld-linux-x86-64.so.2", "--library-path", libraries, tree / "usr/sbin/depmod"]
    subprocess.run([*depmod, "-b", tree, release(tree)], check=True)


def fetch_missing():
    """Fetches what is not there, or was made for a checkout that has moved."""
    if debian.all_start(PACKAGES / QEMU):
        return
    if platform.machine() != "x86_64":
        raise debian.Fail(f"QEMU and the kernel are fetched for x86_64 only, and this machine is {platform.machine()}")
    shutil.rmtree(PACKAGES, ignore_errors=True)
    fetch()

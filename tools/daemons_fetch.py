"""Fetches udev, systemd-networkd, NetworkManager and dnsmasq of Debian trixie into .cache/daemons.

Nothing is installed: the unpacked packages are the lower layer of the root file system in which tools/daemons and
tests/runtimes/test_daemons.py start them.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from pathlib import Path

import debian

CACHE = Path(__file__).resolve().parent.parent / ".cache" / "daemons"
TREE = CACHE / "packages"
SUITE = "trixie"
PACKAGES = ["udev", "systemd", "network-manager", "dbus", "dnsmasq-base", "coreutils", "dash", "sed"]


def main() -> int:
    """Makes TREE where it is not there. A tree that cannot be made is reported: tests skip, or fail, without it."""
    if (TREE / "usr/sbin/NetworkManager").exists():
        return 0
    if platform.machine() != "x86_64":
        print("udev and other daemons are left out: they are fetched for x86_64 only", file=sys.stderr)
        return 0
    print(f"fetching udev, systemd-networkd and NetworkManager of Debian {SUITE} (36 MB)", file=sys.stderr, flush=True)
    shutil.rmtree(TREE, ignore_errors=True)
    try:
        debian.fetch_programs(CACHE, [SUITE], PACKAGES, [], finish=finish)
    except (debian.Fail, OSError, subprocess.CalledProcessError) as e:
        print(f"udev and other daemons are left out, they could not be fetched: {e}", file=sys.stderr)
    return 0


def finish(tree: Path) -> None:
    """What a root file system has besides packages."""
    for name in ("bin", "sbin", "lib", "lib64"):
        if not (tree / name).is_symlink():  # some of them are of a package
            (tree / name).symlink_to(f"usr/{name}")
    for name in ("proc", "sys", "dev", "run", "tmp", "root"):
        (tree / name).mkdir(exist_ok=True)


if __name__ == "__main__":
    sys.exit(main())

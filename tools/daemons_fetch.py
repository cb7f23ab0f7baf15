"""Fetches udev, systemd-networkd, NetworkManager and dnsmasq of Debian trixie into .cache/daemons.

Nothing is installed: the unpacked packages are the lower layer of the root file system in which tools/daemons and
tests/runtimes/test_daemons.py start them.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import debian

CACHE = Path(__file__).resolve().parent.parent / ".cache" / "daemons"
TREE = CACHE / "packages"
SUITE = "trixie"
PACKAGES = ["udev", "systemd", "network-manager", "dbus", "dnsmasq-base", "coreutils", "dash", "sed"]


def fetch_missing() -> None:
    """Makes TREE where it is not there. Raises debian.Fail."""
    if (TREE / "usr/sbin/NetworkManager").exists():
        return
    print(f"fetching udev, systemd-networkd and NetworkManager of Debian {SUITE}", file=sys.stderr, flush=True)
    shutil.rmtree(TREE, ignore_errors=True)
    debian.fetch_programs(CACHE, [SUITE], PACKAGES, [], finish=finish)


def finish(tree: Path) -> None:
    """What a root file system has besides packages."""
    for name in ("bin", "sbin", "lib", "lib64"):
        if not (tree / name).is_symlink():  # some of them are of a package
            (tree / name).symlink_to(f"usr/{name}")
    for name in ("proc", "sys", "dev", "run", "tmp", "root"):
        (tree / name).mkdir(exist_ok=True)


if __name__ == "__main__":
    try:
        fetch_missing()
    except (debian.Fail, OSError) as e:
        sys.exit(f"tools/daemons: {e}")

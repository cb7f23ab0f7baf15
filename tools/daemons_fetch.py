"""Fetches udev, systemd-networkd, NetworkManager and dnsmasq of Debian trixie into .cache/daemons.

Nothing is installed: the unpacked packages are the lower layer of the root file system in which tools/daemons and
tests/runtimes/test_daemons.py start them.
"""

from __future__ import annotations

from pathlib import Path

import debian

CACHE = Path(__file__).resolve().parent.parent / ".cache" / "daemons"
TREE = CACHE / "packages"
SUITE = "trixie"
PACKAGES = ["udev", "systemd", "network-manager", "dbus", "dnsmasq-base", "coreutils", "dash", "sed"]


def main() -> None:
    if not (TREE / "usr/sbin/NetworkManager").exists():
        what = f"udev, systemd-networkd and NetworkManager of Debian {SUITE}"
        debian.fetch_or_leave_out(what, 36, CACHE, [SUITE], PACKAGES, [], finish=debian.make_root)


if __name__ == "__main__":
    main()

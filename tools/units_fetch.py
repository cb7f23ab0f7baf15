"""Fetches systemd, udev, Python and crun of Debian trixie into .cache/units (30 MB, unpacked 144 MB).

Nothing is installed: the unpacked packages are the root file system of tools/units' guest, and tests run their
`systemd-analyze verify` and `udevadm verify` in it.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import debian

CACHE = Path(__file__).resolve().parent.parent / ".cache" / "units"
TREE = CACHE / "packages"
SUITE = "trixie"
PACKAGES = ["systemd", "udev", "python3", "python3-cffi-backend", "iproute2", "kmod", "crun", "busybox-static"]
PACKAGES += ["coreutils", "dash", "mount", "util-linux"]


def fetch_missing() -> None:
    """Makes TREE where it is not there. Raises debian.Fail."""
    if (TREE / "usr/bin/udevadm").exists():
        return
    print(f"fetching systemd, udev, Python and crun of Debian {SUITE} (30 MB)", file=sys.stderr, flush=True)
    shutil.rmtree(TREE, ignore_errors=True)
    debian.fetch_programs(CACHE, [SUITE], PACKAGES, [], finish=debian.make_root)


if __name__ == "__main__":
    try:
        fetch_missing()
    except debian.Fail as e:
        sys.exit(f"tools/units: {e}")

"""Fetches runc and containerd of Debian sid, with their libraries, into .cache/runtimes (45 MB); nothing is installed.

This runc is the newest without `linux.netDevices` of its own. Those that have it: tools/losses_fetch.py.
"""

import pathlib
import subprocess

import debian

CACHE = pathlib.Path(__file__).resolve().parent.parent / ".cache" / "runtimes"
PROGRAMS = ["usr/sbin/runc", "usr/bin/containerd", "usr/bin/ctr", "usr/bin/containerd-shim-runc-v2"]


def works():
    try:
        return subprocess.run([CACHE / "packages" / PROGRAMS[0], "--version"], capture_output=True).returncode == 0
    except OSError:
        return False


def main():
    if not works():
        debian.fetch_or_leave_out(
            "runc and containerd of Debian sid", 45, CACHE, ["sid"], ["runc", "containerd"], PROGRAMS
        )


if __name__ == "__main__":
    main()

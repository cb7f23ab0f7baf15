"""Fetches runc and containerd of Debian sid, with their libraries, into .cache/runtimes (45 MB); nothing is installed.

This runc is the newest without `linux.netDevices` of its own. Those that have it: tools/losses_fetch.py.
"""

import pathlib

import debian

CACHE = pathlib.Path(__file__).resolve().parent.parent / ".cache" / "runtimes"
PROGRAMS = ["usr/sbin/runc", "usr/bin/containerd", "usr/bin/ctr", "usr/bin/containerd-shim-runc-v2"]


def main():
    if not debian.all_start(CACHE / "packages" / PROGRAMS[0]):
        debian.fetch_or_leave_out(
            "runc and containerd of Debian sid", 45, CACHE, ["sid"], ["runc", "containerd"], PROGRAMS
        )


if __name__ == "__main__":
    main()

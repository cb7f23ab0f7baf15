"""Fetches runc and containerd of Debian sid, with their libraries, into .cache/runtimes (45 MB); nothing is installed.

This runc is the newest without `linux.netDevices` of its own. Those that have it: tools/losses_fetch.py.
"""

import pathlib
import platform
import shutil
import subprocess
import sys

import debian

CACHE = pathlib.Path(__file__).resolve().parent.parent / ".cache" / "runtimes"
PROGRAMS = ["usr/sbin/runc", "usr/bin/containerd", "usr/bin/ctr", "usr/bin/containerd-shim-runc-v2"]


def works():
    try:
        return subprocess.run([CACHE / "packages" / PROGRAMS[0], "--version"], capture_output=True).returncode == 0
    except OSError:
        return False


def main():
    if works():
        return 0
    shutil.rmtree(CACHE / "packages", ignore_errors=True)  # e.g. of a checkout that has moved
    if platform.machine() != "x86_64":
        print("sid's runc and containerd are left out: they are fetched for x86_64 only", file=sys.stderr)
        return 0
    print("fetching runc and containerd of Debian sid (45 MB)", file=sys.stderr, flush=True)
    try:
        debian.fetch_programs(CACHE, ["sid"], ["runc", "containerd"], PROGRAMS)
    except (debian.Fail, OSError, subprocess.CalledProcessError) as e:
        print(f"sid's runc and containerd are left out, they could not be fetched: {e}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())

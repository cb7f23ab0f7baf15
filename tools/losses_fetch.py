"""Fetches the newest runc and crun that Debian has, with their libraries, into .cache/losses (45 MB).

Nothing is installed. Those of the stable releases have no `linux.netDevices` of their own: crun has it from 1.22 on,
runc from 1.4.
"""

import pathlib
import platform
import shutil
import subprocess
import sys

import debian

TOP = pathlib.Path(__file__).resolve().parent.parent
CACHE = TOP / ".cache" / "losses"
RUNTIMES = {"runc": "usr/sbin/runc", "crun": "usr/bin/crun"}


def fetch() -> None:
    """Makes CACHE/packages, where both programs run."""
    print("fetching runc and crun of Debian experimental and sid (10 MB)", file=sys.stderr, flush=True)
    options = ["--target-release=experimental"]
    debian.fetch_programs(CACHE, ["sid", "experimental"], RUNTIMES, RUNTIMES.values(), options)


def works(program: str) -> bool:
    try:
        return subprocess.run([CACHE / "packages" / program, "--version"], capture_output=True).returncode == 0
    except OSError:
        return False


def main() -> int:
    if all(works(program) for program in RUNTIMES.values()):
        return 0
    shutil.rmtree(CACHE / "packages", ignore_errors=True)  # e.g. of a checkout that has moved
    if platform.machine() != "x86_64":
        print("runc and crun are left out: their packages are fetched for x86_64 only", file=sys.stderr)
        return 0
    try:
        fetch()
    except (debian.Fail, OSError, subprocess.CalledProcessError) as e:
        print(f"runc and crun are left out, they could not be fetched: {e}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())

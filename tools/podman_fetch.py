"""Fetches podman and netavark of Debian trixie, sid and experimental, with crun and conmon, into .cache/podman.

Nothing is installed; 170 MB a suite. Debian 12's podman (4.3.1) has no netavark plugins.
"""

import pathlib
import platform
import shutil
import subprocess
import sys

import debian

CACHE = pathlib.Path(__file__).resolve().parent.parent / ".cache" / "podman"
# A suite -> the suites that its packages may come from, and options of apt-get.
SUITES = {
    "trixie": (["trixie"], []),
    "sid": (["sid"], []),
    "experimental": (["sid", "experimental"], ["--target-release=experimental"]),
}
PROGRAMS = {
    "podman": "usr/bin/podman",
    "netavark": "usr/lib/podman/netavark",
    "crun": "usr/bin/crun",
    "conmon": "usr/bin/conmon",
}


def works(suite: str) -> bool:
    """Whether the programs of a suite are there and start."""
    try:
        starts = [[CACHE / suite / "packages" / path, "--version"] for path in PROGRAMS.values()]
        return not any(subprocess.run(argv, capture_output=True).returncode for argv in starts)
    except OSError:
        return False


def main() -> int:
    missing = [suite for suite in SUITES if not works(suite)]
    if missing and platform.machine() != "x86_64":
        print("newer versions of podman are left out: they are fetched for x86_64 only", file=sys.stderr)
        return 0
    for suite in missing:
        suites, options = SUITES[suite]
        shutil.rmtree(CACHE / suite / "packages", ignore_errors=True)  # e.g. of a checkout that has moved
        print(f"fetching podman and netavark of Debian {suite} (45 MB)", file=sys.stderr, flush=True)
        try:
            debian.fetch_programs(CACHE / suite, suites, [*PROGRAMS], [*PROGRAMS.values()], options)
        except (debian.Fail, OSError, subprocess.CalledProcessError) as e:
            print(f"podman of {suite} is left out, it could not be fetched: {e}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())

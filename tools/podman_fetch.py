"""Fetches podman and netavark of Debian trixie, sid and experimental, with crun and conmon, into .cache/podman.

Nothing is installed; 170 MB a suite. Debian 12's podman (4.3.1) has no netavark plugins.
"""

import pathlib

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


def main() -> None:
    for suite, (suites, options) in SUITES.items():
        cache = CACHE / suite
        if not debian.all_start(*(cache / "packages" / path for path in PROGRAMS.values())):
            what = f"podman and netavark of Debian {suite}"
            debian.fetch_or_leave_out(what, 45, cache, suites, [*PROGRAMS], [*PROGRAMS.values()], options)


if __name__ == "__main__":
    main()

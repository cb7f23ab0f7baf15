"""Fetches the newest runc and crun that Debian has, with their libraries, into .cache/losses (45 MB).

Nothing is installed. Those of the stable releases have no `linux.netDevices` of their own: crun has it from 1.22 on,
runc from 1.4.
"""

import pathlib

import debian

CACHE = pathlib.Path(__file__).resolve().parent.parent / ".cache" / "losses"
SUITES = ("sid", "experimental")
RUNTIMES = {"runc": "usr/sbin/runc", "crun": "usr/bin/crun"}


def main() -> None:
    if not debian.all_start(*(CACHE / "packages" / path for path in RUNTIMES.values())):
        what, options = "runc and crun of Debian experimental and sid", ["--target-release=experimental"]
        debian.fetch_or_leave_out(what, 10, CACHE, SUITES, [*RUNTIMES], [*RUNTIMES.values()], options)


if __name__ == "__main__":
    main()

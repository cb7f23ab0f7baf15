"""Builds an sdist and one abi3 wheel, judges them, and tries them where nothing of this checkout is.

Into dist/. Tried in a clean virtual environment of each Python of this machine, on musl, and in clean Debians without a
compiler (tools/in-chroot); there the sdist is compiled, too. Each try moves devices, in a sandbox, with both engines.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from tools import debian, wheels, wheels_musl

SUITES = ("bookworm", "trixie", "sid")


def try_on_musl(sdist: Path) -> None:
    """Builds, judges and tries the wheel for musl."""
    with tempfile.TemporaryDirectory() as scratch:
        wheel = wheels_musl.build(sdist, wheels.DIST, Path(scratch))
        wheels_musl.judge(wheel)
        print(f"{wheel.relative_to(wheels.TOP)}: {wheel.stat().st_size / 1000:.0f} kB", flush=True)
        print(f"wheel, musl: {wheels_musl.attempt(wheel, Path(scratch))}", flush=True)


def everything(suites: Iterable[str], *, quick: bool) -> None:
    sdist, wheel = wheels.build(wheels.DIST)
    wheels.judge(sdist, wheel)
    for file in (sdist, wheel):
        print(f"{file.relative_to(wheels.TOP)}: {file.stat().st_size / 1000:.0f} kB", flush=True)
    for python in wheels.pythons():
        print(f"wheel, clean environment: {wheels.try_in_venv(python, wheel, compiles=False)}", flush=True)
    print(f"sdist, compiled: {wheels.try_in_venv(sys.executable, sdist, compiles=True)}", flush=True)
    if not quick:
        try_on_musl(sdist)
    for suite in suites:
        wheels.try_in_debian(suite, wheels.DIST)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("tools/wheels", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="without other systems: musl and Debian")
    parser.add_argument(
        "suites", nargs="*", metavar="SUITE", help=f"a Debian (default: {', '.join(SUITES)}); needs root"
    )
    asked = parser.parse_args(arguments)
    try:
        everything([] if asked.quick else asked.suites or SUITES, quick=asked.quick)
    except (wheels.Fail, debian.Fail) as e:
        print(f"tools/wheels: FAILED: {e}", file=sys.stderr)
        return 1
    print("tools/wheels: all is well")
    return 0


if __name__ == "__main__":
    sys.exit(main())

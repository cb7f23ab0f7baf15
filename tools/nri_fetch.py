"""Fetches containerd, runc and CNI plugins of Debian sid and trixie, and the protocol of CRI, into .cache/nri (430 MB).

Nothing is installed.
"""

import pathlib
import platform
import shutil
import subprocess
import sys

import debian

CACHE = pathlib.Path(__file__).resolve().parent.parent / ".cache" / "nri"
SUITES = ("sid", "trixie")
PACKAGES = ["containerd", "runc", "containernetworking-plugins"]
PROGRAMS = ["usr/sbin/runc", "usr/bin/containerd", "usr/bin/ctr", "usr/bin/containerd-shim-runc-v2"]
PROGRAMS += [f"usr/lib/cni/{name}" for name in ("ptp", "host-local", "loopback")]
PROTOCOL = "golang-k8s-cri-api-dev"  # of sid; without the Go libraries that it depends on


def works(suite: str) -> bool:
    """Whether the programs of a suite are there and start."""
    try:
        words = [CACHE / suite / "packages/usr/bin/containerd", "--version"]
        return not subprocess.run(words, capture_output=True).returncode
    except OSError:
        return False


def unpack_protocol(tree: pathlib.Path) -> None:
    work = tree.parent
    debian.apt(work, "download", PROTOCOL)
    for package in sorted(work.glob("*.deb")):
        subprocess.run(["dpkg-deb", "-x", package, tree], check=True)


def main() -> int:
    missing = [suite for suite in SUITES if not works(suite)]
    if missing and platform.machine() != "x86_64":
        print("newer versions of containerd are left out: they are fetched for x86_64 only", file=sys.stderr)
        return 0
    for suite in missing:
        shutil.rmtree(CACHE / suite / "packages", ignore_errors=True)  # e.g. of a checkout that has moved
        print(f"fetching containerd, runc and CNI plugins of Debian {suite} (60 MB)", file=sys.stderr, flush=True)
        try:
            finish = unpack_protocol if suite == "sid" else None
            debian.fetch_programs(CACHE / suite, [suite], PACKAGES, PROGRAMS, finish=finish)
        except (debian.Fail, OSError, subprocess.CalledProcessError) as e:
            print(f"containerd of {suite} is left out, it could not be fetched: {e}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())

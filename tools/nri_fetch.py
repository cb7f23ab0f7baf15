"""Fetches containerd, runc and CNI plugins of Debian sid, and the protocols of CRI and NRI, into .cache/nri (220 MB).

Nothing is installed.
"""

import pathlib
import platform
import shutil
import subprocess
import sys

import debian

CACHE = pathlib.Path(__file__).resolve().parent.parent / ".cache" / "nri"
PACKAGES = ["containerd", "runc", "containernetworking-plugins"]
PROGRAMS = ["usr/sbin/runc", "usr/bin/containerd", "usr/bin/ctr", "usr/bin/containerd-shim-runc-v2"]
PROGRAMS += [f"usr/lib/cni/{name}" for name in ("ptp", "host-local", "loopback")]
PROTOCOLS = ["golang-github-containerd-nri-dev", "golang-k8s-cri-api-dev"]  # without the Go libraries they depend on


def works() -> bool:
    """Whether the programs are there and start."""
    try:
        return not subprocess.run([CACHE / "packages/usr/bin/containerd", "--version"], capture_output=True).returncode
    except OSError:
        return False


def unpack_protocols(tree: pathlib.Path) -> None:
    work = tree.parent
    debian.apt(work, "download", *PROTOCOLS)
    for package in sorted(work.glob("*.deb")):
        subprocess.run(["dpkg-deb", "-x", package, tree], check=True)


def main() -> int:
    if works():
        return 0
    shutil.rmtree(CACHE / "packages", ignore_errors=True)  # e.g. of a checkout that has moved
    if platform.machine() != "x86_64":
        print("sid's containerd is left out: it is fetched for x86_64 only", file=sys.stderr)
        return 0
    print("fetching containerd, runc and CNI plugins of Debian sid (60 MB)", file=sys.stderr, flush=True)
    try:
        debian.fetch_programs(CACHE, ["sid"], PACKAGES, PROGRAMS, finish=unpack_protocols)
    except (debian.Fail, OSError, subprocess.CalledProcessError) as e:
        print(f"sid's containerd is left out, it could not be fetched: {e}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Fetches containerd, runc and CNI plugins of Debian sid and trixie, and the protocol of CRI, into .cache/nri (430 MB).

Nothing is installed.
"""

import pathlib
import subprocess

import debian

CACHE = pathlib.Path(__file__).resolve().parent.parent / ".cache" / "nri"
SUITES = ("sid", "trixie")
PACKAGES = ["containerd", "runc", "containernetworking-plugins"]
PROGRAMS = ["usr/sbin/runc", "usr/bin/containerd", "usr/bin/ctr", "usr/bin/containerd-shim-runc-v2"]
PROGRAMS += [f"usr/lib/cni/{name}" for name in ("ptp", "host-local", "loopback")]
PROTOCOL = "golang-k8s-cri-api-dev"  # of sid; without the Go libraries that it depends on


def unpack_protocol(tree: pathlib.Path) -> None:
    work = tree.parent
    debian.apt(work, "download", PROTOCOL)
    for package in sorted(work.glob("*.deb")):
        subprocess.run(["dpkg-deb", "-x", package, tree], check=True)


def main() -> None:
    for suite in SUITES:
        if not debian.all_start(CACHE / suite / "packages/usr/bin/containerd"):
            what = f"containerd, runc and CNI plugins of Debian {suite}"
            finish = unpack_protocol if suite == "sid" else None
            debian.fetch_or_leave_out(what, 60, CACHE / suite, [suite], PACKAGES, PROGRAMS, finish=finish)


if __name__ == "__main__":
    main()

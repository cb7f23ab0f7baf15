"""Tries the files of `netdevns units` where systemd is process 1: in QEMU, with SR-IOV functions of QEMU's igb.

No device of this machine is touched. The guest's root file system is systemd, udev, crun and Python of Debian trixie,
unpacked, with this checkout's package. Containers with a network card each are killed together with their runtime,
moves are killed in the middle, and userland is restarted (`systemctl soft-reboot`); by raw dumps all must be as before
each time. Fetches 180 MB on first use. Exit status 1 if anything is not as it must be; 124 after a time-out; 125 if
the guest could not be fetched or started.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

import sriov
import sriov_fetch
import units_fetch

TOP = Path(__file__).resolve().parent.parent
PLACE = "opt/netdevns"  # of the package, in the guest
ROOT_MODULES = (*sriov.ROOT_MODULES, "overlay")
# The guest's first process: systemd's root is the packages below what is written.
INIT = """#!/busybox sh
/busybox mkdir /machine /upper /new
for module in {modules}; do /busybox insmod /$module || exit; done
/busybox mount -t 9p -o ro,trans=virtio,version=9p2000.L,cache=loose,msize=1048576 machine /machine || exit
/busybox mount -t tmpfs tmpfs /upper
/busybox mkdir /upper/files /upper/work
/busybox mount -t overlay -o lowerdir={lowers},upperdir=/upper/files,workdir=/upper/work overlay /new || exit
exec /busybox switch_root /new /usr/lib/systemd/systemd
"""
TRIAL = f"""\
[Unit]
After=multi-user.target

[Service]
Type=simple
Environment=PYTHONPATH=/{PLACE} {{variables}}
ExecStart=/usr/bin/python3 -m tools.units_guest
StandardOutput=file:/dev/ttyS1
StandardError=file:/dev/ttyS1
"""
FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\n",
    "etc/group": "root:x:0:\n",
    "etc/machine-id": "0123456789abcdef0123456789abcdef\n",
    "etc/hostname": "guest\n",
    "etc/os-release": "ID=guest\nNAME=guest\n",
}
LINKS = {"etc/systemd/system/default.target": "/usr/lib/systemd/system/multi-user.target"}
LINKS |= {"etc/systemd/system/multi-user.target.wants/trial.service": "../trial.service"}
FOLDERS = ("sys", "dev", "root", "var/log")


def layer(folder: Path, variables: str) -> None:
    """What lies above the packages: this checkout's package, the trial, and what a machine has besides packages."""
    for name in FOLDERS:
        (folder / name).mkdir(parents=True)
    for name, text in {**FILES, "etc/systemd/system/trial.service": TRIAL.format(variables=variables)}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for name, target in LINKS.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(target)
    without = shutil.ignore_patterns("__pycache__")
    shutil.copytree(TOP / "netdevns", folder / PLACE / "netdevns", ignore=without)
    for name in ("tools/units_guest.py", "tests/support/rawdump.py"):
        (folder / PLACE / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(TOP / name, folder / PLACE / name)


def run(args: argparse.Namespace) -> int:
    """Boots the guest; returns the exit status."""
    with tempfile.TemporaryDirectory(prefix="netdevns-") as scratch:
        layer(Path(scratch, "layer"), f"ROUNDS={args.rounds}")
        lowers = ":".join(f"/machine{path}" for path in (f"{scratch}/layer", units_fetch.TREE, sriov_fetch.PACKAGES))
        files = sriov.initial_files(INIT, ROOT_MODULES, lowers=lowers)
        return int(sriov.boot("tools/units", scratch, files, args.timeout))


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="tools/units", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="of killed containers (default: 5)")
    parser.add_argument("--timeout", type=float, default=600, metavar="SECONDS", help="of the guest (default: 600)")
    args = parser.parse_args(argv)

    def fetch() -> None:
        sriov_fetch.fetch_missing()
        units_fetch.fetch_missing()

    return int(sriov.timed("tools/units", fetch, lambda: run(args)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

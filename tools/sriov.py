"""Moves real SR-IOV virtual functions: QEMU's igb under a Debian kernel, without KVM; no device here is touched.

The guest's file system is this machine's, read-only (9p). In it, virtual functions are made through sysfs, get names,
addresses, an alternative name, an MTU and routes, are moved into a namespace by netdevns' hook, with each engine, and
are looked at by raw dumps; then the namespace dies, the table shows what the kernel gives back, and poststop brings
them home. QEMU and the kernel are fetched on first use (150 MB). Exit status 1 if anything is not as it must be; 124
after a time-out; 125 if QEMU or the kernel could not be fetched or started.
"""

import argparse
import ctypes
import lzma
import os
import pathlib
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import guest
import sriov_fetch
import sriov_image
from debian import Fail

TOP = pathlib.Path(__file__).resolve().parent.parent
MEMORY_MIB = 1024
MOST_VFS = 7  # igb's
PR_SET_PDEATHSIG = 1  # linux/prctl.h
ROOT_MODULES = ("9pnet_virtio", "9p")  # what mounting this machine's file system takes; virtio itself is built in

# The guest's first process: it goes to this machine's file system, and on with tools/kernel-init.
INIT = """#!/busybox sh
/busybox mkdir /root
for module in {modules}; do /busybox insmod /$module || exit; done
/busybox mount -t 9p -o ro,trans=virtio,version=9p2000.L,cache=loose,msize=1048576 machine /root || exit
exec /busybox switch_root /root {init}
"""


def modules(names):
    """Modules of the guest's kernel and what they depend on, in the order in which they are loaded: name -> content."""
    folder = sriov_fetch.PACKAGES / "usr/lib/modules" / sriov_fetch.release(sriov_fetch.PACKAGES)
    paths = sriov_image.with_dependencies(names, (folder / "modules.dep").read_text())
    packed = {pathlib.PurePath(path).name: (folder / path).read_bytes() for path in paths}
    return {name.removesuffix(".xz"): lzma.decompress(content) for name, content in packed.items()}


def initial_files(template, names, **words):
    """The guest's initial file system; `template`: of its first process, with {modules} and these words."""
    loaded = modules(names)
    busybox = shutil.which("busybox")
    text = template.format(modules=" ".join(loaded), **words)
    return {"init": text.encode(), "busybox": pathlib.Path(busybox).read_bytes(), **loaded}


def qemu(scratch, tty):
    """The command line; the kernel's console is stdout, the command's output goes to the descriptor `tty`."""
    packages = sriov_fetch.PACKAGES
    words = ["console=ttyS0", "quiet", "loglevel=4", "panic=-1", "oops=panic", f"NETDEVNS_JOB={scratch}/job"]
    argv = [packages / sriov_fetch.QEMU, "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"]
    argv += ["-L", packages / "usr/share/seabios", "-L", packages / "usr/share/qemu"]
    argv += ["-machine", "q35", "-accel", "tcg", "-cpu", "max", "-smp", "1", "-m", f"{MEMORY_MIB}M"]
    argv += ["-kernel", packages / f"boot/vmlinuz-{sriov_fetch.release(packages)}", "-initrd", f"{scratch}/initrd"]
    argv += ["-append", " ".join(words), "-serial", "file:/dev/fd/1", "-serial", f"file:/dev/fd/{tty}"]
    argv += ["-virtfs", "local,path=/,mount_tag=machine,security_model=none,readonly=on,multidevs=remap"]
    argv += ["-device", "pcie-root-port,id=port0,chassis=1,slot=1"]  # ARI: a function's number may be above 7
    argv += ["-netdev", "hubport,id=wire,hubid=0", "-device", "igb,bus=port0,netdev=wire,mac=02:00:00:00:00:aa"]
    return [str(word) for word in argv]


def run(args):
    """Boots the guest; returns the exit status."""
    asked = [sriov_fetch.PACKAGES / sriov_fetch.QEMU, "--version"]
    version = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.split()[3]
    command = [str(TOP / ".venv/bin/python"), "-m", "tools.sriov_guest"]
    command += ["--cycles", str(args.cycles), "--vfs", str(args.vfs)]
    command += ["--without-hooks"] * args.without_hooks
    variables = guest.environment() | {"PYTHONDONTWRITEBYTECODE": "1", "NETDEVNS_QEMU": version}
    modprobe = sriov_fetch.PACKAGES / "modprobe"
    with tempfile.TemporaryDirectory(prefix="netdevns-") as scratch:
        pathlib.Path(scratch, "job").write_bytes(guest.job(TOP, modprobe, "/dev/ttyS1", variables, command))
        files = initial_files(INIT, ROOT_MODULES, init=shlex.quote(f"{TOP}/tools/kernel-init"))
        return boot("tools/sriov", scratch, files, args.timeout)


def boot(tool, scratch, files, timeout_s):
    """Runs a guest with these initial files to its end; returns the exit status. Reports a guest that broke."""
    pathlib.Path(scratch, "initrd").write_bytes(sriov_image.cpio(files))
    (console, console_w), (tty, tty_w) = os.pipe(), os.pipe()
    machine = subprocess.Popen(
        qemu(scratch, tty_w),
        pass_fds=[tty_w],
        stdin=subprocess.DEVNULL,
        stdout=console_w,
        stderr=console_w,
        start_new_session=True,
        preexec_fn=lambda: ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0),
    )
    os.close(console_w)
    os.close(tty_w)
    try:
        release, code, meaning, _ = guest.watch(machine, console, tty, "", timeout_s)
    finally:
        machine.kill()
        machine.wait()
    if not release or code in (guest.TIMED_OUT, guest.BROKEN):
        print(f"{tool}: {meaning}", file=sys.stderr)
    return int(code)


def timed(tool, fetch, run):
    """Fetches what a guest needs, and runs it; returns the exit status. `run`: None: only fetches."""
    try:
        fetch()
        if run is None:
            return 0
        started = time.monotonic()
        code = run()
    except (Fail, OSError, subprocess.CalledProcessError) as e:
        print(f"{tool}: {e}", file=sys.stderr)
        return guest.BROKEN
    except KeyboardInterrupt:
        return guest.INTERRUPTED
    print(f"{time.monotonic() - started:.0f} s, from power-on to power-off", file=sys.stderr)
    return code


def number(least, most):
    """For argparse: a number in this range."""

    def parse(text):
        value = int(text)
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{value}: from {least} to {most}")
        return value

    return parse


def main(argv):
    parser = argparse.ArgumentParser(
        prog="tools/sriov", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cycles", type=number(1, 1000), default=2, metavar="N", help="with each engine (default: 2)")
    parser.add_argument(
        "--vfs", type=number(1, MOST_VFS), default=2, metavar="N", help="virtual functions (default: 2)"
    )
    parser.add_argument("--timeout", type=float, default=180, metavar="SECONDS", help="of the guest (default: 180)")
    parser.add_argument(
        "--without-hooks",
        action="store_true",
        help="move by `netdevns move`, routes too, and end with what the kernel gives back",
    )
    parser.add_argument("--fetch-only", action="store_true", help="run nothing")
    args = parser.parse_args(argv)
    return timed("tools/sriov", sriov_fetch.fetch_missing, None if args.fetch_only else lambda: run(args))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Tries what tools/package made in a fresh Debian (tools/in-chroot), in namespaces of its own: see `COMMAND`.

The tarball's hook and the .deb move devices, by hand and in containers of crun; the .deb is removed while a container
has a device, and installed again; after its purge nothing is left. The files are in /srv/given.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

GIVEN = Path("/srv/given")
# What the .deb depends on comes first, so that all that its installation changes is its own.
PACKAGES = "python3 python3-cffi-backend iproute2 util-linux crun busybox-static"
COMMAND = f"""
set -e
export DEBIAN_FRONTEND=noninteractive
apt-get -q update >/tmp/log && apt-get -q -y install --no-install-recommends {PACKAGES} >>/tmp/log
[ "$1" != lintian ] || apt-get -q -y install --no-install-recommends lintian >>/tmp/log
exec unshare --net --mount --propagation private sh -c 'ip link set lo up
mount -t cgroup2 none /sys/fs/cgroup && exec python3 -B tools/package_inside.py "$@"' sh "$@"
"""
HOOK, COMMANDS = "/usr/bin/netdevns-hook", ("/usr/bin/netdevns", "/usr/bin/netdevns-hook")
SHARED = ("man/man8/netdevns.8.gz", "bash-completion/completions/netdevns", "zsh/vendor-completions/_netdevns")
# Of dpkg, apt, ldconfig and man-db; and the checkout, what was given, and these tries.
OTHERS = "/var/lib/dpkg /var/lib/apt /var/cache/apt /var/cache/ldconfig /etc/ld.so.cache /var/cache/man /var/log"
OURS = "/srv /tmp /root"
BUNDLE = Path("/tmp/bundle")
ADDRESS = "192.0.2.10"


def run(*argv: str | Path, stdin: str = "", codes: Sequence[int] = (0,)) -> str:
    """Runs a command that must end with one of these exit codes; returns what it says."""
    words = [str(word) for word in argv]
    with tempfile.TemporaryFile("w+") as said:  # no pipe: a container's process keeps it
        given = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=said, stderr=said, text=True, cwd="/")
        given.communicate(stdin, timeout=120)
        said.seek(0)
        text = said.read()
    assert given.returncode in codes, f"{' '.join(words)}: exit code {given.returncode}\n{text}"
    return text


def ip(line: str) -> str:
    return run("ip", *line.split())


def listing() -> set[str]:
    """Each file with type, mode, owner, size and target; a folder's size is the file system's."""
    prune = [word for path in f"{OTHERS} {OURS}".split() for word in ("-path", path, "-prune", "-o")]
    shown = ["-type", "d", "-printf", "d %m %U:%G %p\n", "-o", "-printf", "%y %m %U:%G %s %l %p\n"]
    return set(run("find", "/", "-xdev", *prune, *shown).splitlines())


def install() -> None:
    (deb,) = GIVEN.glob("*.deb")
    run("apt-get", "-q", "-y", "install", deb)


def addresses(*where: str, name: str) -> list[str]:
    """Of a device that is up; where: options of ip(8)."""
    (link,) = json.loads(run("ip", "-j", *where, "addr", "show", "dev", name, "up"))
    return [each["local"] for each in link["addr_info"] if each["scope"] == "global"]


def add_device() -> None:
    ip("link add eth1 type veth peer name wire1")
    ip(f"addr add {ADDRESS}/24 dev eth1")
    for name in ("wire1", "eth1"):
        ip(f"link set {name} up")


# ---- containers ----------------------------------------------------------------------------------------------------


def crun(*words: str | Path, codes: Sequence[int] = (0,)) -> str:
    return run("crun", "--cgroup-manager=disabled", "--root", "/tmp/crun", *words, codes=codes)


def write_bundle(hooks: dict[str, object]) -> None:
    """A container that sleeps, and joins the namespace "blue"."""
    folder = BUNDLE / "rootfs"
    for name in ("bin", "proc", "dev"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "bin" / "sleep").write_bytes(Path("/bin/busybox").read_bytes())
    (folder / "bin" / "sleep").chmod(0o755)
    kinds: list[dict[str, str]] = [{"type": kind} for kind in ("pid", "mount", "ipc", "uts")]
    process = {"user": {"uid": 0, "gid": 0}, "args": ["/bin/sleep", "99"], "cwd": "/"}
    config = {
        "ociVersion": "1.0.2",
        "process": process,
        "root": {"path": str(folder), "readonly": True},
        "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
        "linux": {"namespaces": [*kinds, {"type": "network", "path": "/run/netns/blue"}]},
        "hooks": hooks,
    }
    (BUNDLE / "config.json").write_text(json.dumps(config))


def return_device() -> None:
    """What the kernel does with hardware when its namespace dies: it is back, down, without addresses."""
    for line in ("link set net0 down", "addr flush dev net0", f"link set net0 netns {os.getpid()}"):
        ip(f"-n blue {line}")


# ---- the tries -----------------------------------------------------------------------------------------------------


def try_tarball() -> None:
    """The hook without anything else moves a device into a container; for its way back it says what to type."""
    (tarball,) = GIVEN.glob("*.tar.gz")
    run("tar", "-C", "/opt", "-xzf", tarball)
    folder = Path("/opt", tarball.name.removesuffix(".tar.gz"))
    hook = folder / "netdevns-hook"
    add_device()
    write_bundle({"createRuntime": [{"path": str(hook), "args": [hook.name, "createRuntime", "eth1=net0"]}]})
    crun("create", "--bundle", BUNDLE, "c1")
    assert addresses("-n", "blue", name="net0") == [ADDRESS]
    crun("delete", "--force", "c1")
    said = run(hook, "poststop", stdin='{"ociVersion": "1.0.2", "id": "c1", "bundle": "/tmp/bundle"}', codes=(2,))
    assert "run `netdevns return c1`" in said, said
    assert f"{folder}/netdevns: cannot be started: No such file or directory" in said, said
    ip("-n blue link del net0")
    run("rm", "-r", folder, "/run/netdevns")


def try_command() -> None:
    """The command moves a device there and back."""
    assert all(Path("/usr/share", path).exists() for path in SHARED)
    assert run("netdevns-hook", "--version").split()[1] == run("netdevns", "--version").split()[1]
    run("/usr/share/python3/runtime.d/netdevns.rtupdate", "rtupdate", "python3.0", "python3.1")  # as a new Python does
    add_device()
    run("netdevns", "move", "eth1=net0", "--to", "blue")
    assert addresses("-n", "blue", name="net0") == [ADDRESS]
    run("netdevns", "move", "net0=eth1", "--from", "blue", "--to", f"pid:{os.getpid()}")
    assert addresses(name="eth1") == [ADDRESS]


def try_lines() -> dict[str, object]:
    """The lines of `cdi`, `hooks-dir` and `units` pass their checks, and name the package; returns those of `cdi`."""
    run("netdevns", "hooks-dir", "--allow", "eth*", "--install")
    run("netdevns", "hooks-dir", "--uninstall")
    run("netdevns", "units", "--install", "--dir", "/etc")
    assert "/usr/lib/netdevns" in Path("/etc/systemd/system/netdevns-return.service").read_text()
    run("netdevns", "units", "--uninstall", "--dir", "/etc")
    assert "/usr/lib/netdevns" in run("netdevns", "cdi", "vendor.com/nic", "eth1", "--python")
    said = run("netdevns", "cdi", "vendor.com/nic", "eth1=net0", "--install")
    wrote, *others = said.splitlines()
    assert wrote == "wrote /etc/cdi/vendor.com-nic.json", said
    assert all(line.startswith("netdevns: note: eth1: a veth") for line in others), said  # and no warning
    cdi = json.loads(Path("/etc/cdi/vendor.com-nic.json").read_text())
    hooks: dict[str, object] = {}
    for edits in (cdi, *cdi["devices"]):
        for hook in edits["containerEdits"]["hooks"]:
            assert hook["path"] == HOOK, hook
            hooks[hook.pop("hookName")] = [hook]
    run("netdevns", "cdi", "vendor.com/nic", "--uninstall")
    return hooks


def try_container(hooks: dict[str, object]) -> None:
    """A container gets its device, and when it ends, the device is restored."""
    write_bundle(hooks)
    crun("create", "--bundle", BUNDLE, "c1")
    assert addresses("-n", "blue", name="net0") == [ADDRESS]
    return_device()
    crun("delete", "--force", "c1")
    assert addresses(name="eth1") == [ADDRESS]
    assert os.listdir("/run/netdevns/loan") == []


def try_removal() -> None:
    """Removed while a container has a device: a line says what to type, and after a new installation that is done."""
    crun("create", "--bundle", BUNDLE, "c1")
    run("netdevns", "cdi", "vendor.com/nic", "eth1=net0", "--install")
    said = run("apt-get", "-q", "-y", "remove", "netdevns")
    assert "netdevns: devices are on loan to these containers: c1" in said, said
    assert "netdevns: these files still start it: /etc/cdi/vendor.com-nic.json" in said, said
    said = run("apt-get", "-q", "-y", "purge", "netdevns")
    assert "netdevns: /run/netdevns stays" in said, said
    return_device()
    # 1.8.1 writes the state to a hook that has not started, and may be killed by that.
    said = crun("delete", "--force", "c1", codes=(0, -signal.SIGPIPE))
    assert said == "", said
    assert os.listdir("/run/netdevns/loan") == ["c1"]
    install()
    assert "eth1: undone: restored" in run("netdevns", "return")
    assert addresses(name="eth1") == [ADDRESS]
    run("netdevns", "cdi", "vendor.com/nic", "--uninstall")


def main(arguments: list[str]) -> None:
    if "lintian" in arguments:
        print(
            run("lintian", "--allow-root", "--fail-on", "error,warning", *GIVEN.glob("*.deb")).strip()
            or "lintian: clean"
        )
    ip("netns add blue")
    before = listing()
    try_tarball()
    install()
    try_command()
    try_container(try_lines())
    try_removal()
    said = run("apt-get", "-q", "-y", "purge", "netdevns")
    assert "netdevns: " not in said, said
    assert not Path("/run/netdevns").exists()
    assert not [*Path("/var/lib/dpkg/info").glob("netdevns*")]
    assert listing() == before, sorted(listing() ^ before)
    print(f"Python {sys.version.split()[0]}: .deb and tarball installed, tried and removed; nothing is left")


if __name__ == "__main__":
    main(sys.argv[1:])

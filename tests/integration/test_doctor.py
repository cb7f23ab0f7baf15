"""`netdevns doctor` on hosts that are broken, each in one way: the line that must be found, and nothing is changed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from netdevns import api
from netdevns.cli.main import main
from netdevns.doctor import checks, devices, kernel, records
from netdevns.doctor.finding import Finding
from netdevns.doctor.host import Host, Nic
from netdevns.recovery import loans
from netdevns.system import exclusion
from tests.support.namespaces import Namespace
from tests.unit.doctor.made import HOOK, Tree, cdi_file, entry, hooks_file

from .crashes import killed

RUN = "/run/netdevns"
CDI, HOOKS = "/etc/cdi/vendor.com-nic.json", "/usr/share/containers/oci/hooks.d"
MAC = "02:00:00:00:00:01"
VETH = (
    "a veth, which is deleted when the container ends, unless something returns it before: poststop is too late for a "
    "network namespace without a path"
)


class Broken:
    """A host with all that it needs, which a test then breaks.

    Attributes:
        tree: Its files; `directory`: its /run/netdevns.
        host, target: Its network namespace, and a container's.
        bundle: The argument of the command, or None.
        stack: What ends with the test.
    """

    def __init__(self, tree: Tree, host: Namespace, target: Namespace) -> None:
        self.tree, self.host, self.target = tree, host, target
        self.directory = str(tree.root / RUN.lstrip("/"))
        self.bundle: str | None = None
        self.stack = contextlib.ExitStack()
        host.batch([f"link add eth1 address {MAC} type veth peer name wire1", "addr add 10.0.0.1/24 dev eth1"])
        tree.hook()
        tree.program("/usr/sbin/runc", "runc version 1.1.5+ds1")
        tree.write(CDI, cdi_file({"eth1": "net0"}))
        tree.write(f"{HOOKS}/netdevns-createRuntime.json", hooks_file("createRuntime", "--allow", "eth[1-9]"))
        tree.write(f"{HOOKS}/netdevns-poststop.json", hooks_file("poststop"))
        tree.write("/proc/sys/net/ipv6/conf/all/forwarding", "0")
        (tree.root / "proc/locks").symlink_to("/proc/locks")
        os.makedirs(self.directory, 0o700)

    def examined(self) -> list[Finding]:
        return checks.examine(Host(str(self.tree.root), devices.nics()), self.bundle)

    def config(self, **more: object) -> None:
        """A bundle that asks for eth1."""
        document = {"linux": {"netDevices": {"eth1": {"name": "net0"}}, "namespaces": [{"type": "network"}]}, **more}
        self.bundle = str(self.tree.write("/bundle/config.json", document).parent)

    def lend(self, pid: int) -> None:
        """What the createRuntime hook of a container does, whose process this is."""
        with loans.Lender(self.directory, "c1") as lender:
            api.transact({"eth1": "net0"}, f"pid:{pid}", journal=self.directory, lender=lender)


@pytest.fixture
def broken(tmp_path: Path, host: Namespace, target: Namespace) -> Iterator[Broken]:
    made = Broken(Tree(tmp_path / "root"), host, target)
    with made.stack:
        yield made


def modules() -> set[str]:
    """Of the modules that a command could load, those that are loaded: others are the business of other processes."""
    path = Path("/proc/modules")
    lines = path.read_text().splitlines() if path.exists() else []
    return {line.split()[0] for line in lines} & {*kernel._MODULES.values()}


def state(broken: Broken) -> dict[str, Any]:
    """All that a command could change: files with owner, mode, times and content, devices, modules, mounts, locks."""
    files = {}
    for path in sorted(broken.tree.root.rglob("*")):
        status = path.lstat()
        content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        files[str(path)] = (status.st_mode, status.st_uid, status.st_mtime_ns, status.st_ctime_ns, content)
    return {
        "files": files,
        "run": sorted(map(str, Path("/run").rglob("*"))),
        "host": broken.host.dump(),
        "target": broken.target.dump() if broken.target.fd >= 0 else None,
        "modules": modules(),
        "mounts": Path("/proc/self/mountinfo").read_text(),
    }


# ---- broken in these ways --------------------------------------------------------------------------------------------

Break = Callable[[Broken], object]


@contextlib.contextmanager
def container(broken: Broken) -> Iterator[int]:
    """A process in the target, as a container's."""
    with broken.target.entered():
        process = subprocess.Popen(["sleep", "300"])
    try:
        yield process.pid
    finally:
        process.kill()
        process.wait()


def ended(broken: Broken) -> None:
    """A container that was killed with its runtime: no poststop hook ran."""
    with container(broken) as pid:
        broken.lend(pid)


def stopped(broken: Broken) -> None:
    """A mover that stands still: this test is one, which has held eth1 for a long time."""
    fd = os.open(f"{broken.directory}/{os.stat('/proc/thread-self/ns/net').st_ino}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    broken.stack.callback(os.close, fd)
    ifindex = broken.host.links()["eth1"].ifindex
    lock = exclusion.FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, ifindex, 1, 0)
    fcntl.fcntl(fd, fcntl.F_OFD_SETLK, lock)
    os.pwrite(fd, exclusion.PID.pack(1), ifindex * exclusion.PID.size)
    broken.stack.enter_context(patch.object(records, "LONG_S", 0.0))


def renamed(broken: Broken) -> None:
    broken.host.ip("link set eth1 name lan1")


def crashed(broken: Broken) -> None:
    killed(broken.directory, broken.target, "move", 1, after=True, devices={"eth1": "net0"})


def aside(broken: Broken) -> None:
    crashed(broken)
    folder = Path(broken.directory)
    (folder / "aside").mkdir(0o700)
    (record,) = (folder / "txn").iterdir()
    record.rename(folder / "aside" / "x.undo")


def without_hook(broken: Broken) -> None:
    (broken.tree.root / HOOK.lstrip("/")).unlink()


def old_containerd(broken: Broken) -> None:
    script = '#!/bin/sh\nexec /opt/netdevns/bin/netdevns nri "$@"\n'
    broken.tree.write("/opt/nri/plugins/10-netdevns", script, 0o755)
    broken.tree.program("/usr/bin/containerd", "containerd containerd.io 1.7.28 b98a3aace")


def networkd(broken: Broken) -> None:
    broken.tree.process(7, "/usr/lib/systemd/systemd-networkd")
    broken.tree.write("/etc/systemd/network/50-all.network", "[Match]\nName=*\n[Network]\nDHCP=yes\n")


def udev(broken: Broken) -> None:
    broken.tree.process(7, "/usr/lib/systemd/systemd-udevd")
    broken.tree.write("/etc/systemd/network/10-lan.link", f"[Match]\nMACAddress={MAC}\n[Link]\nName=lan1\n")


def taken(broken: Broken) -> None:
    """A bundle whose namespace has another device of that name."""
    broken.target.ip("link add net0 type ifb")
    path = str(broken.tree.root / "netns")
    os.symlink(broken.target.path, path)
    namespaces = [{"type": "network", "path": path}]
    hooks = {"createRuntime": [entry("createRuntime")], "poststop": [entry("poststop")]}
    broken.config(hooks=hooks, linux={"netDevices": {"eth1": {"name": "net0"}}, "namespaces": namespaces})


WAYS: dict[str, tuple[Break, str]] = {
    "the hook was removed": (without_hook, f"error {CDI}: there is no {HOOK}"),
    "others may write the hook": (
        lambda b: (b.tree.root / HOOK.lstrip("/")).chmod(0o777),
        f"error {CDI}: not tried: {{root}}{HOOK}: other users may write to it (mode 0777)",
    ),
    "half a CDI file": (
        lambda b: b.tree.write(CDI, '{"kind": "vendor.com/nic", "netdevns'),
        f"error {CDI}: the file: not valid JSON: Unterminated string starting at: *; no runtime reads it",
    ),
    "no --allow": (
        lambda b: b.tree.write(f"{HOOKS}/netdevns-createRuntime.json", hooks_file("createRuntime")),
        f"error {HOOKS}/netdevns-createRuntime.json: its line has no --allow, so no annotation gets a device",
    ),
    "no plugin of the network": (
        lambda b: b.tree.write("/etc/containers/networks/nic1.json", {"name": "nic1", "driver": "netdevns"}),
        "error /etc/containers/networks/nic1.json: its driver is netdevns, but there is no such plugin: *",
    ),
    "NRI is off": (
        old_containerd,
        "error /usr/bin/containerd: containerd containerd.io 1.7.28 b98a3aace: NRI is off: it takes no connection, "
        "and starts no plugin of /opt/nri/plugins",
    ),
    "no runtime": (
        lambda b: (b.tree.root / "usr/sbin/runc").unlink(),
        "warning runtimes: no runc, crun, youki in the usual folders",
    ),
    "the device was renamed": (
        renamed,
        f"error eth1: asked for by {CDI}, but there is no such device here, and none of that name is on loan",
    ),
    "a move was killed": (
        crashed,
        f"error {RUN}/txn/*: eth1 -> net0: the move was killed; its devices may be in either namespace",
    ),
    "its record was set aside": (
        aside,
        f"error {RUN}/aside/x.undo: eth1 -> net0: set aside: three tries did not restore it, or *",
    ),
    "no poststop hook ran": (
        ended,
        f"error {RUN}/loan/c1: on loan to container c1: eth1 -> net0, whose process has ended: *",
    ),
    "others may write records": (
        lambda b: os.chmod(b.directory, 0o777),
        f"error {RUN}: others may write to it: every move refuses to use it",
    ),
    "a mover stands still": (stopped, f"warning {RUN}/*.lock: eth1 is being moved by process 1, which has run for *"),
    "networkd configures it": (
        networkd,
        "warning eth1: networkd configures it, as eth1, by /etc/systemd/network/50-all.network when it comes back",
    ),
    "udev renames it": (udev, "warning eth1: udev renames it to lan1 by /etc/systemd/network/10-lan.link when it *"),
    "a bundle without a hook": (
        lambda b: b.config(),
        "error {root}/bundle/config.json: eth1 -> net0: no createRuntime hook of netdevns, and no runtime here moves "
        "linux.netDevices itself",
    ),
    "a bundle whose name is taken": (
        taken,
        'error eth1: the name "net0" is taken in {root}/netns by a device there (ifindex *)',
    ),
}


def lines(found: list[Finding]) -> list[str]:
    return [f"{each.severity} {each.subject}: {each.text}" for each in found]


def test_host_that_is_well(broken: Broken) -> None:
    """Before it is broken, nothing is worse than ok: no line below comes from the set-up."""
    before = state(broken)
    assert [line for line in lines(broken.examined()) if not line.startswith("ok ")] == []
    assert state(broken) == before


def test_bundle_that_is_well(broken: Broken) -> None:
    """Its namespace does not exist yet: all other checks of the move are made, and nothing is changed."""
    broken.config(hooks={"createRuntime": [entry("createRuntime")], "poststop": [entry("poststop")]})
    before = state(broken)
    every = broken.examined()
    assert checks.documents(every)["ok"]
    found = lines(every)
    assert [line for line in found if not line.startswith("ok ")] == [f"warning eth1: {VETH}"]
    assert f"ok {broken.bundle}/config.json: a move of eth1 would succeed" in found
    assert state(broken) == before


def test_virtual_device_of_a_new_namespace(broken: Broken, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """It ends with a namespace without a path: said before, by the doctor of a bundle, and where a CDI file is made."""
    broken.config(hooks={"createRuntime": [entry("createRuntime")], "poststop": [entry("poststop")]})
    (found,) = [each for each in broken.examined() if each.text == VETH]
    assert (found.subject, found.severity) == ("eth1", "warning")
    assert found.hint == "netdevns prepare NAME eth1=net0, and its path in config.json"
    notes = [
        f"netdevns: note: eth1: {VETH}; to keep it: netdevns prepare NAME eth1=net0",
    ]
    # Without a hook, whose line is refused where Python is started by a script, as the one with sanitizers is.
    for options in [], ["--install", "--dir", str(tmp_path)]:
        assert main(["cdi", "vendor.com/nic", "eth1=net0", "eth9", "--cdi-version", "1.1.0", *options]) == 0
        assert [line for line in capsys.readouterr().err.splitlines() if ": note: " in line] == notes
    assert main(["cdi", "vendor.com/nic", "--uninstall", "--dir", str(tmp_path)]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("kind", ["", "can"])
def test_hardware_comes_back(kind: str) -> None:
    """The kernel returns it to the initial namespace."""
    assert devices.why_lost(Nic("eth1", 7, kind)) == ""


@pytest.mark.sampled(2)
@pytest.mark.parametrize(("breaks", "line"), WAYS.values(), ids=WAYS)
def test_hosts_broken_in_these_ways(breaks: Break, line: str, broken: Broken) -> None:
    """The one line that says it is found, with a remedy, and nothing has changed: no file, device, module, mount."""
    breaks(broken)
    before = state(broken)
    found = broken.examined()
    assert state(broken) == before
    wanted = line.format(root=broken.tree.root).replace("[", "[[]")
    (one,) = [each for each in found if fnmatchcase(lines([each])[0], wanted)] or [lines(found)]
    assert isinstance(one, Finding), one
    assert one.hint

"""udev, systemd-networkd and NetworkManager of Debian trixie on a host of their own, beside a device that comes and goes.

The root file system is an overlay above the packages that tools/daemons_fetch.py unpacks. The host is a network, mount
and PID namespace: with its first process all daemons end. The device is a veth end called eth1, because udev's rules
of NetworkManager take a veth of this name as an Ethernet card; dnsmasq offers leases at the other end.
"""

from __future__ import annotations

import contextlib
import itertools
import re
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.support import rawdump
from tests.support.namespaces import Namespace
from tests.support.processes import wait_until

from .container import ENV, NETDEVNS

TREE = Path(__file__).parents[2] / ".cache/daemons/packages"  # tools/daemons_fetch.py
ROOT = "/run/debian/root"
TIMEOUT_S = 30

DEVICE, INSIDE, MAC = "eth1", "eth5", "02:00:00:00:00:01"
ADDRESSES, ROUTE = ("192.0.2.10/24", "2001:db8::10/64"), "203.0.113.0/24 via 192.0.2.1"
WIRE, SERVER, LEASES = "lan1", "198.51.100.1/24", "198.51.100.100,198.51.100.200,1h"
BLUE = "blue"
WAYS = {
    "undo": "netdevns moves it back, as `prepare --undo` and a podman network do",
    "kernel": "it comes as from a namespace that has ended, and HOME_S later `netdevns return` restores it",
}
HOME_S = 1.0

SCRIPT = f"""
set -e
mount -t tmpfs tmpfs /run
mkdir -p /run/debian/upper /run/debian/work {ROOT}
mount -t overlay -o lowerdir="$1",upperdir=/run/debian/upper,workdir=/run/debian/work debian {ROOT}
cd {ROOT}
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t tmpfs tmpfs run
mount -t tmpfs tmpfs dev
for name in null zero random urandom; do
    touch dev/$name
    mount --bind /dev/$name dev/$name
done
echo ready
exec cat >/dev/null
"""
# What a machine has besides packages.
BASE = {
    "/etc/passwd": "root:x:0:0:root:/root:/bin/sh\nmessagebus:x:100:100::/:/bin/false\n"
    "systemd-network:x:101:101::/:/bin/false\ndnsmasq:x:102:102::/:/bin/false\nnobody:x:65534:65534::/:/bin/false\n",
    "/etc/group": "root:x:0:\nmessagebus:x:100:\nsystemd-network:x:101:\ndnsmasq:x:102:\nnogroup:x:65534:\n",
    "/etc/machine-id": "0123456789abcdef0123456789abcdef\n",
    "/etc/hostname": "host\n",
}


class Host:
    """A machine with Debian's daemons. A context manager: with it all of them end."""

    def __init__(self, files: Mapping[str, str]) -> None:
        """Raises OSError where the kernel does not allow it. `files`: by their paths, as `/etc/...`."""
        self.net = Namespace.create("host")
        argv = ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child"]
        argv += ["--mount-proc", "--propagation", "private", "sh", "-c", SCRIPT, "sh", str(TREE)]
        with self.net.entered():
            self._keeper = subprocess.Popen(
                argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENV, text=True
            )
        assert self._keeper.stdout is not None
        assert self._keeper.stderr is not None
        if self._keeper.stdout.readline() != "ready\n":
            said = self._keeper.stderr.read().strip().partition("\n")[0]
            self.close()
            raise OSError(f"no root file system for Debian's daemons: {said}")
        children = Path(f"/proc/{self._keeper.pid}/task/{self._keeper.pid}/children")
        self.pid = int(children.read_text())
        self.device = DEVICE  # its present name
        self._running: list[subprocess.Popen[bytes]] = []
        for folder in ("/run/systemd", "/run/dbus"):
            self.path(folder).mkdir()
        for path, text in {**BASE, **files}.items():
            place = self.path(path)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text)

    def __enter__(self) -> Host:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        with self._keeper:
            assert self._keeper.stdin is not None
            self._keeper.stdin.close()  # its first process ends, and with it all others
        for process in getattr(self, "_running", ()):
            process.wait()
        self.net.close()

    def path(self, path: str) -> Path:
        """A file of Debian's root file system, as this process sees it."""
        return Path(f"/proc/{self.pid}/root{ROOT}/{path.lstrip('/')}")

    def _argv(self, words: Sequence[str], inside: bool) -> list[str]:
        root = ["chroot", ROOT] if inside else []
        return ["nsenter", f"--target={self.pid}", "--mount", "--pid", "--", *root, *words]

    def start(self, *words: str, net: Namespace | None = None) -> Path:
        """Starts a daemon of Debian's; returns its log."""
        log = self.path(f"/run/{words[0].rpartition('/')[2]}.log")
        with log.open("wb") as output, (net or self.net).entered():
            self._running.append(
                subprocess.Popen(
                    self._argv(words, True),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    env=ENV | {"SYSTEMD_IGNORE_CHROOT": "1", "SYSTEMD_LOG_LEVEL": "debug"},
                )
            )
        return log

    def watch(self, *words: str, output: Path) -> None:
        """Starts a program of the machine's beside Debian's root file system."""
        with output.open("wb") as file, self.net.entered():
            self._running.append(
                subprocess.Popen(self._argv(words, False), stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=ENV)
            )

    def run(self, *words: str, inside: bool = True) -> str:
        """Runs a program to its end, in Debian's root file system or, with the machine's programs, beside it."""
        with self.net.entered():
            done = subprocess.run(
                self._argv(words, inside),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                env=ENV | {"SYSTEMD_IGNORE_CHROOT": "1"},
                timeout=TIMEOUT_S,
                check=False,
            )
        if done.returncode:
            raise AssertionError(f"{' '.join(words)}: {done.returncode}: {done.stdout}{done.stderr}")
        return done.stdout + done.stderr

    def netdevns(self, *words: str) -> str:
        return self.run(*NETDEVNS, *words, inside=False)


# ---- daemons --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Daemon:
    """A daemon, and what it says of the device.

    Attributes:
        name: Of the daemon.
        others: An operator's files that are not about this device alone, by which the daemon changes it; none: its
            defaults suffice.
        left_alone: What `says` returns where the daemon leaves the device alone.
    """

    name: str
    others: Mapping[str, str]
    left_alone: str

    def start(self, host: Host) -> None:
        if self.name == "networkd":
            host.start("/usr/lib/systemd/systemd-networkd")
        elif self.name == "NetworkManager":
            host.start("/usr/bin/dbus-daemon", "--system", "--nofork", "--nopidfile")
            wait_until(host.path("/run/dbus/system_bus_socket").exists, "dbus-daemon listens")
            host.start("/usr/sbin/NetworkManager", "--debug")
            wait_until(lambda: "eth1" in self._status(host), "NetworkManager knows the device", TIMEOUT_S)

    @staticmethod
    def _status(host: Host) -> str:
        try:
            return host.run("/usr/bin/nmcli", "-t", "-f", "DEVICE,STATE", "device")
        except AssertionError:  # it is not on the bus yet
            return ""

    def says(self, host: Host) -> str:
        """What the daemon has to do with the device: the file that names it, or who manages it."""
        if self.name == "udev":
            found = host.run("/usr/bin/udevadm", "info", "--query=property", f"/sys/class/net/{host.device}")
            return (re.findall("^ID_NET_LINK_FILE=.*/(.*)", found, re.MULTILINE) or ["no file"])[0]
        if self.name == "networkd":
            ifindex = host.net.links()[host.device].ifindex
            state = host.path(f"/run/systemd/netif/links/{ifindex}")
            found = state.read_text() if state.exists() else ""
            return (re.findall("^ADMIN_STATE=(.*)", found, re.MULTILINE) or ["unknown"])[0]
        found = self._status(host)
        return (re.findall(f"^{host.device}:(.*)", found, re.MULTILINE) or ["unknown"])[0]


DAEMONS = {
    daemon.name: daemon
    for daemon in (
        Daemon(
            "udev",
            {"/etc/systemd/network/50-lan.link": "[Match]\nDriver=veth\n\n[Link]\nName=lan0\n"},
            "10-netdevns-eth1.link",
        ),
        Daemon(
            "networkd",
            {"/etc/systemd/network/50-lan.network": "[Match]\nName=eth*\n\n[Network]\nDHCP=yes\n"},
            "unmanaged",
        ),
        Daemon("NetworkManager", {}, "unmanaged"),
    )
}


# ---- a device that leaves and comes home ----------------------------------------------------------------------------


@dataclass
class Round:
    """What was seen from the device's leaving until some time after it was restored.

    Attributes:
        renames: To other names than those that netdevns gives.
        discovers: DHCPDISCOVER and DHCPREQUEST packets that the server received.
        leases: That it gave.
        lost, added: Global addresses, compared with those before.
        differences: All that differs, as the lines of a diff.
    """

    renames: int
    discovers: int
    leases: int
    lost: set[str]
    added: set[str]
    differences: list[str]

    @property
    def is_harmed(self) -> bool:
        return any((self.renames, self.discovers, self.leases, self.lost, self.added, self.differences))


class Scene:
    """The host, its device with what an operator sets by hand, and a daemon that runs. A context manager."""

    def __init__(self, daemon: Daemon, files: Mapping[str, str]) -> None:
        """`files`: besides `daemon.others`. Raises OSError where the kernel does not allow it."""
        self.daemon = daemon
        with contextlib.ExitStack() as stack:
            self.lan = stack.enter_context(Namespace.create("lan"))
            self.host = stack.enter_context(Host({**daemon.others, **files}))
            self._cable()
            self._offered = self.host.start(
                "/usr/sbin/dnsmasq", "--keep-in-foreground", "--port=0", f"--interface={WIRE}", "--bind-interfaces",
                f"--dhcp-range={LEASES}", "--dhcp-option=3", "--dhcp-authoritative", "--no-ping", "--log-facility=-",
                "--dhcp-leasefile=/run/leases", net=self.lan,
            )  # fmt: skip
            self._start(is_left_alone=bool(files))
            self._configure()
            self.host.device = DEVICE
            self._all = stack.pop_all()

    def __enter__(self) -> Scene:
        return self

    def __exit__(self, *exc: object) -> None:
        self._all.close()

    def _cable(self) -> None:
        with self.lan.entered():
            argv = f"ip link add {WIRE} type veth peer name {DEVICE} address {MAC} netns {self.host.pid}"
            subprocess.run(argv.split(), check=True, env=ENV)
        self.lan.batch([f"link set {WIRE} up", f"address add {SERVER} dev {WIRE}"])
        self.host.net.batch(["link set lo up", f"link set {DEVICE} up"])

    def _start(self, is_left_alone: bool) -> None:
        host = self.host
        self.names = host.path("/run/names")
        host.watch("ip", "-o", "monitor", "link", output=self.names)
        host.start("/usr/lib/systemd/systemd-udevd")
        wait_until(host.path("/run/udev/control").exists, "udevd listens")
        # As at boot: what is there is added.
        host.run("/usr/bin/udevadm", "trigger", "--settle", "--subsystem-match=net", "--action=add")
        (host.device,) = host.net.names()
        self.daemon.start(host)
        if is_left_alone:
            wait_until(lambda: self.daemon.says(host) == self.daemon.left_alone, "the daemon has seen it", TIMEOUT_S)
        elif self.daemon.name != "udev":
            wait_until(lambda: "DHCPACK" in self.offers(), "a lease", TIMEOUT_S)

    def _configure(self) -> None:
        """What an operator does by hand while the daemon runs."""
        name = self.host.device
        rename = [f"link set {name} down", f"link set {name} name {DEVICE}", f"link set {DEVICE} up"]
        lines = [f"address add {ADDRESSES[0]} dev {DEVICE}", f"address add {ADDRESSES[1]} nodad dev {DEVICE}"]
        lines += [f"route add {ROUTE} dev {DEVICE}"]
        self.host.net.batch([*(rename if name != DEVICE else ()), *lines])
        self.host.net.wait_until_quiet()
        self.host.run("/usr/bin/udevadm", "settle")

    def offers(self) -> str:
        return self._offered.read_text()

    def addresses(self) -> set[str]:
        """All global ones of the host."""
        shown = self.host.net.ip_json("address show scope global")
        return {f"{a['local']}/{a['prefixlen']}" for link in shown for a in link["addr_info"] if a}

    def play(self, way: str, watch_s: float) -> Round:
        """One round; `way`: "undo" or "kernel", as WAYS says; `watch_s`: how long to watch the device afterwards."""
        host = self.host
        before, had = host.net.dump(), self.addresses()
        at, offered = len(self.names.read_text()), len(self.offers())
        host.netdevns("prepare", BLUE, f"{DEVICE}={INSIDE}")
        assert host.net.names() == set()
        if way == "undo":
            host.netdevns("prepare", BLUE, "--undo")
        else:
            # What the kernel does with hardware when a namespace ends: down, without addresses, its name in there.
            host.run("ip", "-n", BLUE, "link", "set", INSIDE, "netns", "1", inside=False)
            host.run("ip", "netns", "del", BLUE, inside=False)
            time.sleep(HOME_S)
            host.netdevns("return", BLUE)
        end = time.monotonic() + watch_s
        while time.monotonic() < end:
            time.sleep(0.1)
        host.run("/usr/bin/udevadm", "settle")
        (host.device,) = host.net.names()
        names = re.findall(r"^\d+: ([^:@]+)[:@]", self.names.read_text()[at:], re.MULTILINE)
        said, have = self.offers()[offered:], self.addresses()
        return Round(
            renames=sum(b != a and b not in (DEVICE, INSIDE) for a, b in itertools.pairwise([DEVICE, *names])),
            discovers=len(re.findall("DHCP(?:DISCOVER|REQUEST)\\(", said)),
            leases=said.count("DHCPACK("),
            lost=had - have,
            added=have - had,
            differences=rawdump.differences(before, host.net.dump()),
        )


def play(daemon: Daemon, files: Mapping[str, str], way: str, count: int, watch_s: float) -> Iterator[Round]:
    """Rounds, with the same daemon as long as nothing is harmed."""
    scene = None
    try:
        for _ in range(count):
            scene = scene or Scene(daemon, files)
            seen = scene.play(way, watch_s)
            yield seen
            if seen.is_harmed:
                scene.__exit__()
                scene = None
    finally:
        if scene:
            scene.__exit__()

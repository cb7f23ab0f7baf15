"""udev, systemd-networkd and NetworkManager beside a device that leaves for a namespace and comes home.

The device is a veth end called eth1, because NetworkManager's rules for udev take a veth of such a name as an Ethernet
card; dnsmasq gives leases at the other end of the wire. It is configured by hand, while the daemon runs.
"""

from __future__ import annotations

import contextlib
import itertools
import re
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from netdevns.oci import units
from tests.support import rawdump
from tests.support.namespaces import Namespace
from tests.support.processes import wait_until
from tests.support.readme import DOCS
from tests.support.restored import State

from .container import ENV
from .debian import TIMEOUT_S, Host

PAGE = DOCS / "daemons.md"
DEVICE, INSIDE, MAC = "eth1", "eth5", "02:00:00:00:00:01"
ADDRESSES, ROUTE = ("192.0.2.10/24", "2001:db8::10/64"), "203.0.113.0/24 via 192.0.2.1"
WIRE, SERVER, LEASES = "lan1", "198.51.100.1/24", "198.51.100.100,198.51.100.200,1h"
BLUE = "blue"
HOME_S = 1.0
LATE_S = 30.0  # for what is expected: a lease, or the state that networkd writes when it has time
WAYS = {
    "moved": "netdevns moves it back (`prepare --undo`)",
    "returned": f"it comes as from a namespace that has ended, and {HOME_S:.0f} s later `netdevns return` restores it",
}


def page_files() -> dict[str, str]:
    """The files of docs/daemons.md, by their paths."""
    text = PAGE.read_text(encoding="utf-8")
    found = re.findall(r"`(/etc/[^`]+)`[^\n]*:\n\n```ini\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert len(dict(found)) == len(found), "a file is there twice"
    return dict(found)


LINK, NETWORK = "/etc/systemd/network/10-netdevns-eth1.link", "/etc/systemd/network/10-netdevns-eth1.network"
KEYFILE = "/etc/NetworkManager/conf.d/90-netdevns-eth1.conf"
# What would be expected to do instead, and does not: by the time that udev reads the file `address`, netdevns may have
# renamed the device.
RULE = "/etc/udev/rules.d/90-netdevns-eth1.rules"
UNITS = {f"/etc/{units.RULES}/{units.RULE}": units.common(["/usr/bin/netdevns"])[units.RULE]}  # `netdevns units`
RULES = {
    "networkd": f'SUBSYSTEM=="net", ACTION!="remove", ATTR{{address}}=="{MAC}", ENV{{ID_NET_MANAGED_BY}}="netdevns"\n',
    "NetworkManager": f'SUBSYSTEM=="net", ACTION!="remove", ATTR{{address}}=="{MAC}", ENV{{NM_UNMANAGED}}="1"\n',
}


# ---- daemons --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Daemon:
    """A daemon.

    Attributes:
        name: Of the daemon.
        program: That prints its version.
        others: An operator's files for several devices, by which the daemon changes this one; none: by its defaults.
        left_alone: What `says` returns where the daemon leaves the device alone.
    """

    name: str
    program: str
    others: Mapping[str, str]
    left_alone: str

    def start(self, host: Host) -> None:
        """Starts it beside udev."""
        if self.name == "networkd":
            host.start("/usr/lib/systemd/systemd-networkd")
        elif self.name == "NetworkManager":
            host.start("/usr/bin/dbus-daemon", "--system", "--nofork", "--nopidfile")
            wait_until(host.path("/run/dbus/system_bus_socket").exists, "dbus-daemon listens")
            host.start("/usr/sbin/NetworkManager", "--debug")

    def version(self, host: Host) -> str:
        """As "udev 257"."""
        found = host.run(self.program, "--version").stdout
        return f"{self.name} {_first(r'([0-9][0-9.]*)', found)}"

    def says(self, host: Host, device: str) -> str:
        """What the daemon has to do with a device: the .link file that udev applies, or whether it is managed."""
        if self.name == "udev":
            found = host.run("/usr/bin/udevadm", "info", "--query=property", f"/sys/class/net/{device}").stdout
            return _first(r"^ID_NET_LINK_FILE=.*/(.*)", found)
        if self.name == "networkd":
            state = host.path(f"/run/systemd/netif/links/{host.net.links()[device].ifindex}")
            return _first(r"^ADMIN_STATE=(.*)", state.read_text() if state.exists() else "")
        # Fails until it is on the bus.
        done = host.run("/usr/bin/nmcli", "-t", "-f", "DEVICE,STATE", "device", check=False)
        return _first(f"^{device}:(.*)", done.stdout)


def _first(pattern: str, text: str) -> str:
    return (re.findall(pattern, text, re.MULTILINE) or ["unknown"])[0]


DAEMONS = {
    daemon.name: daemon
    for daemon in (
        Daemon(
            "udev",
            "/usr/bin/udevadm",
            {"/etc/systemd/network/50-lan.link": f"[Match]\nMACAddress={MAC}\n\n[Link]\nName=lan0\n"},
            "10-netdevns-eth1.link",
        ),
        Daemon(
            "networkd",
            "/usr/bin/networkctl",
            {"/etc/systemd/network/50-lan.network": "[Match]\nName=eth*\n\n[Network]\nDHCP=yes\n"},
            "unmanaged",
        ),
        Daemon("NetworkManager", "/usr/sbin/NetworkManager", {}, "unmanaged"),
    )
}


# ---- a device that leaves and comes home ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Round:
    """What was seen from the device's leaving until some time after it was restored.

    Attributes:
        renames: To other names than those that netdevns gives.
        requests: DHCPDISCOVER and DHCPREQUEST packets that the server received.
        leases: That the server gave.
        lost, added: Global addresses, compared with those before.
        differences: All that differs, as the lines of a diff.
        says: What the daemon has to do with the device in the end.
        error: What netdevns reports, if it could not restore the device.
    """

    renames: int
    requests: int
    leases: int
    lost: frozenset[str]
    added: frozenset[str]
    differences: tuple[str, ...]
    says: str
    error: str

    @property
    def is_harmed(self) -> bool:
        return any((self.renames, self.requests, self.leases, self.lost, self.added, self.differences, self.error))


class Scene:
    """The host, its device, and a daemon that runs. A context manager."""

    def __init__(self, daemon: Daemon, files: Mapping[str, str], is_bare: bool = False) -> None:
        """Raises OSError where the kernel does not allow it.

        Args:
            daemon: The daemon, with its `others`.
            files: That keep it from the device, by their paths.
            is_bare: Without the addresses and the route that are added by hand.
        """
        self.daemon = daemon
        with contextlib.ExitStack() as stack:
            self.lan = stack.enter_context(Namespace.create("lan"))
            self.host = stack.enter_context(Host({**UNITS, **daemon.others, **files}))
            self._cable()
            self._offers = self.host.start(
                "/usr/sbin/dnsmasq", "--keep-in-foreground", "--port=0", f"--interface={WIRE}", "--bind-interfaces",
                f"--dhcp-range={LEASES}", "--dhcp-option=3", "--dhcp-authoritative", "--no-ping", "--log-facility=-",
                "--dhcp-leasefile=/run/leases", net=self.lan,
            )  # fmt: skip
            self._names = self.host.start("ip", "-o", "monitor", "link", is_inside=False)
            self._start(is_left_alone=bool(files))
            self._configure(is_bare)
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
        host.start("/usr/lib/systemd/systemd-udevd")
        wait_until(lambda: self._udevadm("control", "--ping"), "udevd listens", TIMEOUT_S)
        # As at boot: each device that is there is added.
        host.run("/usr/bin/udevadm", "trigger", "--subsystem-match=net", "--action=add")
        self.settle_udev()
        self.daemon.start(host)
        if is_left_alone:
            wait_until(lambda: self.says() == self.daemon.left_alone, "it leaves the device alone", TIMEOUT_S)
        elif self.daemon.name != "udev":
            wait_until(lambda: "DHCPACK" in self._offers.read_text(), "a lease", TIMEOUT_S)

    def _configure(self, is_bare: bool) -> None:
        """What an operator does by hand."""
        name = self.device()
        lines = [f"link set {name} down", f"link set {name} name {DEVICE}", f"link set {DEVICE} up"]
        lines = lines if name != DEVICE else []
        if not is_bare:
            lines += [f"address add {ADDRESSES[0]} dev {DEVICE}", f"address add {ADDRESSES[1]} nodad dev {DEVICE}"]
            lines += [f"route add {ROUTE} dev {DEVICE}"]
        self.host.net.batch(lines)
        self.settle()

    def settle(self) -> None:
        """Waits until nothing is on its way."""
        self.host.net.wait_until_quiet()
        self.settle_udev()

    def settle_udev(self) -> None:
        """Waits until udev has no event left; on a busy machine udevadm may report a broken pipe instead."""
        wait_until(lambda: self._udevadm("settle"), "udev settles", TIMEOUT_S)

    def _udevadm(self, *words: str) -> bool:
        return self.host.run("/usr/bin/udevadm", *words, check=False).returncode == 0

    def device(self) -> str:
        """The present name of the only device of the host."""
        (name,) = self.host.net.names()
        return name

    def says(self) -> str:
        return self.daemon.says(self.host, self.device())

    def _addresses(self) -> frozenset[str]:
        shown = self.host.net.ip_json("address show scope global")
        return frozenset(f"{a['local']}/{a['prefixlen']}" for link in shown for a in link["addr_info"] if a)

    def play(self, way: str, watch_s: float, wanted: Callable[[Round], bool] = bool) -> Round:
        """One round.

        Args:
            way: One of WAYS.
            watch_s: Seconds for which the device is watched when it is restored.
            wanted: What is expected, anything by default; it may be seen some LATE_S later.
        """
        before, had = self.host.net.dump(), self._addresses()
        named, offered = len(self._names.read_text()), len(self._offers.read_text())
        self.leave()
        error = self.come_home(way)
        time.sleep(watch_s)
        self.settle_udev()
        end = time.monotonic() + LATE_S
        while not wanted(seen := self._seen(before, had, named, offered, error)) and time.monotonic() < end:
            time.sleep(0.1)
        return seen

    def _seen(self, before: State, had: frozenset[str], named: int, offered: int, error: str) -> Round:
        """What has happened since: `named` and `offered` are how much of the logs is older."""
        names = [DEVICE, *re.findall(r"^\d+: ([^:@]+)[:@]", self._names.read_text()[named:], re.MULTILINE)]
        said, have = self._offers.read_text()[offered:], self._addresses()
        return Round(
            renames=sum(b not in (a, DEVICE, INSIDE) for a, b in itertools.pairwise(names)),
            requests=len(re.findall(r"DHCP(?:DISCOVER|REQUEST)\(", said)),
            leases=said.count("DHCPACK("),
            lost=had - have,
            added=have - had,
            differences=tuple(rawdump.differences(before, self.host.net.dump())),
            says=self.says(),
            error=error,
        )

    def leave(self) -> None:
        """Moves the device to a namespace."""
        self.host.netdevns("prepare", BLUE, f"{DEVICE}={INSIDE}")
        assert self.host.net.names() == set()

    def come_home(self, way: str) -> str:
        """Moves it home again; returns what netdevns could not restore."""
        host = self.host
        if way == "moved":
            done = host.netdevns("prepare", BLUE, "--undo", check=False)
        else:
            # As the kernel returns hardware: down, without addresses, with its name in the container.
            host.run("ip", "-n", BLUE, "link", "set", INSIDE, "netns", "1", is_inside=False)
            host.run("ip", "netns", "del", BLUE, is_inside=False)
            time.sleep(HOME_S)
            done = host.netdevns("return", BLUE, check=False)
        assert done.returncode in (0, 3), done
        return done.stdout + done.stderr if done.returncode else ""


def play(
    daemon: Daemon,
    files: Mapping[str, str],
    way: str,
    count: int,
    watch_s: float,
    is_bare: bool = False,
    wanted: Callable[[Round], bool] = bool,
) -> Iterator[Round]:
    """Plays rounds; the same daemon and device stay as long as nothing is harmed."""
    with contextlib.ExitStack() as stack:
        scene = None
        for _ in range(count):
            scene = scene or stack.enter_context(Scene(daemon, files, is_bare))
            seen = scene.play(way, watch_s, wanted)
            yield seen
            if seen.is_harmed:
                stack.close()
                scene = None

"""Runs in the guest of tools/sriov: makes virtual functions, moves them, lets their namespace die, prints one table.

What is seen is seen by raw dumps (tests/support/rawdump.py), which share no line with netdevns.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.support import rawdump
from tests.support.namespaces import Namespace, current
from tools.sriov_table import Facts

ENGINES = ("native", "reference")
BUNDLE = Path("/run/bundle")
IFLA_ADDRESS, IFLA_MTU, IFLA_MAP, IFLA_IFALIAS, IFLA_PERM_ADDRESS = 1, 4, 14, 20, 54
IFLA_PARENT_DEV_NAME, IFLA_PARENT_DEV_BUS_NAME = 56, 57
KEPT = {IFLA_ADDRESS: "MAC", IFLA_MTU: "MTU", IFLA_IFALIAS: "alias", IFLA_PERM_ADDRESS: "permanent MAC"}
Dump = dict[str, Any]  # Namespace.dump()
PATIENCE_S = 20  # an emulated processor is slow


@dataclass(frozen=True)
class Function:
    """A virtual function and what it is given."""

    number: int
    address: str  # on the PCI bus

    @property
    def host_name(self) -> str:
        return f"port{self.number}"

    @property
    def name(self) -> str:
        return f"net{self.number}"

    @property
    def altname(self) -> str:
        return f"uplink{self.number}"

    @property
    def destinations(self) -> tuple[str, str]:
        return f"198.51.{self.number}.0/24", f"2001:db8:ff0{self.number}::/48"

    def setup(self, found: rawdump.Link) -> list[str]:
        """Lines for `ip -batch`, for any current name, and whether or not it has been set up before."""
        n, name = self.number, self.host_name
        lines = [f"link set {found.name} down", f"address flush dev {found.name}"]
        lines += [f"link set {found.name} name {name}"] if found.name != name else []
        lines += [f"link property add dev {name} altname {self.altname}"] if not found.altnames else []
        return [
            *lines,
            f"link set {name} mtu {1400 + n} alias rack{n}",
            f"address add 192.0.{n}.10/24 brd + dev {name}",
            f"address add 203.0.{n}.10/24 label {name}:vip dev {name}",
            f"link set {name} up",
            f"address add 2001:db8:{n}::10/64 dev {name}",
            f"route add {self.destinations[0]} via 192.0.{n}.1",
            f"route add {self.destinations[1]} via 2001:db8:{n}::1 dev {name}",
        ]


def parent(link: rawdump.Link) -> str:
    """The device that it belongs to, as the kernel says it with the link: "pci 0000:01:10.0"."""
    parts = (link.attrs.get(kind, "") for kind in (IFLA_PARENT_DEV_BUS_NAME, IFLA_PARENT_DEV_NAME))
    return " ".join(bytes.fromhex(part).rstrip(b"\0").decode() for part in parts)


def found(function: Function, namespace: Namespace) -> rawdump.Link | None:
    """The function's device, by its parent; None where it is not in this namespace."""
    links = namespace.links().values()
    return next((link for link in links if parent(link) == f"pci {function.address}"), None)


# ---- set-up ---------------------------------------------------------------------------------------------------------


def make_functions(count: int) -> list[Function]:
    """Makes the virtual functions through sysfs."""
    modprobe = Path("/proc/sys/kernel/modprobe").read_text().strip()
    for module in ("igb", "igbvf"):
        subprocess.run([modprobe, module], check=True)
    (device,) = Path("/sys/bus/pci/drivers/igb").glob("0*")
    (name,) = (path.name for path in (device / "net").iterdir())
    subprocess.run(["ip", "link", "set", name, "up"], check=True)  # functions of one that is down have no link
    (device / "sriov_numvfs").write_text(str(count))
    end = time.monotonic() + PATIENCE_S
    while len(list(device.glob("virtfn*/net/*"))) < count:
        assert time.monotonic() < end, "the virtual functions do not come"
        time.sleep(0.05)
    return [Function(n, (device / f"virtfn{n}").resolve().name) for n in range(count)]


def furnish(here: Namespace, functions: list[Function]) -> None:
    """Gives them names, addresses and so on: by ip(8), as an operator would."""
    lines = []
    for function in functions:
        link = found(function, here)
        assert link is not None, f"{function.address} is not here"
        lines += function.setup(link)
    here.batch(lines)
    here.wait_until_quiet()


# ---- netdevns, as a user runs it ------------------------------------------------------------------------------------


def netdevns(engine: str, *arguments: str, stdin: str = "") -> None:
    argv = [sys.executable, "-m", "netdevns", *arguments]
    variables = os.environ | {"NETDEVNS_ENGINE": engine}
    done = subprocess.run(argv, input=stdin, text=True, env=variables, capture_output=True, check=False)
    if done.returncode:
        raise SystemExit(f"netdevns {' '.join(arguments)}: exit code {done.returncode}\n{done.stderr}")


def state(status: str, **more: object) -> str:
    return json.dumps({"ociVersion": "1.3.0", "id": "web", "status": status, "bundle": str(BUNDLE), **more})


def lend(engine: str, functions: list[Function], pid: int) -> None:
    """What a runtime does at a container's creation."""
    BUNDLE.mkdir(exist_ok=True)
    devices = {function.host_name: {"name": function.name} for function in functions}
    (BUNDLE / "config.json").write_text(json.dumps({"ociVersion": "1.3.0", "linux": {"netDevices": devices}}))
    netdevns(engine, "hook", "createRuntime", stdin=state("creating", pid=pid))


def bring_home(engine: str) -> None:
    """What a runtime does after a container's end."""
    netdevns(engine, "hook", "poststop", stdin=state("stopped"))


# ---- a cycle --------------------------------------------------------------------------------------------------------


def without_map(dump: Dump) -> Dump:
    """Without IFLA_MAP, the driver's own business."""
    links = dump["links"].items()
    shown = {n: replace(x, attrs={t: v for t, v in x.attrs.items() if t != IFLA_MAP}) for n, x in links}
    return {**dump, "links": shown}


def arrived(function: Function, before: Dump, container: Dump, facts: Facts, *, routes: bool) -> None:
    """What must hold in the container's namespace."""
    old, new = before["links"][function.host_name], container["links"].get(function.name)
    facts.must("in the container under its name, UP", new is not None and new.up)
    if new is None:
        return
    facts.must("parent device: the PCI address, as before", parent(new) == parent(old) == f"pci {function.address}")
    wanted = [
        replace(a, label=a.label.replace(function.host_name, function.name) if a.label else None)
        for a in before["addresses"][function.host_name]
        if a.scope == 0
    ]
    there = [a for a in container["addresses"].get(function.name, []) if a.scope == 0]
    facts.must("addresses: all, in order, with label, broadcast, flags", there == wanted)
    for kind, what in KEPT.items():
        facts.must(f"{what} as before", new.attrs.get(kind) == old.attrs.get(kind))
    facts.must("alternative name as before", new.altnames == old.altnames == (function.altname,))
    if routes:
        lines = container["routes"]
        facts.must("routes", all(any(f" {d} type 1 " in line for line in lines) for d in function.destinations))


def returned(function: Function, here: Namespace, before: Dump, facts: Facts) -> None:
    """What the kernel returns by itself: recorded, not judged, except what identifies the device."""
    end = time.monotonic() + PATIENCE_S
    while (link := found(function, here)) is None:
        assert time.monotonic() < end, f"{function.address} did not come back"
        time.sleep(0.01)
    old = before["links"][function.host_name]
    facts.seen("given back: name", "the container's" if link.name == function.name else link.name)
    facts.seen("given back: state", "UP" if link.up else "DOWN")
    facts.seen("given back: addresses", str(len(here.addresses(link.name))))
    facts.seen("given back: alternative name", "kept" if link.altnames == old.altnames else f"{link.altnames}")
    facts.seen("given back: MTU, alias", "kept" if same(link, old, IFLA_MTU, IFLA_IFALIAS) else "changed")
    facts.must(
        "given back: same MAC, same parent device", same(link, old, IFLA_ADDRESS) and parent(link) == parent(old)
    )


def same(one: rawdump.Link, other: rawdump.Link, *kinds: int) -> bool:
    return all(one.attrs.get(kind) == other.attrs.get(kind) for kind in kinds)


def cycle(here: Namespace, functions: list[Function], facts: Facts, *, come_home: bool) -> None:
    """One container's life."""
    before = without_map(here.dump())
    # No descriptor of the container's namespace stays open here: it would keep it alive.
    with Namespace.create("container") as container:
        with container.entered():
            process = subprocess.Popen(["sleep", "infinity"])
        if come_home:
            lend(facts.column, functions, process.pid)
        else:
            moves = [f"{function.host_name}={function.name}" for function in functions]
            netdevns(facts.column, "move", *moves, "--to", f"pid:{process.pid}", "--preserve", "routes")
        there = container.dump()
    for function in functions:
        facts.must("gone from the host", found(function, here) is None)
        arrived(function, before, there, facts, routes=not come_home)
    process.send_signal(signal.SIGKILL)
    process.wait()
    for function in functions:
        returned(function, here, before, facts)
    if come_home:
        bring_home(facts.column)
        here.wait_until_quiet()
        after = without_map(here.dump())
        differences = rawdump.differences(before, after)
        for line in differences:
            print(line, file=sys.stderr)
        facts.must("brought home: all is as before", not differences)
    else:
        furnish(here, functions)


def main() -> int:
    parser = argparse.ArgumentParser(prog="tools/sriov_guest")
    parser.add_argument("--cycles", type=int, required=True)
    parser.add_argument("--vfs", type=int, required=True)
    parser.add_argument("--without-hooks", action="store_true")
    args = parser.parse_args()
    functions = make_functions(args.vfs)
    facts = Facts(ENGINES)
    with Namespace(current(), "initial") as here:
        furnish(here, functions)
        for facts.column in ENGINES:
            for _ in range(args.cycles):
                cycle(here, functions, facts, come_home=not args.without_hooks)
    addresses = ", ".join(function.address for function in functions)
    heading = f"Linux {os.uname().release}, QEMU {os.environ['NETDEVNS_QEMU']}, igbvf at {addresses}"
    print(f"{heading}, {args.cycles} cycles with each engine\n")
    print(facts.table())
    return 0 if facts.good else 1


if __name__ == "__main__":
    sys.exit(main())

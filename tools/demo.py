"""Runs `netdevns demo` and, at each stage, reads the kernel back with `ip -j`, which knows nothing of netdevns.

Exit status 1 if the demo or `ip` finds anything that is not as promised.
"""

import json
import subprocess
import sys
from typing import Any

from netdevns.cli import demo
from netdevns.cli.main import main as netdevns_main

Dump = dict[str, dict[str, Any]]


def dump(fd: int) -> Dump:
    """What `ip` says of a namespace: devices by name, with the facts that a move must keep."""
    command = ["nsenter", f"--net=/proc/self/fd/{fd}", "ip", "-j", "addr", "show"]
    out = subprocess.run(command, pass_fds=[fd], check=True, capture_output=True, text=True).stdout
    devices: Dump = {}
    for link in json.loads(out):
        facts = [f"{a['local']}/{a['prefixlen']}" for a in link["addr_info"] if a["scope"] == "global"]
        unusable = [a["local"] for a in link["addr_info"] if a["scope"] == "global" and a.get("tentative")]
        devices[link["ifname"]] = {
            "addresses": facts,
            "unusable": unusable,
            "up": "UP" in link["flags"],
            "mac": link["address"],
            "mtu": link["mtu"],
            "ifindex": link["ifindex"],
        }
    return devices


class Oracle:
    """Compares what `ip` says at each stage with what must be."""

    def __init__(self) -> None:
        self.host: Dump = {}
        self.right: list[str] = []
        self.wrong: list[str] = []
        self.denied = 0  # of `wrong`, how many were printed

    def look(self, stage: str, sandbox: demo.Sandbox) -> None:
        host, container = dump(sandbox.host_fd), dump(sandbox.container_fd)
        if stage == "before":
            self.host = host
            self.expect({"the container is not empty": set(container) == {"lo"}})
        elif stage == "moved":
            for host_name, _, name, _ in demo.DEVICES:
                self.expect(
                    self.arrived(host_name, host, container.get(name)), f"{host_name} is {name} in the container"
                )
            self.show("up, IPv6 usable at once; addresses, MAC, MTU as before")
        elif stage == "failed":
            for host_name, name in demo.LOSERS:
                here, there = host.get(host_name) == self.host[host_name], name in container
                is_taken = (host_name, name) == demo.LOSERS[-1]
                facts = {"it is not on the host as before": here, f"{name} is in the container": is_taken or not there}
                self.expect(facts, host_name)
            self.show("on the host; ifindex, addresses, MAC, MTU as before")

    def arrived(self, host_name: str, host: Dump, now: dict[str, Any] | None) -> dict[str, bool]:
        """Each fact that would be wrong -> whether all is well."""
        was = self.host[host_name]
        facts = {"it is still on the host": host_name not in host, "it is not in the container": now is not None}
        if now is not None:
            facts |= {"it is not up": now["up"], "IPv6 addresses are not usable yet": not now["unusable"]}
            facts |= {
                f"{fact}: {now[fact]}, not {was[fact]}": now[fact] == was[fact] for fact in ("addresses", "mac", "mtu")
            }
        return facts

    def expect(self, facts: dict[str, bool], subject: str = "") -> None:
        wrong = [what for what, holds in facts.items() if not holds]
        self.wrong += [f"{subject}: {what}" if subject else what for what in wrong]
        if subject and not wrong:
            self.right.append(subject)

    def show(self, what: str) -> None:
        """What `ip -j` has confirmed since the last time, and what it denies."""
        for subject in self.right:
            print(f"  ip -j      {subject}: {what}", flush=True)
        for each in self.wrong[self.denied :]:
            print(f"  ip -j      NO: {each}", flush=True)
        self.right, self.denied = [], len(self.wrong)


def main() -> int:
    oracle = Oracle()
    code = demo.main(netdevns_main, oracle.look)
    if oracle.wrong:
        print(f"ip -j disagrees: {'; '.join(oracle.wrong)}", file=sys.stderr)
    return code or bool(oracle.wrong)


if __name__ == "__main__":
    sys.exit(main())

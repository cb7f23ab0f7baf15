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
        self.wrong: list[str] = []

    def look(self, stage: str, sandbox: demo.Sandbox) -> None:
        host, container = dump(sandbox.host_fd), dump(sandbox.container_fd)
        if stage == "before":
            self.host = host
            self.expect(set(container) == {"lo"}, "the container is empty")
        elif stage == "moved":
            for host_name, _, name, _ in demo.DEVICES:
                self.expect(host_name not in host, f"{host_name} has left the host")
                self.arrived(host_name, container.get(name))
        elif stage == "failed":
            for host_name, name in demo.LOSERS:
                self.expect(host.get(host_name) == self.host[host_name], f"{host_name} is on the host as it was")
                self.expect(name not in container or host_name == demo.LOSERS[-1][0], f"{name} is not in the container")

    def arrived(self, host_name: str, now: dict[str, Any] | None) -> None:
        was = self.host[host_name]
        self.expect(now is not None, f"{host_name} is in the container")
        if now is not None:
            self.expect(now["up"], f"{host_name} is up")
            self.expect(not now["unusable"], f"the IPv6 addresses of {host_name} are usable at once")
            for fact in ("addresses", "mac", "mtu"):
                self.expect(now[fact] == was[fact], f"{host_name} has the same {fact} as before: {was[fact]}")

    def expect(self, holds: bool, what: str) -> None:
        print(f"    ip -j: {'yes' if holds else 'NO '}  {what}", flush=True)
        if not holds:
            self.wrong.append(what)


def main() -> int:
    oracle = Oracle()
    code = demo.main(netdevns_main, oracle.look)
    if oracle.wrong:
        print(f"ip -j disagrees: {'; '.join(oracle.wrong)}", file=sys.stderr)
    return code or bool(oracle.wrong)


if __name__ == "__main__":
    sys.exit(main())

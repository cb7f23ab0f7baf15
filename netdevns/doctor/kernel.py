"""Compares the running kernel with the measured ones (docs/kernels.md), from the packaged results; runs no probe."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from ..conformance import expected
from .finding import ERROR, OK, WARNING, Finding
from .host import Host

CHECK = "kernel"
OLDEST = (5, 10)
# A probe whose expected value on this kernel differs from that on the newest one, and what that means for a user.
_FACTS = {
    "message.new-ifindex.free": "the ifindex in the container cannot be chosen; it is kept where it is free",
    "clash.own-altname.left-behind": "alternative names of a moved device stay taken on the host",
    "death.cookie.unique": "a NIC without a permanent MAC is not recognized if its container has changed its MAC",
    "kinds.immutable.veth": "only root can see whether a device can be moved",
}
# The kinds of devices that containers are given, and their modules.
_MODULES = {
    "veth": "veth", "macvlan": "macvlan", "ipvlan": "ipvlan", "vlan": "8021q", "bond": "bonding", "dummy": "dummy",
    "vxlan": "vxlan",
}  # fmt: skip
_NO_KIND = re.compile(r"no (\w+) devices in this kernel")


def check(host: Host, release: str | None = None) -> Iterator[Finding]:
    """Judges the kernel; `release`: another one than that of uname(2)."""
    release = os.uname().release if release is None else release
    data = expected.load()
    subject, version = f"Linux {release}", expected.version(release)
    if version < OLDEST:
        yield Finding(
            CHECK, ERROR, subject, "older than 5.10: netdevns does not support it", "a kernel of 5.10 or later"
        )
        return
    measured = sorted(data["kernels"], key=expected.version)
    if expected.is_measured(data, release):
        name = next(name for name in measured if expected.version(name) == version)
        text = f"measured as {data['kernels'][name]} (docs/kernels.md)"
        kinds = [found[1] for reason in data["absent"].get(name, ()) if (found := _NO_KIND.fullmatch(reason))]
        yield Finding(CHECK, OK, subject, text + (f", but without {', '.join(sorted(kinds))} devices" if kinds else ""))
    else:
        text = f"never measured; measured are {', '.join(measured)} (docs/kernels.md)"
        yield Finding(CHECK, WARNING, subject, text, "netdevns conformance")
    for probe, text in _FACTS.items():
        newest = expected.expectation(data, probe, measured[-1])
        if expected.expectation(data, probe, release) != newest:
            yield Finding(CHECK, OK, subject, text)
    if host.exists("/proc/sys/net/ipv4") and not host.exists("/proc/sys/net/ipv6"):
        text = "has no IPv6: containers have none, either"
        yield Finding(CHECK, WARNING, subject, text, "boot without ipv6.disable=1, or expect IPv4 only")
    yield from _kinds(host, subject, release)


def _kinds(host: Host, subject: str, release: str) -> Iterator[Finding]:
    """The kinds for which there is neither a module nor built-in code; nothing where that is not known."""
    folder = f"/lib/modules/{release}"
    files = [host.text(f"{folder}/{name}") for name in ("modules.builtin", "modules.dep")]
    if None in files:
        return
    there = {os.path.basename(word).partition(".ko")[0] for text in files for word in (text or "").split()}
    missing = [kind for kind, module in _MODULES.items() if module not in there]
    if missing:
        yield Finding(CHECK, OK, subject, f"has no module for {', '.join(missing)} devices: none can be made")

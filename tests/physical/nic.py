"""The physical-like NIC of a User Mode Linux guest, and the initial namespace that the kernel throws it back into."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from netdevns.engine import lookups
from tests.support.namespaces import Namespace, current
from tests.support.processes import wait_until
from tests.support.require import require

NIC = "vec0"
SETUP = [
    f"link set {NIC} up mtu 1400 alias uplink",
    f"addr add 192.0.2.1/24 brd + label {NIC}:vip dev {NIC}",
    f"addr add 2001:db8::1/64 nodad dev {NIC}",
    "route add 198.51.100.0/24 via 192.0.2.9",
    f"neigh add 192.0.2.9 lladdr 02:00:00:00:00:99 nud permanent dev {NIC}",
]


def set_up() -> Iterator[Namespace]:
    """The initial namespace, with the NIC as an operator would have set it up; for a fixture."""
    namespace = Namespace(current(), "initial")
    if NIC not in namespace.links():
        require("physical", f"there is no {NIC}: tools/test --full runs this in User Mode Linux")
    altname = [] if namespace.links()[NIC].altnames else [f"link property add dev {NIC} altname enp1"]
    namespace.batch([*altname, *SETUP])
    namespace.sysctl(f"ipv4/conf/{NIC}/rp_filter", 2)
    namespace.wait_until_quiet()
    yield namespace
    namespace.batch([f"addr flush dev {NIC}", f"link set {NIC} down"])
    namespace.close()


def without_map(dump: dict[str, Any]) -> dict[str, Any]:
    """Without IFLA_MAP: its driver takes another interrupt each time that the NIC is opened.

    Before 6.6 without IFLA_PROP_LIST, too: there a name that is added again stands twice in it.
    """
    without = {14} if lookups.moves_altnames() else {14, 52}
    shown = {}
    for name, link in dump["links"].items():
        attrs = {type_: value for type_, value in link.attrs.items() if type_ not in without}
        shown[name] = replace(link, attrs=attrs, altnames=tuple(sorted({*link.altnames})))
    return {**dump, "links": shown}


def is_known_by_hardware(here: Namespace) -> bool:
    """Whether the kernel reports a permanent MAC or a parent device; 5.10 does not: a changed MAC hides the NIC."""
    return any(here.links()[NIC].attrs.get(type_) for type_ in (54, 56, 57))  # IFLA_PERM_ADDRESS, _PARENT_DEV_*


def is_back(here: Namespace) -> bool:
    return any(link.attrs.get(20) == b"uplink\0".hex() for link in here.links().values())


def wait_for_its_return(here: Namespace, name: str) -> None:
    """The kernel cleans a dead namespace up in its own time."""
    wait_until(lambda: is_back(here), f"{name} comes back")

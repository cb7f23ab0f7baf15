"""What root in a hostile container does to the devices that it was given: net0, net1, ..."""

from __future__ import annotations

from .namespaces import Namespace, fresh
from .restored import State


def to_and_fro(target: Namespace, device: str, ifindex: int) -> None:
    """Moves a device to a third namespace and back; meanwhile its ifindex is taken, unless that is 0."""
    with fresh("third") as third:
        target.give(device, third)
        if ifindex:
            target.ip(f"link add thief index {ifindex} type ifb")
        third.give(device, target)


def change_net1(target: Namespace, changed: str, ifindex: str) -> None:
    """Of net1 (102) the ifindex ("other"), the name, the MAC address, or both."""
    to_and_fro(target, "net1", 102 if ifindex == "other" else 0)
    name = "evil" if "name" in changed else "net1"
    if name != "net1":
        target.ip(f"link set net1 name {name}")
    if "mac" in changed:
        target.ip(f"link set {name} address 02:00:00:00:00:66")


def lower_to_and_fro(target: Namespace, ifindex: int, changed: str) -> None:
    """Moves the device "below" away and back, under another ifindex and ("name") another name."""
    to_and_fro(target, "below", ifindex)
    if changed == "name":
        target.batch(["link set below down", "link set below name evil"])


def pair_to_and_fro(target: Namespace) -> None:
    """Moves both ends of a veth, "net1" (102) and "below" (103), away and back: other ifindexes and names."""
    for device, ifindex, name in (("net1", 102, "evil1"), ("below", 103, "evil2")):
        to_and_fro(target, device, ifindex)
        target.batch(
            [f"link set {device} down", f"link set {device} name {name}", f"link set thief name thief{ifindex}"]
        )


def put_decoy(target: Namespace, kind: str, mac: str) -> None:
    """Beside net0, which gets another name and MAC address, a tap or macvlan that has its own (12 digits)."""
    target.batch(["link set net0 down", "link set net0 name ours address 02:00:00:00:00:99"])
    target.ip(LIKE[kind].format("net0", "ours"))
    target.ip(f"link set net0 address {':'.join(mac[n : n + 2] for n in range(0, 12, 2))}")


# How a device of a kind is made, by its name, and on another one.
LIKE = {"tap": "tuntap add mode tap name {}", "macvlan": "link add link {1} name {0} type macvlan mode bridge"}


def make_dev0(host: Namespace, kind: str) -> State:
    """A device for `put_decoy`, up; returns the host's state."""
    host.ip(LIKE[kind].format("dev0", "eth1"))
    host.ip("link set dev0 up")
    host.wait_until_quiet()
    return host.dump()


def hide_net1(target: Namespace, decoy: str) -> None:
    """Under another ifindex and name, beside a veth that has its MAC address and, for example, "net1 index 102"."""
    to_and_fro(target, "net1", 102)
    target.batch(["link set net1 down", "link set net1 name ours", "link del thief"])
    target.ip(f"link add {decoy} address 02:00:00:00:00:01 type veth peer name other")

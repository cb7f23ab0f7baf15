"""Shows a move in a private sandbox: a "host" and a "container" namespace with their own devices.

Devices are made here by plain rtnetlink requests, only in namespaces that were made here, too.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket as sockets
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Sequence

from ..api import move
from ..engine import Socket, lookups
from ..netlink import ifaddr, uapi, wire
from ..system.libc import call
from ..system.netns import CURRENT
from ..text.outcome import FAILED
from ..text.output import print_text

CLONE_NEWUSER = 0x10000000
CLONE_NEWNS = 0x20000
MS_REC, MS_PRIVATE = 0x4000, 1 << 18  # linux/mount.h
RTMGRP_LINK = 1
VETH_INFO_PEER = 1
RACES = 10
RACER_S = 30  # without a device set down by then, the batch failed in its checks

# The devices in the demo's config.json: host name, wanted name, name in the container, addresses.
DEVICES = (
    ("eth1", "net0", "net0", ("192.0.2.10/24", "2001:db8:1::10/64")),
    ("mv0", "eth%d", "eth0", ("198.51.100.7/31",)),
    ("eth2", None, "eth2", ("203.0.113.5/24", "2001:db8:2::5/64", "2001:db8:2::6/64")),
)
# A second batch, whose last name is taken by a process in the container during the move.
LOSERS = (("eth3", "late0"), ("eth4", "late1"), ("eth5", "late2"))

Command = Callable[[Sequence[str]], int]
Observer = Callable[[str, "Sandbox"], None]


class Sandbox:
    """A network namespace that plays the host (this process is in it), and a process in another, the container."""

    def __init__(self) -> None:
        _unshare()
        self.host_fd = os.open(CURRENT, os.O_RDONLY | os.O_CLOEXEC)
        self.pid, self._keep = _spawn_container()
        self.container_fd = os.open(f"/proc/{self.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)

    def close(self) -> None:
        """Ends the container: its namespace and its devices go with it. The host's go with this process."""
        os.close(self._keep)
        os.waitpid(self.pid, 0)
        os.close(self.container_fd)
        os.close(self.host_fd)


def _unshare() -> None:
    """Enters new network and mount namespaces: as root, or as root of a new user namespace."""
    uid, gid = os.geteuid(), os.getegid()
    try:
        call("unshare", uapi.CLONE_NEWNET | CLONE_NEWNS)
    except PermissionError:
        call("unshare", CLONE_NEWUSER | uapi.CLONE_NEWNET | CLONE_NEWNS)
        for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
            with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
                file.write(text)
    # A private /run, for the record of the move: the machine's own is not touched.
    call("mount", None, b"/", None, MS_REC | MS_PRIVATE, None)
    call("mount", b"tmpfs", b"/run", b"tmpfs", 0, None)


def _spawn_container() -> tuple[int, int]:
    """Forks a process into a new network namespace; it sleeps until the returned descriptor is closed."""
    stay, keep = os.pipe()
    ready, signal_ready = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.close(keep)
            os.close(ready)
            call("unshare", uapi.CLONE_NEWNET)
            os.write(signal_ready, b".")
            os.read(stay, 1)
            code = 0
        finally:
            os._exit(code)
    os.close(stay)
    os.close(signal_ready)
    came_up = os.read(ready, 1)
    os.close(ready)
    if not came_up:
        raise OSError(f"the container's process {pid} did not come up")
    return pid, keep


# ---- devices and addresses ----


def _new_link(name: str, kind: bytes, attrs: bytes = b"", data: bytes = b"") -> bytes:
    info = wire.attr(uapi.IFLA_INFO_KIND, kind) + (wire.attr(uapi.IFLA_INFO_DATA, data) if data else b"")
    body = wire.attr_name(uapi.IFLA_IFNAME, name.encode()) + attrs + wire.attr(uapi.IFLA_LINKINFO, info)
    return wire.link_message(uapi.RTM_NEWLINK, uapi.NLM_F_CREATE | uapi.NLM_F_EXCL | uapi.NLM_F_ACK, 0, body)


def veth(name: str, peer: str) -> bytes:
    """The request for a veth pair."""
    other = wire.IFINFOMSG.pack(0, 0, 0, 0, 0) + wire.attr_name(uapi.IFLA_IFNAME, peer.encode())
    return _new_link(name, b"veth", data=wire.attr(VETH_INFO_PEER, other))


def _ifindex(socket: Socket, name: str) -> int:
    link = lookups.link(socket, name=name.encode())
    if link is None:
        raise RuntimeError(f"the demo's own device {name} is gone")
    return int(link.ifindex)


def _address(ifindex: int, text: str) -> bytes:
    address, _, prefixlen = text.partition("/")
    family = uapi.AF_INET6 if ":" in address else uapi.AF_INET
    data = sockets.inet_pton(family, address)
    body = ifaddr.IFADDRMSG.pack(family, int(prefixlen), 0, 0, ifindex)
    body += wire.attr(uapi.IFA_LOCAL, data) + wire.attr(uapi.IFA_ADDRESS, data)
    return wire.message(uapi.RTM_NEWADDR, uapi.NLM_F_CREATE | uapi.NLM_F_ACK, body)


def _up(ifindex: int) -> bytes:
    return wire.link_message(uapi.RTM_NEWLINK, uapi.NLM_F_ACK, ifindex, up=True)


def furnish(socket: Socket) -> None:
    """Makes the host's devices: eth1 to eth5, each a veth with its peer on the host, and a macvlan."""
    for name in ("eth1", "eth2", *(host_name for host_name, _ in LOSERS)):
        socket.command(veth(name, f"{name}-wire"))
        for end in (f"{name}-wire", name):
            socket.command(_up(_ifindex(socket, end)))
    lower = wire.attr_u32(uapi.IFLA_LINK, _ifindex(socket, "eth1-wire"))
    socket.command(_new_link("mv0", b"macvlan", lower))
    socket.command(_up(_ifindex(socket, "mv0")))
    for name, _, _, addresses in DEVICES:
        for address in addresses:
            socket.command(_address(_ifindex(socket, name), address))
    for number, (name, _) in enumerate(LOSERS):
        socket.command(_address(_ifindex(socket, name), f"10.0.{number}.1/24"))
        socket.command(_address(_ifindex(socket, name), f"2001:db8:ff:{number}::1/64"))


State = list[tuple[str, str, tuple[str, ...]]]


def state_of(socket: Socket) -> State:
    """Name, UP or DOWN, and addresses of global scope of each device; without lo and the far ends of the cables."""
    links = lookups.links(socket)
    _, dumped = socket.query(ifaddr.dump_addresses())
    state: State = []
    for link in links:
        if link.name == b"lo" or link.name.endswith(b"-wire"):
            continue
        found = ifaddr.addresses(dumped, protected=True, ifindex=link.ifindex)
        texts = tuple(f"{a['address']}/{a['prefixlen']}" for a in found)
        state.append((os.fsdecode(link.name), "UP" if link.flags & uapi.IFF_UP else "DOWN", texts))
    return state


def _wait_for_dad(socket: Socket) -> None:
    """Waits until the host's IPv6 addresses are usable, so that the demo shows that they stay usable."""
    for _ in range(100):
        _, dumped = socket.query(ifaddr.dump_addresses())
        if not any(int(str(a["flags"])) & uapi.IFA_F_TENTATIVE for a in ifaddr.addresses(dumped)):
            return
        time.sleep(0.05)


def _show(place: str, socket: Socket, names: Collection[str], without: str) -> None:
    """Lines about these devices in a namespace; `without`: the words for none of them."""
    found = [each for each in state_of(socket) if each[0] in names]
    for name, state, addresses in found:
        print_text(f"  {place:10} {name:6} {state:5} {'  '.join(addresses)}".rstrip())
        place = ""
    if not found:
        print_text(f"  {place:10} {without}")


def _run(command: Command, *arguments: str) -> int:
    """Runs the command as a user would type it."""
    print_text(f"$ netdevns {' '.join(arguments)}")
    return command(arguments)


# ---- the two acts ----


def _apply(command: Command, sandbox: Sandbox, host: Socket, container: Socket) -> bool:
    wanted = {name: {"name": to} if to else {} for name, to, _, _ in DEVICES}
    config = {"ociVersion": "1.3.0", "linux": {"namespaces": [{"type": "network"}], "netDevices": wanted}}
    print_text("\nThree devices of the host move into a container. Its config.json asks for")
    print_text('  "netDevices": ' + json.dumps(wanted))
    asked, given = [each[0] for each in DEVICES], [each[2] for each in DEVICES]
    before = {name: addresses for name, _, addresses in state_of(host)}
    _show("host", host, asked, "")
    _show("container", container, given, "no device")
    with tempfile.TemporaryDirectory() as bundle:
        with open(f"{bundle}/config.json", "w", encoding="utf-8") as file:
            json.dump(config, file)
        code = _run(command, "apply", "--bundle", bundle, "--pid", str(sandbox.pid))
    _show("host", host, asked, "none of the three")
    _show("container", container, given, "no device")
    expected = [(name, "UP", before[host_name]) for host_name, _, name, _ in DEVICES]
    return code == 0 and sorted(state_of(container)) == sorted(expected)


def _racer(sandbox: Sandbox, first: str, name: str) -> int:
    """Forks a process in the container that takes a name as soon as a batch with the host's device `first` begins.

    It waits until `first` is set down: a batch sets all devices down before it moves the first. After the first arrival
    it may be too late: on one processor the mover takes the kernel's rtnl lock again before a waiting process runs. So
    the process also asks for a real-time priority; without it (in a user namespace) the mover wins two races in three
    on one busy processor, and RACES are tried.
    """
    ready, signal_ready = os.pipe()
    pid = os.fork()
    if pid:
        os.close(signal_ready)
        os.read(ready, 1)
        os.close(ready)
        return pid
    code = 1
    try:
        listener = sockets.socket(sockets.AF_NETLINK, sockets.SOCK_RAW, sockets.NETLINK_ROUTE)
        listener.bind((0, RTMGRP_LINK))
        listener.settimeout(RACER_S)
        call("setns", sandbox.container_fd, uapi.CLONE_NEWNET)
        with Socket() as there:
            with contextlib.suppress(PermissionError):
                os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
            os.write(signal_ready, b".")
            # Other messages do not count: carrier changes are notified up to a second late.
            while not _goes_down(first, listener.recv(65536)):
                pass
            there.command(veth(name, "racer-wire"))
        code = 0
    finally:
        os._exit(code)


def _goes_down(name: str, datagram: bytes) -> bool:
    links = (wire.Link(message.body) for message in wire.messages(datagram) if message.type == uapi.RTM_NEWLINK)
    return any(link.name == os.fsencode(name) and not link.flags & uapi.IFF_UP for link in links)


def _lose(command: Command, sandbox: Sandbox, host: Socket, container: Socket) -> bool:
    taken = LOSERS[-1][1]
    print_text(f"\nA batch fails: during the move, a process in the container makes a device named {taken}.")
    before, names = state_of(host), [name for name, _ in LOSERS]
    _show("host", host, names, "")
    for _ in range(RACES):
        racer = _racer(sandbox, LOSERS[0][0], taken)
        code = _run(command, "move", *(f"{old}={new}" for old, new in LOSERS), "--to", f"pid:{sandbox.pid}")
        os.waitpid(racer, 0)
        if code:
            break
        print_text("(the batch was quicker this time; its devices move back, and it is tried again)")
        move({new: old for old, new in LOSERS}, sandbox.host_fd, source=sandbox.container_fd)
    _show("host", host, names, "none of the three")
    _show("container", container, [new for _, new in LOSERS], "none of the three")
    return code == FAILED and state_of(host) == before


def main(command: Command, observe: Observer = lambda *_: None) -> int:
    """Runs the demo. Returns 0 if both acts end as announced.

    Args:
        command: The command line's main.
        observe: Called with "before", "moved" and "failed", and the sandbox, for independent checks.
    """
    try:
        sandbox = Sandbox()
    except OSError as e:
        sys.stderr.write(f"netdevns: demo: cannot make a network namespace: {e}; run it as root\n")
        return FAILED
    try:
        with Socket() as host, Socket(sandbox.container_fd) as container:
            furnish(host)
            _wait_for_dad(host)
            observe("before", sandbox)
            moved = _apply(command, sandbox, host, container)
            observe("moved", sandbox)
            undone = _lose(command, sandbox, host, container)
            observe("failed", sandbox)
    finally:
        sandbox.close()
    print_text(f"\nall devices and addresses arrived: {'yes' if moved else 'NO'}")
    print_text(f"the failed batch left everything as it was: {'yes' if undone else 'NO'}")
    return 0 if moved and undone else FAILED

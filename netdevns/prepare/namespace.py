"""Opens, checks and removes prepared namespaces."""

from __future__ import annotations

import errno
import os
from collections.abc import Collection, Iterable

from ..engine import EngineError, Socket, lookups
from ..netlink import uapi, wire
from ..recovery import identity, layout, loans
from ..recovery.layout import Section
from ..recovery.prepared import Namespaces, Prepared
from ..reports import Recovered
from ..system import named_netns
from ..system.netns import NETNS_DIR, NetNS, is_at
from ..text.quote import printable, quoted

# Devices that the kernel makes in each namespace. Others may be immovable, too, such as a bridge that a container made.
FALLBACK = frozenset(
    (b"tunl0", b"gre0", b"gretap0", b"erspan0", b"ip_vti0", b"ip6_vti0", b"sit0", b"ip6tnl0", b"ip6gre0")
)
PID_NS, INITIAL_PID_NS = "/proc/self/ns/pid", 0xEFFFFFFC  # linux/proc_ns.h, PROC_PID_INIT_INO


class Refused(Exception):
    """A request that is refused, in one line.

    Attributes:
        earlier: The devices that were restored, or tried, before it; nothing else was touched.
    """

    def __init__(self, text: str, *, earlier: Iterable[Recovered] = ()) -> None:
        super().__init__(text)
        self.earlier = tuple(earlier)


def namespaces() -> Namespaces:
    try:
        return Namespaces()
    except OSError as e:
        raise Refused(f"{e.filename}: {e.strerror}") from None


def path_of(name: str) -> str:
    if not name or "/" in name or name[0] in ".-" or not name.isprintable() or loans.is_cut(name):
        raise Refused(
            f'"{quoted(name)}": not a valid name for a prepared namespace: at most 200 bytes, printable, without "/", '
            'not beginning with "." or "-"'
        )
    return f"{NETNS_DIR}/{name}"


def words(e: Exception) -> str:
    if isinstance(e, EngineError):
        return lookups.format_error(e)
    return f"{e.filename}: {e.strerror}" if isinstance(e, OSError) and e.filename else str(getattr(e, "strerror", e))


def unknown(name: str) -> str:
    """What is known of a name that no record has; "": nothing."""
    lent = ", ".join(each.device for each in loans.listed() if each.container == name)
    if lent:
        return (
            f"no record of `netdevns prepare` has this name, or it was set aside; {lent} is on loan under this name: "
            f"move it to the host, then run `{loans.command(name, ())}`"
        )
    return "`netdevns prepare` did not make it" if os.path.lexists(f"{NETNS_DIR}/{name}") else ""


def found_of(found: Prepared, *, forgets: bool) -> tuple[NetNS, Socket] | None:
    """Opens it; None: it is gone. Raises Refused: it is not known whether it exists."""
    try:
        return found.found()
    except (EngineError, OSError) as e:
        if forgets:
            return None
        text = f"{NETNS_DIR}/{found.name}: cannot find out whether it exists: {words(e)}; --undo --force forgets it"
        raise Refused(text) from None


def removed(found: Prepared, netns: NetNS | None) -> str:
    """Removes a namespace; returns "", or why it still exists."""
    try:
        found.remove(netns)
    except OSError as e:
        return f"{NETNS_DIR}/{found.name}: cannot remove the namespace: {words(e)}; then run `netdevns recover`"
    return ""


def check_unused(namespaces: Namespaces, found: Prepared, netns: NetNS, socket: Socket) -> None:
    """Raises Refused if a process is in it, or a device that `prepare` did not move there and would be lost."""
    path = f"{NETNS_DIR}/{found.name}"
    try:
        if not (identity.is_visible(found.target) or os.stat(PID_NS).st_ino == INITIAL_PID_NS):
            raise OSError(errno.ESRCH, "it was made in another pid namespace", PID_NS)
        inside, is_named = named_netns.processes(netns), is_at(netns, path)
    except OSError as e:
        text = f"{path}: cannot find out whether a process is in it: {words(e)}; look there, or use --force"
        raise Refused(text) from None
    if inside:
        more = f" and {len(inside) - 1} more" if len(inside) > 1 else ""
        process = f"process {_process(inside[0])}{more}"
        if is_named:
            text = f"{path}: {process} is in it; end it first, or use --force"
        else:  # the kernel deletes virtual devices with the namespace
            text = f"{path}: its name was removed, and it ends with {process}: use --force while that runs"
        raise Refused(text)
    if text := others(found, socket, devices_of(namespaces, found)):
        raise Refused(text)


def _process(pid: int) -> str:
    """A process with its command's name (proc_pid_comm(5)), which it may have chosen itself."""
    try:
        with open(f"/proc/{pid}/comm", "rb") as comm:
            name = comm.read().removesuffix(b"\n")
    except OSError:  # it has ended
        return str(pid)
    return f"{pid} ({printable(os.fsdecode(name))})"


def others(found: Prepared, socket: Socket, ours: Collection[Section] = ()) -> str:
    """A line about a device in it that is neither on loan nor the kernel's, and would be lost with it; "": none."""
    # By ifindex or MAC: before 5.13 a device's ifindex there is unknown, and a container may change either.
    numbers = {s.ifindex(layout.A_ASKED) for s in ours}
    macs = {link_of(s).mac for s in ours} - {b""}
    for link in lookups.links(socket):
        is_kernels = link.flags & uapi.IFF_LOOPBACK or link.name in FALLBACK
        if not is_kernels and link.ifindex not in numbers and link.mac not in macs:
            return (
                f"{NETNS_DIR}/{found.name}: {printable(os.fsdecode(link.name))} is in it, which `netdevns prepare` did "
                "not move there: it would be deleted, or return without addresses; move it away first"
            )
    return ""


def devices_of(namespaces: Namespaces, found: Prepared) -> list[Section]:
    return [s for each in namespaces.loans_of(found).values() for s in each if s.type == layout.DEVICE]


def link_of(device: Section) -> wire.Link:
    """The link of a lent device before its move."""
    return wire.Link(next(wire.messages(bytes(device.body))).body)

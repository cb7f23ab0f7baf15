"""The plan of a batch: the requested devices, the findings of the checks, and the open namespaces and sockets."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Self

from .. import state
from ..engine import EngineError, Socket, Watch
from ..engine.batch_device import BatchDevice
from ..errors import CheckFailed
from ..netlink import ifname, wire
from ..reports import Finding, Report
from ..state import kind
from ..state.kind import View
from ..system.netns import CURRENT, NetNS
from . import findings
from .findings import Found


def where(netns: NetNS | None) -> str:
    """A namespace as an operand of a finding."""
    return CURRENT if netns is None else netns.where


def called(netns: NetNS | None) -> str:
    """A namespace in a message."""
    return findings.called(where(netns))


class Asked:
    """A requested device, which may not exist.

    Attributes:
        host_name, ifname: Its name as a str from the caller, and as bytes for the kernel.
        wanted: Its name in the target.
        why_invalid, why_wanted_invalid: Why ifname and wanted are invalid, or None.
    """

    __slots__ = ("host_name", "ifname", "wanted", "why_invalid", "why_wanted_invalid")

    def __init__(self, host_name: str, wanted: str | None) -> None:
        self.host_name = host_name
        self.ifname = ifname.encode(host_name)
        self.wanted = ifname.encode(wanted) if wanted else self.ifname
        self.why_invalid = ifname.why_invalid(self.ifname)
        self.why_wanted_invalid = ifname.why_invalid(self.wanted) if wanted else self.why_invalid


def requested(devices: object) -> list[Asked]:
    """The devices of a mapping in the shape of `linux.netDevices`. Raises TypeError for wrong Python types."""
    if not isinstance(devices, Mapping):
        raise TypeError(f"devices must be a mapping of names, not {type(devices).__name__}")
    asked = []
    for host_name, value in devices.items():
        name = value.get("name") if isinstance(value, Mapping) else value
        if not isinstance(host_name, str):
            raise TypeError(f"a device name must be a str, not {type(host_name).__name__}")
        if name is not None and not isinstance(name, str):
            raise TypeError(f"{host_name}: the name in the container must be a str, not {type(name).__name__}")
        asked.append(Asked(host_name, name))
    return asked


# The kinds that `preserve` accepts.
PRESERVABLE = tuple(kind.name for kind in state.KINDS if kind.can_be_preserved)


def known_preserve(preserve: object) -> frozenset[str]:
    """The kinds of a `preserve`; raises ValueError for unknown ones, which would be lost silently."""
    if isinstance(preserve, (str, bytes)) or not hasattr(preserve, "__iter__"):
        raise TypeError("preserve must be a collection of names")
    kinds = [*preserve]
    for name in kinds:
        if not isinstance(name, str):
            raise TypeError(f"preserve: a kind must be a str, not {type(name).__name__}")
        if name not in PRESERVABLE:
            raise ValueError(f"preserve: unknown kind {name!r}; known are {', '.join(PRESERVABLE)}")
    return frozenset(kinds)


@dataclass(slots=True)
class Sides:
    """The open network namespaces of a batch.

    Attributes:
        source, target: The namespaces.
        source_socket, target_socket: A socket in each.
        visit: The descriptor by which to enter the source; -1: the caller is there.
    """

    source: NetNS
    source_socket: Socket
    visit: int
    target: NetNS
    target_socket: Socket


class Plan:
    """The result of `examine`, with the open namespaces and sockets. A context manager that closes them."""

    def __init__(self, asked: list[Asked], force: bool | frozenset[str]) -> None:
        self.asked = asked
        self.devices: list[BatchDevice] = []  # the existing ones, in the order of the request
        self.force = force  # the devices that may carry a default route: all, none, or these host names
        self.preserve: frozenset[str] = frozenset()  # of PRESERVABLE
        self.since_ms = 0  # when the state was read, and before the snapshots (clock.now_ms)
        self.loan_id = 0  # of the loan to write once all have arrived, random; 0: none
        self.found: list[Found] = []
        self.source: NetNS | None = None
        self.target: NetNS | None = None
        self.source_visit = -1  # the descriptor by which to enter the source; -1: the caller is there
        self.source_socket: Socket | None = None
        self.target_socket: Socket | None = None
        self.watch: Watch | None = None  # for changes of addresses in the source during the move
        # Links of the source by ifindex: the batch, all devices with a lower device, and all above the batch.
        self.links: dict[int, wire.Link] = {}
        self.uppers: list[BatchDevice] = []  # devices that stay in the source, stacked on the batch
        # State by kind, of the batch, its uppers, and the masters of both.
        self.state: dict[str, bytes] = {}
        self.losses: list[kind.Finding] = []  # findings of the kinds of state

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        for closable in (self.watch, self.source_socket, self.target_socket, self.source, self.target):
            if closable is not None:
                closable.close()

    @property
    def sides(self) -> Sides | None:
        """Both namespaces; None: one could not be opened, which is a finding."""
        if self.source and self.source_socket and self.target and self.target_socket:
            return Sides(self.source, self.source_socket, self.source_visit, self.target, self.target_socket)
        return None

    def view(self, devices: Iterable[BatchDevice]) -> View:
        """A view of these devices as in their snapshots, with the state of the plan."""
        devices = [*devices]
        links = {device.link.ifindex: wire.Link(memoryview(device.link_body)) for device in devices}
        return View(links, {device.link.ifindex: bytes(device.addresses) for device in devices}, self.state)

    def is_forced(self, device: BatchDevice) -> bool:
        return self.force if isinstance(self.force, bool) else device.host_name in self.force

    def find(self, code: str, device: Asked | BatchDevice | None = None, **operands: bytes | int | str) -> Found:
        """Adds a finding, about a device or about none."""
        self.found.append(found := Found(code, device.host_name if device else None, **operands))
        return found

    def request_failed(self, netns: NetNS | None, e: EngineError, what: str = "ask", refused: str = "system") -> Found:
        """Adds a finding about a failed request in a namespace, or a failed visit; `refused`: the code for EPERM."""
        what = "reply" if isinstance(e, wire.Malformed) else what
        code = refused if e.errno == errno.EPERM else "system"
        return self.find(code, netns=where(netns), what=what, errno=e.errno, extack=e.extack)

    @property
    def errors(self) -> list[Found]:
        return [found for found in self.found if found.severity == "error"]

    def report(self) -> Report:
        findings = tuple(Finding(f.device, f.severity, f.code, f.text, f.hint) for f in self.found)
        return Report(all(f.severity != "error" for f in findings), findings)


def too_many(count: int, *, is_move: bool) -> Plan:
    """The plan of a batch with too many devices: empty, with that finding. Raises CheckFailed if it is for a move."""
    plan = Plan([], force=False)
    found = plan.find("device.too-many", count=count)
    if is_move:
        raise CheckFailed(found.text, report=plan.report(), errno=found.errno, step="check")
    return plan

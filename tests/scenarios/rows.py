"""What a row of the table is: two furnished namespaces, what is asked for, and how it must end.

A set-up is lines of `ip -batch`, but for these, which give every number, so that two worlds of a row are equal:

    ifb NAME [WORD ...]         an ifb; words as in `ip link add`
    veth NAME [WORD ...]        a veth, and its peer NAMEp, which is up
    macvlan NAME LOWER          also macvtap
    bridge NAME
    vxlan NAME LOWER VNI
    up NAME ...                 sets links up
    sysctl PATH VALUE           /proc/sys/net/PATH
    tc WORD ... | fdb WORD ...  `tc WORD ...`, `bridge fdb WORD ...`
    proto DEVICE ADDRESS NUMBER an address with IFA_PROTO
    settle                      waits for DAD, carriers and what else the kernel does in its own time
    user                        the namespace belongs to a user namespace of its own; the first line
"""

from __future__ import annotations

import errno as e
from dataclasses import dataclass, field
from typing import Any

OK, REFUSED, FAILED = "ok", "refused", "failed"

# enum netdevns_state of csrc/netdevns.h.
DEFAULT_ROUTE, MASTER, ROUTES, NEXTHOPS, NEIGHBOURS, NEIGH_PARAMETERS, QDISC, UPPER = (1 << bit for bit in range(8))

# errno, severity: the table's own, not that of netdevns.batch.findings.
CODES = {
    "device.invalid-name": (e.ENODEV, "error"),
    "device.unknown": (e.ENODEV, "error"),
    "device.altname": (e.ENODEV, "error"),
    "device.twice": (e.EINVAL, "error"),
    "device.too-many": (e.E2BIG, "error"),
    "device.immutable": (e.EINVAL, "error"),
    "device.ends": (e.EBUSY, "error"),
    "device.busy": (e.EBUSY, "error"),
    "device.default-route": (e.EBUSY, "error"),
    "device.xdp": (0, "note"),
    "name.invalid": (e.EINVAL, "error"),
    "name.template": (e.EINVAL, "error"),
    "name.taken": (e.EEXIST, "error"),
    "name.taken-altname": (e.EEXIST, "error"),
    "name.own-altname": (e.EEXIST, "error"),
    "name.twice": (e.EEXIST, "error"),
    "altname.taken": (e.EEXIST, "error"),
    "netns.open": (e.EINVAL, "error"),
    "netns.same": (e.EINVAL, "error"),
    "permission.source": (e.EPERM, "error"),
    "permission.target": (e.EPERM, "error"),
    "ipv6.disabled": (e.EACCES, "error"),
    "system": (0, "error"),
    "loss.master": (0, "loss"),
    "loss.port": (0, "loss"),
    "loss.qdisc": (0, "loss"),
    "loss.routes": (0, "loss"),
    "loss.neighbours": (0, "loss"),
    "loss.fdb": (0, "loss"),
    "loss.upper": (0, "loss"),
    "loss.addresses": (0, "loss"),
}
STATE = {
    "device.default-route": DEFAULT_ROUTE,
    "loss.master": MASTER,
    "loss.port": MASTER,
    "loss.qdisc": QDISC,
    "loss.routes": ROUTES,
    "loss.neighbours": NEIGHBOURS,
    "loss.fdb": NEIGHBOURS,
    "loss.upper": UPPER,
}
# What netdevns_batch_open and netdevns_batch_add answer, which have no findings.
OF_OPEN = ("netns.open", "netns.same", "device.too-many", "permission.source", "permission.target")
# Where C has one code for a bit; and what Python restores, and has no code for.
CODES_OF_C = {"loss.port": "loss.master"}
MORE_OF_C = {NEXTHOPS: "loss.nexthops", NEIGH_PARAMETERS: "loss.neigh-parameters"}


@dataclass(frozen=True)
class Finding:
    """A finding, as every runner reports it; operands that a code does not have are empty."""

    code: str
    device: str | None
    severity: str
    errno: int
    name: str = ""
    other: str = ""
    ifindex: int = 0

    @classmethod
    def of(cls, fields: dict[str, Any]) -> Finding:
        return cls(**{name: fields[name] for name in cls.__dataclass_fields__})

    def __str__(self) -> str:
        operands = f"name={self.name!r} other={self.other!r} ifindex={self.ifindex}"
        return f"{self.severity} {self.code} {self.device} errno={self.errno} {operands}"


def found(
    code: str, device: str | None = "eth1", name: str = "", other: str = "", ifindex: int = 0, **more: Any
) -> Finding:
    """A finding as CODES has it; `more`: another errno or severity."""
    number, severity = CODES[code]
    fields = {"severity": severity, "errno": number, **more}
    return Finding(code, device, name=name, other=other, ifindex=ifindex, **fields)


@dataclass(frozen=True)
class Race:
    """What another process does while a move runs.

    Attributes:
        side, what, nth: When: "source" or "target", and the n-th notification there, "NEWLINK", "DELADDR", ...
        where: Where it does it.
        lines: What: lines of `ip -batch`; or `sysctl`.
    """

    side: str
    what: str
    nth: int
    where: str
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Row:
    """One scenario.

    Attributes:
        devices: Host name and name in the target, in order.
        found: What a check finds, in order.
        end: OK, REFUSED or FAILED.
        errno, step, device: Of a failure after the checks.
        accept: Bits that C accepts besides those of `found`; what it does not restore.
        to: The target: "target", "source" (the same), or a path that is no network namespace.
        is_here: Whether the caller is in the source; otherwise it is given as a descriptor.
        drop: Capabilities that the caller gives up.
        enter: Whose user namespace the caller enters: "source", "target", or "" for none.
        busy: What another mover holds: "source" or "target", an ifindex, and for how many seconds.
        left: Whether something cannot be restored, which is then reported; of a move that succeeds, by the undo of C.
        changes: Parts of the source's state that a race changes and no undo restores.
        arrives: Addresses that a race adds, which must be in the target; of a move that fails, in the source.
        only: The runners; () is all of them.
        is_modelled: Whether `model` knows what arrives.
        is_compared: Whether the runners leave the same; not where chance decides.
    """

    id: str
    source: tuple[str, ...]
    devices: tuple[tuple[str, str], ...]
    target: tuple[str, ...] = ()
    found: tuple[Finding, ...] = ()
    end: str = ""
    errno: int = 0
    step: str = ""
    device: str | None = None
    force: bool = False
    accept: int = 0
    to: str = "target"
    is_here: bool = True
    drop: tuple[int, ...] = ()
    enter: str = ""
    busy: tuple[str, int, float] | None = None
    race: Race | None = None
    left: bool = False
    changes: tuple[str, ...] = ()
    arrives: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    is_modelled: bool = True
    is_compared: bool = True
    smoke: bool = field(default=False, compare=False)

    @property
    def errors(self) -> tuple[Finding, ...]:
        return tuple(each for each in self.found if each.severity == "error")

    @property
    def found_by_c(self) -> list[Finding]:
        """What C finds: one finding for a device and a bit."""
        found: list[Finding] = []
        for each in self.found:
            if each.code in STATE and each.severity != "error":
                code = CODES_OF_C.get(each.code, each.code)
                each = Finding(code, each.device, "loss", 0, other=each.other)
                if each in found:
                    continue
            found.append(each)
        for bit, code in MORE_OF_C.items():
            if self.accept & bit:
                found.append(Finding(code, self.devices[0][0], "loss", 0))
        return found

    @property
    def wanted(self) -> str:
        """How it ends."""
        return self.end or (REFUSED if self.errors else FAILED if self.step else OK)

    @property
    def accepted(self) -> int:
        """The bits that C is given."""
        bits = self.accept
        for each in self.found:
            if each.severity != "error":
                bits |= STATE.get(each.code, 0)
        return bits


def lines(text: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in text.strip().splitlines() if line.strip())


def row(
    id_: str,
    source: str | tuple[str, ...],
    devices: str | dict[str, str] | tuple[tuple[str, str], ...] = "eth1=net0",
    *findings: Finding,
    target: str | tuple[str, ...] = (),
    **more: Any,
) -> Row:
    """A row; `devices` as the command has them: "eth1=net0 low"."""
    if isinstance(devices, str):
        pairs = tuple((each.partition("=")[0], each.partition("=")[2]) for each in devices.split())
    else:
        pairs = tuple(devices.items()) if isinstance(devices, dict) else devices
    sides = [lines(each) if isinstance(each, str) else tuple(each) for each in (source, target)]
    return Row(id_, sides[0], pairs, target=sides[1], found=findings, **more)

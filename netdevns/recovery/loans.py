"""Writes and reads loans: the host-side state of a container's devices, kept until the devices return.

A loan is JOURNAL_DIR/loan/<container id>, in the format of a move's record; `recover` never touches it. The
createRuntime hook writes it as the last step of its move. It is removed when each of its devices is restored, or was
deleted with the container.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Collection
from typing import Self

from .. import limits
from ..batch.plan import Plan, Sides
from ..engine.batch_device import BatchDevice
from ..reports import Loan
from ..system import folders
from ..system.netns import CURRENT
from ..text import quote
from . import identity, layout, recover
from .earlier import is_from
from .layout import Damaged, Section
from .record import recorded
from .store import LONGEST, Journal

FOLDER = recover.LOANS
PREPARED = "prepared"  # the folder of prepared.py
SAMPLE = 2  # loans of other containers that a hook checks
_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+@=,")


def are_there(directory: str = folders.JOURNAL_DIR, folder: str = FOLDER) -> bool:
    """Whether there is any loan, or any record in another folder."""
    try:
        return bool(os.listdir(f"{directory}/{folder}"))
    except OSError:
        return False


def file_name(container: str) -> str:
    """A container's id as a file name: percent-encoded, and cut if it is long; the record has the whole id."""
    return _escaped(container)[:LONGEST]


def is_cut(container: str) -> bool:
    """Whether the file name is cut, so that another id may have the same one."""
    return len(_escaped(container)) > LONGEST


def _escaped(container: str) -> str:
    data = container.encode("utf-8", "surrogatepass")
    return "".join(chr(b) if b in _PLAIN or (b == ord(".") and i) else f"%{b:02X}" for i, b in enumerate(data))


class Lender:
    """Writes the loan of a container; a context manager that closes the folder of the loans.

    Args:
        directory: JOURNAL_DIR.
        container: Its id, of at most `limits.CONTAINER_BYTES`.

    Raises:
        OSError: The folder of the loans cannot be opened or created, or the id is too long; nothing has been moved yet.
    """

    __slots__ = ("_loans", "container", "loan_id", "lost")

    def __init__(self, directory: str, container: str) -> None:
        size = len(container.encode("utf-8", "surrogatepass"))
        if size > limits.CONTAINER_BYTES:
            text = f"the container's id has {size} bytes, at most {limits.CONTAINER_BYTES} are allowed"
            raise OSError(errno.ENAMETOOLONG, text, directory)
        self._loans = Journal(directory, create=True, folder=FOLDER)
        self.container = container
        self.loan_id = 0  # identifies the loan, once it may exist
        self.lost: dict[str, list[str]] = {}  # what was not carried, by the device's name, once the loan is written

    def lend(self, plan: Plan, sides: Sides, members: list[BatchDevice]) -> None:
        """Writes the loan of the devices that were moved. Raises OSError."""
        attrs: dict[int, int | bytes] = {layout.A_CONTAINER: self.container.encode("utf-8", "surrogatepass")}
        self.loan_id = plan.loan_id
        try:
            head, *rest = recorded(plan, sides, members, [])
            parts = [head, *layout.section(layout.LOAN, attrs), *rest]
            self._loans.write(parts, name=file_name(self.container)).close()
            self.lost = {member.label: member.lost for member in members}
        except OSError:
            self.loan_id = 0  # it does not exist
            raise

    def retract(self) -> None:
        """Removes the loan if it exists: the move was undone."""
        if self.loan_id:
            recover.retract(self._loans, self.loan_id)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._loans.close()


def container_of(sections: list[Section]) -> str:
    """The container of a loan. Raises Damaged."""
    for section in sections:
        if section.type == layout.LOAN:
            try:
                return section.text(layout.A_CONTAINER).decode("utf-8", "surrogatepass")
            except UnicodeDecodeError:
                raise Damaged("malformed container id") from None
    raise Damaged("the container id is missing")


def host_names(sections: list[Section]) -> list[bytes]:
    """The host names of a loan's devices."""
    return [s.text(layout.A_IFNAME) for s in sections if s.type == layout.DEVICE]


def listed(
    directory: str = folders.JOURNAL_DIR, *, devices: Collection[str | None] | None = None, source: object = None
) -> list[Loan]:
    """Lists lent devices, as far as the caller may read the loans; takes no lock and changes nothing.

    Args:
        directory: JOURNAL_DIR.
        devices: Only these, by their names on the host; None: all.
        source: Only of this namespace; None: of any.
    """
    found: list[Loan] = []
    try:
        with Journal(directory, create=False, folder=FOLDER) as loans:
            boot = layout.boot_id()
            for record in loans.seen():
                try:
                    sections = record.sections()
                    container = container_of(sections)
                    is_meant = source is None or is_from(sections, source)
                    is_current = is_meant and sections[0].text(layout.A_BOOT) == boot
                    chosen = []
                    for section in sections if is_current else ():
                        if section.type == layout.DEVICE:
                            names = [os.fsdecode(section.text(a)) for a in (layout.A_HOST_NAME, layout.A_WANTED)]
                            if devices is None or names[0] in devices:
                                chosen.append((names[0], section.ifindex(layout.A_IFINDEX), names[1]))
                    is_ended = bool(chosen) and identity.is_orphan(layout.target(sections))
                    found += [Loan(container, *each, record.path, is_ended) for each in chosen]
                except (Damaged, OSError):
                    continue  # reported by `netdevns return`
    except OSError:  # no folder, or no permission
        return found
    return found


def lines(devices: Collection[str | None], source: object = CURRENT) -> list[str]:
    """A line for each of these devices of a namespace that is on loan: its container, and how to get it back."""
    found, namespaces = [], prepared()
    for loan in listed(devices=devices, source=source):
        live, again = live_command(loan.container, namespaces), command(loan.container, namespaces)
        todo = f": `{live}` restores it" if live else ""
        todo += f"; when it has ended, run `{again}`" if again != live else ""
        found.append(f"{loan.device}: {whereabouts(loan.container, namespaces)} ({loan.record}){todo}")
    return found


def network_of(container: str) -> tuple[str, str] | None:
    """The container and the network of a podman network's loan (oci/netavark.py), or None.

    The container as podman prints it: 12 digits.
    """
    id_, _, network = container.partition(":")
    return (id_[:12], network) if network and len(id_) == 64 and not id_.strip("0123456789abcdef") else None


def of_pod(sandbox: str, label: str) -> str:
    """The id of the loan of a pod's sandbox (nri/pods.py); `label`: NAMESPACE/NAME."""
    return f"pod:{sandbox}:{label}"


def pod_of(container: str) -> tuple[str, str] | None:
    """The sandbox and the label of a pod's loan, or None."""
    kind, _, rest = container.partition(":")
    sandbox, _, label = rest.partition(":")
    return (sandbox, label) if kind == "pod" and sandbox and label else None


def holder(container: str, namespaces: Collection[str]) -> str:
    """The words for the place of a lent device, as "to container c1"; `namespaces`: the prepared ones."""
    if container in namespaces:
        return f"in the prepared namespace {container}"
    if pod := pod_of(container):
        return f"to pod {pod[1]}"
    network = network_of(container)
    return f"to podman container {network[0]}, network {network[1]}" if network else f"to container {container}"


def whereabouts(container: str, namespaces: Collection[str]) -> str:
    """The words for a lent device's state: "on loan to container c1", "in the prepared namespace blue"."""
    return f"{'' if container in namespaces else 'on loan '}{holder(container, namespaces)}"


def live_command(container: str, namespaces: Collection[str]) -> str:
    """The command that restores a container's devices while their namespace exists; "" if there is none."""
    network = network_of(container)
    if container in namespaces:
        return command(container, namespaces)
    if pod := pod_of(container):
        namespace, _, name = pod[1].rpartition("/")
        return quote.command("kubectl", "delete", "pod", "--namespace", namespace or "default", name)
    return quote.command("podman", "network", "disconnect", network[1], network[0]) if network else ""


def command(container: str, namespaces: Collection[str]) -> str:
    """The command that restores a container's devices, once it has ended; `namespaces`: the prepared ones."""
    if container in namespaces:
        return quote.command("netdevns", "prepare", container, "--undo")
    return quote.command("netdevns", "return", *["--"] * container.startswith("-"), container)


def prepared(directory: str = folders.JOURNAL_DIR) -> frozenset[str]:
    """The names of prepared namespaces, as far as the caller may read their records."""
    found = set()
    try:
        with Journal(directory, create=False, folder=PREPARED) as opened:
            for record in opened.seen():
                with contextlib.suppress(Damaged, OSError):  # reported by `recover`
                    found.add(container_of(record.sections()))
    except OSError:  # no folder, or no permission
        return frozenset()
    return frozenset(found)


def orphans(opened: Journal) -> set[str]:
    """The names of loans of containers whose first process has ended, in a random sample of the loans.

    A hook pays for this, and a busy host has as many loans as containers: the next hook checks others.
    """
    found = set()
    for record in opened.seen(_some(opened.names())):
        with contextlib.suppress(Damaged, OSError):  # reported by `netdevns return`
            container_of(sections := record.sections())
            if identity.is_orphan(layout.target(sections)):
                found.add(record.name)
    return found


def _some(all_names: list[str]) -> list[str]:
    if len(all_names) <= SAMPLE:
        return all_names
    all_names.sort()
    at = int.from_bytes(os.urandom(4), "little") % len(all_names)
    return (all_names + all_names)[at : at + SAMPLE]


def of_container(opened: Journal, container: str) -> set[str]:
    """The names of a container's loans; opens only loans whose file name may be the container's."""
    name, found = file_name(container), set()
    for record in opened.seen(each for each in opened.names() if each == name or each.startswith(f"{name}~")):
        try:
            is_one = container_of(record.sections()) == container
        except (Damaged, OSError):
            is_one = record.name == name  # reported once it is locked
        if is_one:
            found.add(record.name)
    return found


def naming(opened: Journal, devices: Collection[bytes]) -> set[str]:
    """The names of loans with one of these devices; most loans are skipped without decoding."""
    found = set()
    for record in opened.seen():
        with contextlib.suppress(Damaged, OSError):  # reported by `netdevns return`
            data = record.data()
            if not any(name in data for name in devices):
                continue
            container_of(sections := layout.parse(data))
            if {*devices} & {*host_names(sections)}:
                found.add(record.name)
    return found

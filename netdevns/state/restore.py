"""Restores state of all kinds: the one driver for undo, recovery, returned loans and `preserve`.

For each stage and kind it reads the present state, sends the repairs, and reads again. Every pass can be repeated.
Remaining differences are reported, with the kernel's error.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from ..engine import EngineError, Socket, lookups
from ..netlink import wire
from . import masters
from .kind import DOWN, LATE, File, Here, Kind, Repair, View

# A port must have its link first: the kernel notices it in a work item that runs at most once a second (net/core/
# link_watch.c), a bond at its next miimon poll.
LATE_S = 1.5
PAUSE_S = 0.01
PASSES = 8  # another process may be changing the device at the same time


@dataclass(slots=True)
class Unrestored:
    """A difference that could not be repaired.

    Attributes:
        kind: The name of the kind of state.
        ifindex: The device; 0: none of the batch.
        words: The difference, and the kernel's error if it refused the request.
        is_unrestorable: Whether no request can restore it, so that another try is pointless.
    """

    kind: str
    ifindex: int
    words: str
    is_unrestorable: bool


class Restorer:
    """Sends the repairs of several kinds of state in one namespace.

    Args:
        kinds: The kinds of state, in order.
        socket: In the namespace of the devices.
        visit: A descriptor of that namespace, to enter it for files below /proc/sys/net; -1: the caller is there.
        before: The state to restore.
        about: Further ifindexes to read state of: other devices of the batch.
        preserve: Set preserved state in the target instead; a failed exchange then raises EngineError.
    """

    def __init__(
        self,
        kinds: Sequence[Kind],
        socket: Socket,
        visit: int,
        before: View,
        about: Collection[int] = (),
        *,
        preserve: bool = False,
    ) -> None:
        self._kinds = kinds
        self._by_name = {kind.name: kind for kind in kinds}
        self._socket = socket
        self._visit = visit
        self._before = before
        self._about = about
        self._preserve = preserve
        self._masters: dict[int, int] | None = None  # ifindex before -> ifindex now; None: not looked up yet
        self._refused: dict[object, str] = {}  # the kernel's error, by request
        # Valid until something is sent: the devices with their present state, and the repairs by kind.
        self._seen: tuple[object, View] | None = None
        self._found: dict[str, list[Repair]] = {}
        self._again: list[tuple[Kind, int]] = []  # kinds and stages whose exchange failed

    def run(self, stages: Iterable[int], here: Here, only: Collection[int] | None = None) -> None:
        """Runs these stages; `unrestored` reports failures.

        `here`: the devices. `only`: restricts it to these present ifindexes.
        """
        self._forget()
        here = self._with_masters(here)
        for stage, kind in ((stage, kind) for stage in stages for kind in self._kinds if stage in kind.stages):
            try:
                self._run(kind, stage, here, only)
            except EngineError:
                if self._preserve:
                    raise
                self._forget()
                self._again.append((kind, stage))

    def unrestored(self, here: Here) -> Iterator[Unrestored]:
        """The remaining differences, kind by kind, after another try of stages whose exchange failed."""
        again, self._again = self._again, []
        here = self._with_masters(here)
        for kind, stage in again:
            with contextlib.suppress(EngineError):  # reported below, if it persists
                self._forget()
                self._run(kind, stage, here, None)
        self._forget()
        for kind in self._kinds:
            found: dict[tuple[int, str], Unrestored] = {}
            try:
                for each in self._repairs(kind, here, None):
                    error = self._refused.get(_key(each.alone)) or self._refused.get(_key(each.request))
                    words = f"{each.words}: {error}" if error else each.words
                    key = each.ifindex, each.words
                    if error or key not in found:
                        found[key] = Unrestored(kind.name, each.ifindex, words, is_unrestorable=not each.request)
            except EngineError as e:
                if self._preserve:
                    raise
                yield Unrestored(kind.name, 0, f"{kind.name}: {lookups.format_error(e)}", is_unrestorable=False)
                self._forget()
            yield from found.values()

    def _run(self, kind: Kind, stage: int, here: Here, only: Collection[int] | None) -> None:
        sent: set[object] = set()
        end = time.monotonic() + LATE_S if stage == LATE else 0.0
        for _ in range(PASSES if stage != LATE else int(LATE_S / PAUSE_S) + 1):
            todo = [r for r in self._repairs(kind, here, only) if r.stage == stage and r.request]
            requests: dict[object, tuple[int, bytes | File]] = {}
            for each in todo:
                if request := self._chosen(each, sent if stage != LATE else set()):
                    requests.setdefault(_key(request), (each.ifindex, request))
            if not requests:
                return
            self._send(requests, stage)
            sent |= requests.keys()
            if stage == LATE:
                if time.monotonic() >= end:
                    return
                time.sleep(PAUSE_S)

    def _chosen(self, repair: Repair, sent: Collection[object]) -> bytes | File | None:
        """The shared request of a repair, or else the one for it alone; None: both were sent."""
        if _key(repair.request) not in sent:
            return repair.request
        if repair.alone and _key(repair.request) in self._refused and _key(repair.alone) not in sent:
            return repair.alone
        return None

    def _repairs(self, kind: Kind, here: Here, only: Collection[int] | None) -> list[Repair]:
        if not kind.is_in_links and not self._before.of(kind.name):
            return []
        now = self._look(kind, here, only)
        if kind.name not in self._found:
            make = kind.preserve if self._preserve else kind.repairs
            self._found[kind.name] = [*make(self._before, now, here)]
        return [repair for repair in self._found[kind.name] if only is None or repair.ifindex in only]

    # ---- reading ----

    def _forget(self) -> None:
        self._seen = None
        self._found = {}

    def _with_masters(self, here: Here) -> Here:
        """`here` with the masters that exist, which are looked up once."""
        if self._masters is None and not self._preserve:
            known = masters.links_of(self._before)
            had = {link.master for link in self._before.links.values() if link.master}
            self._masters = {ifindex: ifindex for ifindex in had}
            with contextlib.suppress(EngineError):  # the next request reports it
                found = masters.found_again(self._socket, self._before) if known else {}
                self._masters = {ifindex: ifindex for ifindex in had if ifindex not in known} | found
        return {**(self._masters or {}), **here}

    def _look(self, kind: Kind, here: Here, only: Collection[int] | None) -> View:
        """The present links, and the state that this kind needs. Raises EngineError."""
        devices = [here[ifindex] for ifindex in self._before.links if ifindex in here]
        devices = devices if only is None else [ifindex for ifindex in devices if ifindex in only]
        if self._seen is None or self._seen[0] != devices:
            masters = {here[ifindex] for ifindex in here if ifindex not in self._before.links}
            self._forget()
            self._seen = devices, View(self._links(devices, masters), {}, {})
        view = self._seen[1]
        about = {*view.links} if only is not None else {*view.links, *here.values(), *self._about}
        state = dict(view.state)
        for name in (*kind.needs, kind.name):
            if name not in state and name in self._by_name:
                state[name] = self._by_name[name].read(self._socket, view.links, about)
        view.state = state
        return view

    def _links(self, devices: Collection[int], masters: Collection[int]) -> dict[int, wire.Link]:
        """The existing links among these devices, and their masters before and now."""
        found = self._ask({*devices, *masters})
        return found | self._ask({link.master for link in found.values() if link.master} - found.keys())

    def _ask(self, ifindexes: Collection[int]) -> dict[int, wire.Link]:
        answers = lookups.ask(self._socket, [wire.get_link(ifindex) for ifindex in sorted(ifindexes)])
        return {link.ifindex: link for link in map(lookups.link_of, answers) if link}

    # ---- sending ----

    def _send(self, requests: dict[object, tuple[int, bytes | File]], stage: int) -> None:
        """Sends requests in order; consecutive files are written in one visit to the namespace."""
        self._forget()
        files: dict[str, str] = {}
        for ifindex, request in requests.values():
            if isinstance(request, File):
                files[request.path] = request.text
                continue
            self._write(files)
            files = {}
            self._note(request, self._sent(request, ifindex if stage == DOWN else 0))
        self._write(files)

    def _write(self, files: dict[str, str]) -> None:
        if files:
            with Socket(self._visit, files) as visit:
                for path, result in visit.files.items():
                    error = os.strerror(-result) if isinstance(result, int) else ""
                    self._note(File(path, files[path]), error)

    def _note(self, request: bytes | File, error: str) -> None:
        if error:
            self._refused[_key(request)] = error
        else:
            self._refused.pop(_key(request), None)

    def _sent(self, request: bytes, ifindex: int) -> str:
        """Sends a request; returns the kernel's error, or "".

        Some drivers accept some settings only while the device is down, and a bond accepts no slave that is up
        (EPERM): `ifindex` is then set down for a second try.
        """
        try:
            self._socket.command(request)
        except EngineError as e:
            if e.errno not in (errno.EBUSY, errno.EPERM) or not ifindex:
                return lookups.format_error(e)
        else:
            return ""
        try:
            self._socket.command(wire.down_message(ifindex))
            self._socket.command(request)
        except EngineError as e:
            return lookups.format_error(e)
        return ""


def _key(request: bytes | File | None) -> object:
    return (request.path, request.text) if isinstance(request, File) else request

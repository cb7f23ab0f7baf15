"""Moves the devices of pods into their network namespaces, and returns them; settles what was missed meanwhile."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from .. import api
from ..engine import Socket
from ..errors import CheckFailed, ConfigInvalid, NetDevError
from ..netlink import uapi
from ..oci import handover, netavark_devices
from ..recovery import identity, layout, loans, recover, returns
from ..recovery.layout import Damaged
from ..recovery.return_home import LIVES_ON
from ..recovery.store import TXN, Journal
from ..reports import Recovered
from ..system.folders import JOURNAL_DIR
from ..system.interrupts import Interrupts
from ..system.netns import CURRENT, NetNS, is_at
from ..text import outcome
from ..text.quote import quoted
from .messages import Pod
from .rules import Rules

# Lines for the log: about a pod, or none in particular (""), and whether they are errors.
Report = Callable[[str, Sequence[str], bool], None]
Step = Callable[[float], None]
UNCALLED = "the runtime has removed its network namespace without a call"
PAUSE_S, PAUSE_MAX_S = 1.0, 60.0  # between two tries to return devices from a namespace that only the plugin holds


@dataclass
class _Held:
    """A pod's network namespace that is held open.

    Attributes:
        pause_s: Until the next try to return its devices, after one that failed; 0: there was none.
        due: The time of the monotonic clock of the next try.
    """

    pod: Pod
    netns: NetNS
    pause_s: float = 0.0
    due: float = 0.0

    def begin(self) -> None:
        """Notes that a try begins."""
        self.pause_s = min(2 * self.pause_s or PAUSE_S, PAUSE_MAX_S)
        self.due = time.monotonic() + self.pause_s


class Pods:
    """The pods of a runtime; used by one thread.

    A network namespace with devices is held open until they are returned: a runtime that was restarted does not call
    StopPodSandbox for older pods (containerd issue 8426), and the virtual devices would end with the namespace.

    Args:
        rules: What the operator grants.
        report: Gets lines.
    """

    def __init__(self, rules: Rules, report: Report) -> None:
        self._rules = rules
        self._report = report
        self._held: dict[str, _Held] = {}  # by loan

    def start(self, pod: Pod, end: float) -> list[str]:
        """`ensure`, and reports the annotations that are ignored."""
        ignored = self._rules.ignored(pod)
        words = "ignored: no --allow matches this device for this pod"
        self._report(pod.label, [f"{quoted(each)}: {words}" for each in ignored], False)
        return self.ensure(pod, end)

    def ensure(self, pod: Pod, end: float) -> list[str]:
        """Moves the devices that a pod's annotations ask for and that it does not have yet, all or none.

        Args:
            pod: One that runs.
            end: The time of the monotonic clock at which no further device is moved, and the move is undone.

        Returns:
            Lines about devices that were restored first, and state that was not carried.

        Raises:
            ConfigInvalid: The annotations are invalid, or the pod has no network namespace of its own; nothing was
                touched.
            NetDevError: As `move`.
        """
        devices = self._missing(pod)
        lines = self._moved(pod, devices, end) if devices else []
        if self._rules.devices(pod):
            self._hold(pod)
        return lines

    def _missing(self, pod: Pod) -> dict[str, str]:
        devices = self._rules.devices(pod)
        if not devices:
            return {}
        loan = loan_of(pod)
        lent = {each.device for each in loans.listed(devices=devices) if each.container == loan}
        return {device: name for device, name in devices.items() if device not in lent}

    def _moved(self, pod: Pod, devices: Mapping[str, str], end: float) -> list[str]:
        if not pod.netns:
            raise _is_on_host(pod, devices)
        interrupts = Interrupts()
        with (
            NetNS.open(pod.netns) as target,
            NetNS.open(CURRENT) as own,
            api.open_journal(JOURNAL_DIR) as journal,
            handover.open_lender(loan_of(pod)) as lender,
        ):
            if target.same(own):
                raise _is_on_host(pod, devices)
            earlier = handover.settled(journal, devices, own, interrupts, wait_s=_left_s(end))
            api.transact(
                devices,
                target,
                force=self._rules.forced(pod, [*devices]),
                timeout_s=_left_s(end),
                lender=lender,
                interrupts=interrupts,
                earlier=earlier,
            )
            return handover.settled_lines(earlier) + outcome.not_carried(lender.lost)

    def give_back(self, pod: Pod) -> None:
        """Returns the devices of a pod that is stopped or removed to the host, and reports those that are not restored.

        Args:
            pod: Its network namespace mostly still exists; devices of one that has ended are restored, too.

        Raises:
            NetDevError: The records or loans cannot be read; nothing was touched.
        """
        loan = loan_of(pod)
        held = self._held.get(loan)
        if held:
            held.begin()
        if loans.are_there() or loans.are_there(folder=TXN):
            path = pod.netns or (held.pod.netns if held else "/")
            results = netavark_devices.teardown(path, loan, None)
            self._report(pod.label, *_lines(results))
            if any(each.outcome == "kept" and (each.device is None or each.location == "target") for each in results):
                return  # virtual devices would end with the namespace
        self._release(loan)

    # ---- namespaces that are held ------------------------------------------------------------------------------------

    def _hold(self, pod: Pod) -> None:
        if loan_of(pod) in self._held:
            return
        try:
            with NetNS.open(pod.netns) as by_path, Socket(by_path.fd) as socket:
                # Not a descriptor of the path: once that is unmounted, recovery could not recognize it in /proc/*/fd.
                self._held[loan_of(pod)] = _Held(pod, NetNS(fcntl.ioctl(socket.fd, uapi.SIOCGSKNS), pod.netns))
        except NetDevError:  # removed meanwhile
            return
        except OSError as e:
            text = f"its network namespace cannot be held open: {e.strerror}"
            self._report(pod.label, [f"{text}; if the runtime is restarted, virtual devices end with the pod"], True)

    def _release(self, loan: str) -> None:
        if loan in self._held:
            self._held.pop(loan).netns.close()

    def look(self) -> None:
        """Returns the devices of pods whose network namespace the runtime has removed; repeats that where it fails.

        Not while the sandbox's process runs in it: the path may have vanished from this mount namespace only.
        """
        for held in [*self._held.values()]:
            pod, is_due = held.pod, time.monotonic() >= held.due
            if not is_due or _is_at(held.netns, pod.netns) or _is_at(held.netns, f"/proc/{pod.pid}/ns/net"):
                continue
            if not held.pause_s:
                self._report(pod.label, [f"{UNCALLED}; its devices are restored"], False)
            try:
                self.give_back(pod)
            except NetDevError as e:
                self._report(pod.label, lines_of(e), True)

    # ---- what was missed ---------------------------------------------------------------------------------------------

    def missed(self, pods: Sequence[Pod]) -> Iterator[Step]:
        """The steps that settle what happened while the plugin was not connected; each gets the time at which it ends.

        Moves that were killed are undone; devices of pods that have ended are restored; a pod that runs without its
        devices gets them. Each step reports by itself, and none raises an error of a device.

        Args:
            pods: All that the runtime knows.
        """
        yield lambda _: self.look()  # what is held here must not count as alive
        yield lambda _: self._undo_killed()
        listed = {loan_of(pod): pod for pod in pods}
        for loan in sorted({each.container for each in loans.listed() if loans.pod_of(each.container)}):
            yield lambda _, loan=loan: self._settle(loan, listed.get(loan))  # type: ignore[misc]
        for pod in pods:
            yield lambda end, pod=pod: self._complete(pod, end)  # type: ignore[misc]

    def _undo_killed(self) -> None:
        try:
            results = recover.undo_crashed(JOURNAL_DIR, interrupts=Interrupts())
        except OSError as e:
            return self._report("", [f"{e.filename or JOURNAL_DIR}: {e.strerror}: killed moves are not undone"], True)
        wrong = outcome.record_lines(each for each in results if recover.is_wrong(each))
        undone = [
            f"{each.device}: a killed move was undone: {each.text}" for each in results if each.outcome == "undone"
        ]
        return self._report("", wrong + undone, bool(wrong))

    def _settle(self, loan: str, pod: Pod | None) -> None:
        """Restores the devices of a pod whose namespace has ended, or was removed by the runtime; holds any other."""
        _, label = loans.pod_of(loan) or ("", loan)
        try:
            results = returns.return_loans(container=loan, wait_s=returns.WAIT_S, interrupts=Interrupts())
            lives = [each for each in results if each.text.startswith(LIVES_ON)]
            is_there = bool(lives) and (pod is None or _is_in_use(loan, pod.pid))
            if lives and not is_there:  # another process keeps it
                results = netavark_devices.teardown("/", loan, None)
        except OSError as e:  # also NetDevError
            text = str(e) if isinstance(e, NetDevError) else f"{e.filename or JOURNAL_DIR}: {e.strerror}"
            return self._report(label, [f"{text}: its devices are not restored"], True)
        lines, is_error = _lines([each for each in results if not is_there or each not in lives])
        lines += [f"{each.device}: restored, as the pod has ended" for each in results if each.outcome == "undone"]
        if is_there and pod is not None:
            self._hold(pod)
        elif is_there:
            names = ", ".join(each.device or each.record for each in lives)
            text = "the runtime does not know this pod, but its network namespace exists, and has these"
            again = loans.command(loan, ())
            lines.append(f"{names}: {text}; end the processes in it (lsns --type net), then run `{again}`")
        return self._report(label, lines, is_error or (is_there and pod is None))

    def _complete(self, pod: Pod, end: float) -> None:
        """Moves the devices of a pod that started without them, if it still runs."""
        words = "it started while the plugin was not connected"
        try:
            if self._missing(pod) and _runs(pod):
                lines = self.ensure(pod, end)
                self._report(pod.label, [f"{words}; it has its devices now", *lines], False)
        except (ConfigInvalid, NetDevError) as e:
            self._report(pod.label, [f"{words}, and runs without its devices", *lines_of(e)], True)


def loan_of(pod: Pod) -> str:
    """The id of a pod's loan."""
    return loans.of_pod(pod.id, pod.label)


def _is_in_use(loan: str, pid: int) -> bool:
    """Whether the runtime has not removed the namespace of a loan: it is mounted, or the sandbox's process is in it.

    Raises:
        OSError: That is not known.
    """
    with Journal(JOURNAL_DIR, create=False, folder=loans.FOLDER) as opened:
        for record in opened.seen(loans.of_container(opened, loan)):
            with contextlib.suppress(Damaged):  # set aside by the return
                target = layout.target(record.sections())
                where = target.number(layout.A_DEV), target.number(layout.A_INO)
                return identity.is_mounted(target) or _inode(f"/proc/{pid}/ns/net") == where
    return False


def _inode(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino


def lines_of(e: ConfigInvalid | NetDevError) -> list[str]:
    """An error as lines: what failed, where the devices are, and what to do."""
    if isinstance(e, ConfigInvalid):
        return [str(e), outcome.UNTOUCHED]
    lines = outcome.lines_of(e, loans.lines)
    if isinstance(e, CheckFailed):
        for found in e.report.findings:
            if found.code == "device.default-route" and found.severity == "error" and found.text in lines:
                text = f"{found.device}: it carries a default route of the host"
                lines[lines.index(found.text)] = f"{text}; to move it anyway, start the plugin with --force"
    return lines


def _is_on_host(pod: Pod, devices: Mapping[str, str]) -> ConfigInvalid:
    names = ", ".join(quoted(each) for each in devices)
    return ConfigInvalid(
        f"pod {quoted(pod.label)} uses the host's network namespace, where the devices are already ({names}): "
        "remove hostNetwork or the annotations"
    )


def _left_s(end: float) -> float:
    return max(0.0, end - time.monotonic())


def _lines(results: Sequence[Recovered]) -> tuple[list[str], bool]:
    """Lines about devices that are not restored, or have ended; and whether they are errors."""
    kept = outcome.record_lines(each for each in results if each.outcome == "kept")
    ended = [f"{each.device}: {each.text}" for each in results if each.outcome == "gone"]
    return kept + ended, bool(kept)


def _is_at(netns: NetNS, path: str) -> bool:
    """Whether a path names a namespace; also where that is unknown."""
    try:
        return is_at(netns, path)
    except OSError as e:
        return not isinstance(e, ProcessLookupError)  # of a process that has ended


def _runs(pod: Pod) -> bool:
    """Whether its first process still runs, in its network namespace."""
    found = _inode(f"/proc/{pod.pid}/ns/net")
    return found is not None and found == _inode(pod.netns or "/")

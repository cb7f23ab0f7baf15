"""Moves the devices of a pod into its network namespace, and returns them; settles what was missed meanwhile."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from .. import api
from ..errors import CheckFailed, ConfigInvalid, NetDevError
from ..oci import handover, netavark_devices
from ..recovery import loans, recover, returns
from ..recovery.return_home import LIVES_ON
from ..reports import Recovered
from ..system.folders import JOURNAL_DIR
from ..system.interrupts import Interrupts
from ..system.netns import CURRENT, NetNS
from ..text import outcome
from ..text.quote import quoted
from .messages import Pod
from .rules import Rules

# Lines for the log: about a pod (or all of them), and whether they are errors.
Report = Callable[[str, Sequence[str], bool], None]
EVERYONE = ""


def loan_of(pod: Pod) -> str:
    """The id of a pod's loan."""
    return loans.of_pod(pod.id, pod.label)


def run(pod: Pod, rules: Rules, end: float) -> list[str]:
    """Moves the devices that a pod's annotations ask for, all or none.

    Args:
        pod: Before any of its containers starts.
        rules: What the operator grants.
        end: The time of the monotonic clock at which no further device is moved, and the move is undone.

    Returns:
        Lines about devices that were restored first, state that was not carried, and annotations that were ignored.

    Raises:
        ConfigInvalid: The annotations are invalid, or the pod has no network namespace of its own; nothing was touched.
        NetDevError: As `move`.
    """
    lines = [f"{quoted(each)}: ignored: no --allow matches this device for this pod" for each in rules.ignored(pod)]
    devices = rules.devices(pod)
    return lines + _moved(pod, devices, rules.forced(pod, [*devices]), end) if devices else lines


def _moved(pod: Pod, devices: Mapping[str, str], forced: frozenset[str], end: float) -> list[str]:
    if not pod.netns:
        raise _is_on_host(pod, devices)
    interrupts = Interrupts()
    with (
        NetNS.open(pod.netns) as target,
        NetNS.open(CURRENT) as own,
        api.open_journal(JOURNAL_DIR) as journal,
        handover.lender(loan_of(pod)) as lender,
    ):
        if target.same(own):
            raise _is_on_host(pod, devices)
        left_s = max(0.0, end - time.monotonic())
        earlier = handover.settled(journal, devices, own, interrupts, wait_s=left_s)
        left_s = max(0.0, end - time.monotonic())
        api.transact(
            devices, target, force=forced, timeout_s=left_s, lender=lender, interrupts=interrupts, earlier=earlier
        )
        return outcome.restored_first(earlier.undone) + outcome.not_carried(lender.lost)


def _is_on_host(pod: Pod, devices: Mapping[str, str]) -> ConfigInvalid:
    names = ", ".join(quoted(each) for each in devices)
    return ConfigInvalid(
        f"pod {quoted(pod.label)} uses the host's network namespace, where the devices are already ({names}): "
        "remove hostNetwork or the annotations"
    )


def give_back(pod: Pod) -> tuple[list[str], bool]:
    """Returns the devices of a pod that is stopping or removed to the host.

    Args:
        pod: Its network namespace mostly still exists; devices of one that has ended are restored, too.

    Returns:
        Lines about devices that are not restored, or ended with the namespace; and whether they are errors.

    Raises:
        NetDevError: The records or loans cannot be read; nothing was touched.
    """
    if not loans.are_there() and not loans.are_there(folder="txn"):
        return [], False
    return _lines(netavark_devices.teardown(pod.netns or "/", loan_of(pod), None))


def _lines(results: Sequence[Recovered]) -> tuple[list[str], bool]:
    kept = [f"{each.device or each.record}: {each.text} ({each.record})" for each in results if each.outcome == "kept"]
    ended = [f"{each.device}: {each.text}" for each in results if each.outcome == "gone"]
    return kept + ended, bool(kept)


# ---- what was missed -------------------------------------------------------------------------------------------------


def missed(pods: Sequence[Pod], rules: Rules, report: Report) -> Iterator[Callable[[float], None]]:
    """The steps that settle what happened while the plugin was not connected; each takes the time at which it ends.

    Moves that were killed are undone; devices of pods that have ended are restored; a pod that runs without its
    devices gets them. Each step reports by itself, and none raises an error of a device.

    Args:
        pods: All that the runtime knows.
        rules: What the operator grants.
        report: Gets lines.
    """
    yield lambda _: _killed(report)
    listed = {loan_of(pod): pod for pod in pods}
    lent = sorted({each.container for each in loans.listed() if loans.pod_of(each.container)})
    for loan in lent:
        yield lambda _, loan=loan: _ended(loan, loan in listed, report)  # type: ignore[misc]
    for pod in pods:
        if loan_of(pod) not in lent:
            yield lambda end, pod=pod: _complete(pod, rules, end, report)  # type: ignore[misc]


def _killed(report: Report) -> None:
    try:
        results = recover.undo_crashed(JOURNAL_DIR, interrupts=Interrupts())
    except OSError as e:
        return report(EVERYONE, [f"{e.filename or JOURNAL_DIR}: {e.strerror}: killed moves are not undone"], True)
    kept = [f"{each.device or each.record}: {each.text} ({each.record})" for each in results if recover.is_wrong(each)]
    undone = [f"{each.device}: a killed move was undone: {each.text}" for each in results if each.outcome == "undone"]
    return report(EVERYONE, kept + undone, bool(kept))


def _ended(loan: str, is_listed: bool, report: Report) -> None:
    """Restores the devices of a pod whose namespace has ended; one that exists is left alone."""
    _, label = loans.pod_of(loan) or ("", loan)
    try:
        results = returns.return_loans(container=loan, wait_s=returns.WAIT_S, interrupts=Interrupts())
    except OSError as e:
        return report(label, [f"{e.filename or JOURNAL_DIR}: {e.strerror}: its devices are not restored"], True)
    lives = [each for each in results if each.text.startswith(LIVES_ON)]
    lines, is_error = _lines([each for each in results if each not in lives])
    lines += [f"{each.device}: restored, as the pod has ended" for each in results if each.outcome == "undone"]
    if lives and not is_listed:
        names = ", ".join(each.device or each.record for each in lives)
        lines += [f"{names}: the runtime does not know this pod, but its network namespace exists, with the device"]
    return report(label, lines, is_error or bool(lives and not is_listed))


def _complete(pod: Pod, rules: Rules, end: float, report: Report) -> None:
    """Moves the devices of a pod that started without them, if it still runs."""
    try:
        if not rules.devices(pod) or not _runs(pod):
            return
        lines = run(pod, rules, end)
        report(pod.label, ["it started while the plugin was not connected; it has its devices now", *lines], False)
    except (ConfigInvalid, NetDevError) as e:
        report(
            pod.label, ["it started while the plugin was not connected, and runs without devices", *lines_of(e)], True
        )


def _runs(pod: Pod) -> bool:
    """Whether its first process still runs, in its network namespace."""
    try:
        return os.path.samestat(os.stat(f"/proc/{pod.pid}/ns/net"), os.stat(pod.netns or "/"))
    except (OSError, ValueError):
        return False


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

"""Judges /run/netdevns: who may write there, locks, records, loans, records set aside, and the hooks' log.

Takes no lock: a record is locked where /proc/locks says so.
"""

from __future__ import annotations

import calendar
import errno
import fcntl
import os
import re
import time
from collections.abc import Callable, Iterator

from ..oci import hook_log
from ..recovery import identity, layout, loans, store
from ..recovery.layout import Damaged
from ..recovery.recover import movers
from ..recovery.store import Journal, Record
from ..system import exclusion
from ..system.folders import JOURNAL_DIR, open_file, open_folder, why_unwritable
from ..system.netns import CURRENT, NETNS_DIR
from ..text.outcome import UNTOUCHED, UNTOUCHED_ELSE
from ..text.quote import command, printable, quoted, shown
from .devices import whereabouts
from .finding import ERROR, OK, WARNING, Finding
from .host import Host

CHECK = "records"
LONG_S = 60  # a move of 60 devices takes 1 s; a hook has a minute
RECENT_S = 24 * 3600
TAIL_BYTES = 1 << 14
LINES_MAX = 3
_VERDICTS = (UNTOUCHED, UNTOUCHED_ELSE)
_LONG_ID, _ID_SHOWN = re.compile("[0-9a-f]{64}"), 12  # as podman and docker shorten it
_FOLDERS = (store.TXN, loans.FOLDER, store.ASIDE, loans.PREPARED)


def check(host: Host) -> Iterator[Finding]:
    """Judges the folder and all that is in it."""
    directory = host.path(JOURNAL_DIR)
    if not os.path.lexists(directory):
        yield _unwritable(directory) or Finding(CHECK, OK, JOURNAL_DIR, "not there yet: the first move makes it")
        return
    usable, is_refused = set(), False
    for folder in ("", *_FOLDERS):
        path = f"{JOURNAL_DIR}/{folder}" if folder else JOURNAL_DIR
        try:
            os.close(open_folder(directory, folder, create=False))
            usable.add(folder)
        except FileNotFoundError:
            continue
        except OSError as e:
            yield _refused(path, e)
            is_refused = True
            if not folder:
                return
    trusted = Finding(CHECK, OK, JOURNAL_DIR, "belongs to this user, who alone may write to it")
    yield trusted if is_refused else _unwritable(directory) or trusted
    for judge, folder in _JUDGES:
        if folder in usable:
            try:
                yield from judge(host, directory)
            except FileNotFoundError:  # removed meanwhile
                continue
            except OSError as e:
                yield Finding(
                    CHECK, ERROR, f"{JOURNAL_DIR}/{folder}", f"cannot be read: {e.strerror}", f"ls -la {JOURNAL_DIR}"
                )


def _refused(path: str, e: OSError) -> Finding:
    if e.errno == errno.EACCES or (e.errno == errno.EPERM and os.geteuid() != 0):
        text = f"cannot be read: {e.strerror}: nothing is known of records and loans"
        return Finding(CHECK, WARNING, path, text, "sudo netdevns doctor")
    hint = f"inspect it; then: {command('chown', 'root:root', path)}; {command('chmod', 'go-w', path)}"
    return Finding(CHECK, ERROR, path, f"{e.strerror}: every move refuses to use it", hint)


def _unwritable(directory: str) -> Finding | None:
    """That nothing can be written to the folder, which may not exist. An ordinary user cannot ask /run for root."""
    e = why_unwritable(directory, store.TXN)
    if e is None or (e.errno == errno.EACCES and os.geteuid() != 0):
        return None
    text = f"no record of a move can be written there: {e.strerror}: every move is refused"
    return Finding(CHECK, ERROR, JOURNAL_DIR, text, f"inspect it: findmnt --target /run; ls -la {JOURNAL_DIR}")


# ---- locks -----------------------------------------------------------------------------------------------------------


def _locks(host: Host, directory: str) -> Iterator[Finding]:
    """The devices that are being moved now."""
    folder = open_folder(directory, create=False)
    try:
        for name in sorted(each for each in os.listdir(folder) if each.endswith(".lock")):
            path = f"{JOURNAL_DIR}/{name}"
            try:
                fd = open_file(folder, name, os.O_RDONLY, path)
            except FileNotFoundError:
                continue
            except OSError as e:
                yield _refused(path, e)
                continue
            try:
                yield from _held(host, fd, path)
            finally:
                os.close(fd)
    finally:
        os.close(folder)


def _held(host: Host, fd: int, path: str) -> Iterator[Finding]:
    """A finding for each run of locked bytes, which stand for ifindexes; asks (F_OFD_GETLK), and takes none."""
    at = 0
    while True:
        asked = exclusion.FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, at, 0, 0)
        kind, _, first, count, _ = exclusion.FLOCK.unpack(fcntl.fcntl(fd, fcntl.F_OFD_GETLK, asked))
        if kind == fcntl.F_UNLCK:
            return
        written = os.pread(fd, exclusion.PID.size, first * exclusion.PID.size)
        pid = exclusion.mover(exclusion.PID.unpack(written)[0]) if len(written) == exclusion.PID.size else 0
        yield _lock(host, path, first, pid)
        if not count:
            return
        at = first + count


def _lock(host: Host, path: str, ifindex: int, pid: int) -> Finding:
    here = os.path.basename(path) == f"{os.stat(CURRENT).st_ino}.lock"
    names = [nic.name for nic in (host.nics or {}).values() if here and nic.ifindex == ifindex]
    device = printable(names[0]) if names else f"the device with the ifindex {ifindex}"
    text = f"{device} {exclusion.being_moved(pid)}"
    since = _age_s(pid)
    if since is None or since < LONG_S:
        return Finding(CHECK, OK, path, text)
    hint = f"inspect process {pid}; when it has ended: netdevns recover"
    return Finding(CHECK, WARNING, path, f"{text}, which has run for {since:.0f} s: other movers are refused", hint)


def _age_s(pid: int) -> float | None:
    """How long a process has run; None: not known. Source: proc(5), /proc/PID/stat, field 22."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            ticks = int(file.read().rpartition(b")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        return None
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")


# ---- records ---------------------------------------------------------------------------------------------------------


def _opened(directory: str, folder: str) -> Iterator[tuple[Record, str]]:
    """Each record of a folder, and its path on the host."""
    with Journal(directory, create=False, folder=folder) as journal:
        for record in journal.seen():
            yield record, f"{JOURNAL_DIR}/{folder}/{record.name}"


def _moves(sections: list[layout.Section]) -> str:
    pairs = ((shown(s.text(layout.A_IFNAME)), shown(s.text(layout.A_WANTED))) for s in movers(sections))
    return ", ".join(f"{old} -> {new}" for old, new in pairs)


def _records(host: Host, directory: str) -> Iterator[Finding]:
    locked = store.locked_files(host.text("/proc/locks") or "")
    for record, path in _opened(directory, store.TXN):
        try:
            sections = record.sections()
            devices, pid = _moves(sections), sections[0].number(layout.A_PID)
            is_old = sections[0].text(layout.A_BOOT) != layout.boot_id()
        except (Damaged, OSError) as e:
            yield _damaged(path, e)
            continue
        if record.is_one_of(locked):
            yield Finding(CHECK, OK, path, f"{devices}: a move that runs, by process {pid}")
        elif is_old:
            yield Finding(CHECK, WARNING, path, f"{devices}: {_BEFORE_BOOT}", "netdevns recover")
        else:
            text = f"{devices}: the move was killed; its devices may be in either namespace"
            yield Finding(CHECK, ERROR, path, text, "netdevns recover")


_BEFORE_BOOT = "older than the last boot, which reset the devices"


def _damaged(path: str, e: Damaged | OSError) -> Finding:
    why = e.strerror if isinstance(e, OSError) else str(e)
    return Finding(CHECK, ERROR, path, f"not a record that can be used: {why}", "netdevns recover, which sets it aside")


def _loans(host: Host, directory: str) -> Iterator[Finding]:
    namespaces = loans.prepared(directory)
    for record, path in _opened(directory, loans.FOLDER):
        try:
            sections = record.sections()
            container, devices = loans.container_of(sections), _moves(sections)
            is_old = sections[0].text(layout.A_BOOT) != layout.boot_id()
            is_ended = identity.is_orphan(layout.target(sections))
            names = [os.fsdecode(name) for name in loans.host_names(sections)]
        except Damaged as e:
            yield Finding(
                CHECK, ERROR, path, f"not a loan that can be used: {e}", "netdevns return, which sets it aside"
            )
            continue
        except OSError as e:
            yield Finding(CHECK, WARNING, path, f"cannot be read: {e.strerror}", "netdevns return")
            continue
        remedy = loans.command(container, namespaces)
        text = f"{whereabouts(container, namespaces)}: {devices}"
        back = [name for name in names if name in (host.nics or {})]
        if is_old:
            yield Finding(CHECK, WARNING, path, f"{text}: {_BEFORE_BOOT}", remedy)
        elif is_ended and container not in namespaces:
            text = f"{text}, whose process has ended: its devices were not restored"
            yield Finding(CHECK, ERROR, path, text, remedy)
        elif back:
            yield Finding(CHECK, WARNING, path, f"{text}; but a device {quoted(back[0])} is here", remedy)
        else:
            yield Finding(CHECK, OK, path, text)


def _aside(host: Host, directory: str) -> Iterator[Finding]:  # noqa: ARG001  # as the others
    for record, path in _opened(directory, store.ASIDE):
        try:
            devices = _moves(record.sections())
        except (Damaged, OSError) as e:
            devices = str(e.strerror if isinstance(e, OSError) else e)
        text = f"{devices}: set aside: three tries did not restore it, or the record could not be used"
        yield Finding(CHECK, ERROR, path, text, f"restore the devices by hand, then remove {path}")


def _prepared(host: Host, directory: str) -> Iterator[Finding]:
    for name in sorted(loans.prepared(directory)):
        path = f"{NETNS_DIR}/{name}"
        if host.exists(path):
            yield Finding(CHECK, OK, path, "a prepared namespace")
        else:
            text = "this prepared namespace has no name any more: its devices may have come back, or be lost in it"
            yield Finding(CHECK, ERROR, path, text, loans.command(name, ()))


# ---- the hooks' log --------------------------------------------------------------------------------------------------


def _log(host: Host, directory: str) -> Iterator[Finding]:  # noqa: ARG001  # as the others
    """The last report of a hook; one of the last day is a warning."""
    path = f"{JOURNAL_DIR}/{hook_log.NAME}"
    folder = open_folder(directory, create=False)
    try:
        fd = open_file(folder, hook_log.NAME, os.O_RDONLY, path)
    except OSError as e:
        if e.errno != errno.ENOENT:
            yield _refused(path, e)
        return
    finally:
        os.close(folder)
    try:
        size = os.fstat(fd).st_size
        data = os.pread(fd, TAIL_BYTES, max(0, size - TAIL_BYTES))
    finally:
        os.close(fd)
    lines = data.decode(errors="backslashreplace").splitlines()
    if not lines:
        return
    stamp, report = _last_report(lines)
    age_s = _age_of(stamp)
    severity = WARNING if age_s is not None and age_s < RECENT_S else OK
    text = f"the last report, of {stamp}: {report}"
    yield Finding(CHECK, severity, path, printable(text), "netdevns doctor BUNDLE" if severity == WARNING else None)


def _last_report(lines: list[str]) -> tuple[str, str]:
    """The time of the last report in a log, and its lines in one, behind the container's id, where it is known.

    A report's lines follow each other (oci/hook_log.py); each begins with the id. Without one, the report before it has
    ended with its verdict, if it is of the same second.
    """
    stamp, _, last = lines[-1].partition(" ")
    id_, colon, _ = last.partition(": ")
    begin = f"{stamp} {id_}: " if colon else f"{stamp} "
    report = [lines[-1].removeprefix(begin)]
    for line in reversed(lines[:-1]):
        if not line.startswith(begin) or line.endswith(_VERDICTS):
            break
        report.insert(0, line.removeprefix(begin))
    text = "; ".join(report[:LINES_MAX])
    if not colon:
        return stamp, text
    text = re.sub(rf"container {re.escape(id_)}(?![\w.+-])", "the container", text)
    return stamp, f"{id_[:_ID_SHOWN] if _LONG_ID.fullmatch(id_) else id_}: {text}"


def _age_of(stamp: str) -> float | None:
    """The age in seconds of a line of the log, by its time."""
    try:
        then = time.strptime(stamp, "%Y-%m-%dT%H:%M:%SZ")
    except ValueError:
        return None
    return time.time() - calendar.timegm(then)


_JUDGES: tuple[tuple[Callable[[Host, str], Iterator[Finding]], str], ...] = (
    (_locks, ""),
    (_records, store.TXN),
    (_loans, loans.FOLDER),
    (_aside, store.ASIDE),
    (_prepared, loans.PREPARED),
    (_log, ""),
)

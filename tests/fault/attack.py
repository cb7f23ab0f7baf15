"""Moves that strace disturbs, what must hold after each, and how many of them ended how."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import signal
import time
from pathlib import Path
from typing import Any

from tests.support import rawdump
from tests.support.attacks import AS_BEFORE, COMPLETE, REPORTED, UNREACHED, Ended, Tally, finish, traced
from tests.support.scene import OnScene

from .scene import DEVICES, JOB, TARGET, Scene

# What a move may call, besides what cannot fail; some under several names, of which each libc has its own. mmap: memory
# for Python's objects.
CALLS = {
    "sendto": ("sendto",),
    "recvmmsg": ("recvmmsg",),
    "sockets": ("socket", "bind", "getsockname", "setsockopt", "getsockopt", "setns"),
    "files": ("read", "write", "pread64", "openat", "close", "fcntl", "flock", "lseek", "ioctl", "newfstatat",
              "fstat", "stat", "lstat", "statx", "readlink",
              "getdents64", "mkdir", "mkdirat", "rename", "renameat", "linkat", "unlink", "unlinkat", "pwrite64"),
    "memory": ("mmap", "getrandom"),
}  # fmt: skip
ERRORS = ("ENOBUFS", "ENOMEM", "EINTR", "EIO", "EPERM", "EAGAIN")
MOVE = ("move", *JOB, "--to", TARGET, "--json")
RECOVER = ("recover", "--json")
RECORDS = Path("/run/netdevns/txn")
UNDONE = "undone"


def run(scene: Scene, engine: str, command: tuple[str, ...], *inject: str) -> Ended:
    """A command under strace, which disturbs it; it must end. Without injections all its calls are listed."""
    return traced(lambda under: scene.command(engine, *command, under=under), *inject)[0]


class Attacks(OnScene[Scene]):
    """Attacks with one engine, each on a scene that is as it was; a context manager."""

    def __init__(self, engine: str) -> None:
        super().__init__(Scene)
        self.engine = engine
        with Scene() as scene:
            self.clean = run(scene, engine, MOVE)
            assert (self.clean.code, self.clean.err) == (0, ""), self.clean
            assert {m["host_name"]: m["name"] for m in json.loads(self.clean.out)["moved"]} == DEVICES
            assert scene.target.names() == set(DEVICES.values())
            scene.target.wait_until_quiet()
            self.complete = scene.state()
            assert len(self.complete["target addresses"]["net0"]) == 5  # those that the runtime-spec protects

    # ---- faults ----

    def fault(self, tally: Tally, *inject: str, invisible: bool = False) -> None:
        """One move with these injections, judged; `invisible`: they must not matter."""
        ended = run(self.scene, self.engine, MOVE, *inject)
        end, wrong = self._fault_verdict(ended)
        if end == REPORTED:
            # Its record is kept: where nothing fails any more, all can still be put back.
            finish(self.scene.recovery(self.engine))
            # Known: a macvlan that was home and up before its lower came has lost its MAC in the lower's filter.
            left = self.scene.differences(self.scene.before, shown=plain)
            wrong += [f"after a recovery: {line}" for line in left]
        kept = clear_records()
        if kept and "remove it yourself" not in ended.err:
            wrong += [f"left in {RECORDS}: {kept}"]
        if invisible and end not in (COMPLETE, UNREACHED):
            wrong += ["this must not matter"]
        tally.count(" ".join(inject), end, wrong, ended)
        # After "reported" a name may stay blocked where alternative names do not travel (before 6.6).
        if wrong or end == REPORTED or self.scene.target.names():
            self.renew()

    def _fault_verdict(self, ended: Ended) -> tuple[str, list[str]]:
        """How it ended, and what is wrong with that."""
        if re.search("Traceback|internal error|Exception ignored", ended.err):
            return "traceback", ["this is not for users", *self.scene.differences(self.scene.before)]
        if ended.code == 0:
            return COMPLETE if ended.injected else UNREACHED, self.scene.differences(self.complete)
        if ended.code in (1, 2):
            silent = [] if ended.err.startswith("netdevns: ") else ["it says nothing"]
            return AS_BEFORE, silent + self.scene.differences(self.scene.before)
        if ended.code == 3:
            return REPORTED, untrue(ended, self.scene)
        return "no such exit code", ["see the documentation"]

    # ---- signals ----

    def signal(self, tally: Tally, inject: str) -> None:
        """One move that is sent a signal which it may take note of: nothing but exit codes 0 and 1."""
        ended = run(self.scene, self.engine, MOVE, inject)
        end, wrong = self._fault_verdict(ended)
        if ended.code == 0:
            end = COMPLETE
        elif ended.code != 1 or "interrupted" not in ended.err:
            wrong += ["neither complete nor interrupted"]
        if records := clear_records():
            wrong += [f"left in {RECORDS}: {records}"]
        if "nothing was touched" in ended.err and end != AS_BEFORE:
            wrong += ["it says that nothing was touched"]
        tally.count(inject, end, wrong, ended)
        if wrong or end == COMPLETE:
            self.renew()

    # ---- kills ----

    def kill(self, tally: Tally, *inject: str) -> None:
        """One move killed by strace, then recovered, by the other engine."""
        ended = run(self.scene, self.engine, MOVE, *inject)
        if ended.code == -signal.SIGKILL:
            self._recovered(tally, " ".join(inject))
        else:
            tally.count(" ".join(inject), UNREACHED, self._fault_verdict(ended)[1], ended)
            self.renew()

    def kill_group(self, tally: Tally, after_s: float) -> None:
        """One move, killed from outside with all of its process group, at any time."""
        process = self.scene.command(self.engine, *MOVE)
        time.sleep(after_s)
        os.killpg(process.pid, signal.SIGKILL)  # a zombie at least: it was not waited for
        finish(process)
        self._recovered(tally, f"group killed after {after_s:.3f} s")

    def kill_recovery(self, tally: Tally, move: str, recovery: str) -> None:
        """One move killed, its recovery too, and then recovered."""
        assert run(self.scene, self.engine, MOVE, move).code == -signal.SIGKILL
        run(self.scene, self.engine, RECOVER, recovery)
        self._recovered(tally, f"{move}, recovery: {recovery}")

    def _recovered(self, tally: Tally, what: str) -> None:
        """All is as before or complete after `netdevns recover`, and no record is left."""
        untouched = not self.scene.differences(self.scene.before, timeout_s=0)
        other = "reference" if self.engine == "native" else "native"
        out, err, code = finish(self.scene.recovery(other))
        ended = Ended(code, out, err, [], 0, 0)
        changed = self.scene.differences(self.scene.before, self.complete)
        end, wrong = ("neither" if changed else AS_BEFORE if untouched else UNDONE), changed
        if not changed and self.scene.target.names():
            end = COMPLETE
        if (code, err) != (0, ""):
            wrong += ["recover failed"]
        if make_old([name for name in (os.listdir(RECORDS) if RECORDS.exists() else []) if name.startswith(".")]):
            finish(self.scene.recovery(other))
        records = clear_records()
        if records:
            wrong += [f"left in {RECORDS}: {records}"]
        tally.count(what, end, wrong, ended)
        if wrong or self.scene.target.names():
            self.renew()


def make_old(names: list[str]) -> bool:
    """A record that was being written: a minute ago, too old for its writer to be about to lock it."""
    for name in names:
        os.utime(RECORDS / name, times=(time.time() - 60,) * 2)
    return bool(names)


def clear_records() -> list[str]:
    """Removes the records that are there; their names."""
    names = os.listdir(RECORDS) if RECORDS.exists() else []
    for name in names:
        (RECORDS / name).unlink()
    return names


def own(link: rawdump.Link | None) -> object:
    """A link without what a device stacked on it sets: IFLA_PROMISCUITY and IFLA_ALLMULTI."""
    return link and dataclasses.replace(link, attrs={k: v for k, v in link.attrs.items() if k not in (30, 61)})


def plain(state: dict[str, Any]) -> dict[str, Any]:
    """A state whose links are compared as `own` says."""
    return {
        part: {name: own(link) for name, link in found.items()} if part.endswith(" links") else found
        for part, found in state.items()
    }


def untrue(ended: Ended, scene: Scene) -> list[str]:
    """What is wrong in a report with exit code 3, or missing from it."""
    left: list[dict[str, Any]] = json.loads(ended.out)["error"]["left"] if ended.out else []
    found = [] if left or not ended.out else ["nothing is reported"]
    scene.host.wait_until_quiet()
    changed = scene.differences(scene.before, timeout_s=0.1)
    names = {"source": scene.host.names(), "target": scene.target.names()}
    for each in left:
        location, name, device = each["location"], each["name"], each["device"]
        if location in names and name is not None and name not in names[location]:
            found.append(f"{name} is not in the {location}")
        if location == "gone" and (device in names["source"] or DEVICES[device] in names["target"]):
            found.append(f"{device} is not gone")
        if device not in ended.err:
            found.append(f"{device} is not named on stderr")
    reported = {each["device"] for each in left} if ended.out else {d for d in DEVICES if d in ended.err}
    before, after = scene.before, scene.state()
    for device in DEVICES.keys() - reported:
        if own(before["host links"].get(device)) != own(after["host links"].get(device)) or (
            before["host addresses"].get(device) != after["host addresses"].get(device)
        ):
            found.append(f"{device} is not as before, and not reported")
    text = " ".join(part for each in left for part in each["missing"]) or ended.err
    away = any(each["location"] != "source" for each in left)
    for part in ("routes", "neighbours"):
        if before[f"host {part}"] != after[f"host {part}"] and part[:-1] not in text and not away:
            found.append(f"{part} are not as before, and not reported")
    if not changed and not re.search("kernel|failed|answer", text):
        found.append("all is as before, but the report does not say so")
    return found + ([f"  {line}" for line in changed] if found else [])

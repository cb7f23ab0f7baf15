"""Starts that strace disturbs: each call of the small runtime fails once, or it is killed there, and is recovered."""

from __future__ import annotations

import re
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.csrc.compilers import BUILDS
from tests.fault.attack import UNDONE
from tests.support.attacks import AS_BEFORE, COMPLETE, REPORTED, UNREACHED, Ended, Tally
from tests.support.scene import OnScene

from .scene import DEVICES, STAYS, Scene

START, FAILING_START, RECOVER = "start", "failing start", "recover"


@dataclass(frozen=True)
class Call:
    """A system call of the program, and the how many-th of that name it is."""

    name: str
    number: int

    def __str__(self) -> str:
        return f"{self.name} {self.number}"

    def inject(self, what: str) -> str:
        return f"{self.name}:{what}:when={self.number}"


class Attacks(OnScene[Scene]):
    """Each on a scene that is as it was; a context manager."""

    def __init__(self, folder: Path, complete: dict[str, Any]) -> None:
        super().__init__(lambda: Scene(folder))
        self.folder = folder
        self.complete = complete
        build = BUILDS["gcc"]
        build.check()
        self.program = str(build.program("embed"))

    # ---- one run ----

    def run(self, job: str, *inject: str, children: bool = False) -> Ended:
        """A job of the program under strace; without injections all its own calls are listed, not its child's."""
        trace = self.folder / "trace"
        watched = {each.partition(":")[0] for each in inject} or {"all"}
        options = [word for each in inject for word in ("-e", f"inject={each}")]
        follow = ["-f"] if children else []
        under = ["strace", *follow, "-o", str(trace), "-e", f"trace={','.join(sorted(watched))}", *options]
        process = STAYS | ({"args": ["nothing"]} if job == FAILING_START else {})
        self.scene.bundle.write(DEVICES, process=process)
        arguments = ["recover"] if job == RECOVER else ["start", str(self.scene.bundle.path)]
        done = self.scene.run([*under, self.program, *arguments])
        lines = trace.read_text().splitlines()
        calls = [found[1] for found in (re.match(r"(?:\d+ +)?(\w+)\(", line) for line in lines) if found]
        injected = sum("(INJECTED)" in line for line in lines)
        return Ended(done.returncode, done.stdout, done.stderr, calls, 0, injected)

    def calls(self, job: str, *inject: str) -> list[Call]:
        """Those that a job makes, from the first one of its own on: what the loader does before is libc's."""
        names = self.run(job, *inject, *(["chdir:delay_enter=0"] if inject else [])).calls
        begin = names.index("chdir") if "chdir" in names else 0
        return [Call(name, names[: n + 1].count(name)) for n, name in enumerate(names) if n >= begin]

    # ---- verdicts ----

    def fault(self, tally: Tally, job: str, *inject: str, children: bool = False) -> None:
        """One start with these injections: complete, or as before, or reported and then recovered."""
        ended = self.run(job, *inject, children=children)
        if ended.code == 0:
            end, wrong = COMPLETE if ended.injected else UNREACHED, self._incomplete(ended)
        elif ended.code in (1, 2, -signal.SIGTERM):
            end, wrong = AS_BEFORE, self.scene.not_as_before()
            wrong += [] if ended.err.startswith("embed: ") else ["it says nothing"]
        elif ended.code == 3:
            end, wrong = REPORTED, [] if "is kept" in ended.err else ["it does not say what is kept"]
            self.run(RECOVER)
            wrong += [f"after a recovery: {line}" for line in self.scene.not_as_before()]
        else:
            end, wrong = "no such exit code", ["see embed.c"]
        tally.count(f"{job}: {' '.join(inject)}", end, wrong, ended)
        if wrong or ended.code == 0:
            self.renew()

    def kill(self, tally: Tally, job: str, *inject: str) -> None:
        """One start that is killed, and recovered: complete, or as before."""
        ended = self.run(job, *inject)
        if ended.code != -signal.SIGKILL:
            tally.count(f"{job}: {' '.join(inject)}", UNREACHED, [], ended)
            self.renew()
            return
        self.recovered(tally, f"{job}: {' '.join(inject)}")

    def recovered(self, tally: Tally, what: str) -> None:
        """What a recovery leaves."""
        untouched = self.scene.host.names() == {"eth1", "low"}
        ended = self.run(RECOVER)
        running = self._running()
        wrong = [] if (ended.code, ended.err) == (0, "") else ["the recovery failed"]
        if running:
            self.scene.adopt(running)
            end = COMPLETE
            wrong += self._whole(running)
        else:
            end = AS_BEFORE if untouched else UNDONE
            wrong += self.scene.not_as_before()
        tally.count(what, end, wrong, ended)
        if wrong or running:
            self.renew()

    def _running(self) -> int:
        """The container's process, once it is what it was to be; 0: there is none."""
        for pid in filter(str.isdigit, (path.name for path in Path("/proc").iterdir())):
            try:
                if Path("/proc", pid, "cmdline").read_bytes() == b"sleep\x003600\x00":
                    return int(pid)
            except OSError:  # it has ended meanwhile
                continue
        return 0

    def _incomplete(self, ended: Ended) -> list[str]:
        printed = re.search(r"^(\d+)$", ended.out, re.MULTILINE) or re.search(r"as process (\d+); stdout", ended.err)
        if not printed:
            return ["no pid is printed"]
        self.scene.adopt(int(printed[1]))
        found = self._whole(int(printed[1]))
        return found if "stays" not in ended.err else []  # a warning: the record has to be removed by hand

    def _whole(self, pid: int) -> list[str]:
        try:
            self.scene.is_complete(pid, self.complete)
        except AssertionError as e:
            return [str(e)]
        return []

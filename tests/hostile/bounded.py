"""A hook and commands as processes with bounds: 1.5 GB of address space, 20 s; a host, and a bundle to be written."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from tests.runtimes.container import NETDEVNS, Machine, hook_words, opened
from tests.support.namespaces import Namespace
from tests.support.restored import Restored

AS_BYTES = 1_500_000_000
BOUND_S = 60
UNTOUCHED = "netdevns: nothing was touched"
PREFIX = "org.netdevns.device."


@dataclass
class Ended:
    """How a process ended."""

    code: int
    out: str
    lines: list[str]  # of stderr


class Bounded:
    """A host with eth1, and a container whose bundle can be written."""

    def __init__(self, machine: Machine, bundle: Path, pid: int, there: Namespace) -> None:
        self.machine = machine
        self.host = machine.host
        self.bundle = bundle
        self.config = bundle / "config.json"
        self.there = there
        self.state: dict[str, Any] = {"ociVersion": "1.0.2", "id": "c1", "status": "created", "pid": pid}
        self.state["bundle"] = str(bundle)
        self.ask({"eth1": {}})

    def ask(self, devices: object, **more: object) -> None:
        """Writes config.json."""
        linux = {"namespaces": [{"type": "network"}], "netDevices": devices}
        self.config.write_text(json.dumps({"ociVersion": "1.0.2", "linux": linux} | more))

    def run(
        self, argv: list[str], stdin: bytes | IO[bytes] = b"", as_bytes: int = AS_BYTES, under: tuple[str, ...] = ()
    ) -> Ended:
        """A program on the machine, within bounds."""
        argv = [*under, "prlimit", f"--as={as_bytes}", *argv]
        is_pipe = isinstance(stdin, bytes)
        how: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        with self.machine.popen(argv, stdin=subprocess.PIPE if is_pipe else stdin, **how) as process:
            try:
                out, err = process.communicate(stdin if is_pipe else None, timeout=BOUND_S)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                raise AssertionError(f"it did not end in {BOUND_S} s") from None
        return Ended(process.returncode, out.decode(), err.decode(errors="backslashreplace").splitlines())

    def hook(self, *arguments: str, stdin: bytes | IO[bytes] | None = None, **how: Any) -> Ended:
        state = json.dumps(self.state).encode() if stdin is None else stdin
        return self.run([*hook_words(), "createRuntime", *arguments], state, **how)

    def refused(self, run: Callable[[], Ended]) -> str:
        """Exit code 2, one line and the verdict, and nothing touched; returns the line."""
        with Restored(self.host, self.there):
            ended = run()
        assert (ended.code, len(ended.lines), ended.lines[-1:]) == (2, 2, [UNTOUCHED]), ended
        assert "internal error" not in ended.lines[0]
        return ended.lines[0].removeprefix("netdevns: ")

    def apply(self, *arguments: str) -> Ended:
        return self.run([*NETDEVNS, "apply", "--pid", str(self.state["pid"]), *arguments])


@contextlib.contextmanager
def made(machine: Machine, bundle: Path) -> Iterator[Bounded]:
    """With an ifb, eth1, on the host, and a container's process."""
    machine.host.ip("link add eth1 type ifb")
    with machine.popen(["unshare", "--net", "sh", "-c", "echo; exec cat"], stdin=-1, stdout=-1) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        process.stdout.readline()
        with opened(f"/proc/{process.pid}/ns/net", "there") as there:
            yield Bounded(machine, bundle, process.pid, there)
        process.stdin.close()

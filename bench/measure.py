"""Runs the suite of bench/ on a kernel, and writes pytest-benchmark's JSON."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from . import build

TOP = Path(__file__).resolve().parent.parent
RUNNING = "running"
MARK = "@@bench json"  # the document follows this line on a guest's terminal
# Files below /run, devices and processes end with these namespaces.
SANDBOX = [
    *("setpriv", "--pdeathsig", "KILL", "unshare", "--net", "--mount", "--pid", "--fork", "--kill-child"),
    *("--mount-proc", "--propagation", "private", "sh", "-c"),
    'mount -t tmpfs tmpfs /run && export NETDEVNS_OWN_RUN=yes && ip link set lo up && { "$@" || exit; }',
    "sh",
]
IN_GUEST = f'"$@" --benchmark-json=/tmp/bench.json; code=$?; echo "{MARK}"; cat /tmp/bench.json; exit $code'
GUEST_TIMEOUT_S = 7200
# After this time no further round of a scenario begins.
BUDGET_S = {True: 50, False: 15}  # on the running kernel, in a guest
# Of a guest: on two, a system call takes four times as long.
ONE_CORE = ["taskset", "--cpu-list", str(max(os.sched_getaffinity(0)))]
MEMORY = "mem=1200M"  # for 10,000 devices or 200,000 routes; overrides the default, as the last one counts


def _suite(python: str) -> list[str]:
    """The suite's command, without its output file."""
    quiet = ["-q", "--no-header", "--no-summary", "-p", "no:cacheprovider", "--timeout=0", "--show-capture=no", "-s"]
    return [python, "-m", "pytest", *quiet, "--benchmark-quiet", "bench/test_costs.py"]


def _here(file: Path, environment: dict[str, str]) -> int:
    command = [*SANDBOX, *_suite(sys.executable), f"--benchmark-json={file}"]
    # pytest's dots are discarded: the turns report on stderr.
    with open(os.devnull, "wb") as nowhere, tempfile.TemporaryFile() as out:
        done = subprocess.run(command, cwd=TOP, env=environment, stdin=nowhere, stdout=out, check=False)
        if done.returncode:
            out.seek(0)
            sys.stderr.write(out.read().decode(errors="replace"))
    return done.returncode


def _in_guest(kernel: str, file: Path, environment: dict[str, str]) -> int:
    """Reads the document from the guest's terminal, as it cannot write files here."""
    words = ["--kernel", kernel, "--timeout", str(GUEST_TIMEOUT_S), "--append", "loglevel=4", "--append", MEMORY]
    words += ["--", "sh", "-c", IN_GUEST, "sh", *_suite(".venv/bin/python")]
    command = [sys.executable, str(TOP / "tools/kernels"), *words]
    document: list[str] | None = None
    rest: list[str] = []  # pytest's output: shown after a failure
    with subprocess.Popen(
        [*ONE_CORE, *command],
        cwd=TOP,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if document is not None:
                document.append(line)
            elif line.strip() == MARK:
                document = []
            elif (at := line.find("bench: ")) >= 0:  # after pytest's dots
                sys.stderr.write(line[at:])
            else:
                rest.append(line)
    if process.returncode:
        sys.stderr.writelines(rest)
    if document:
        file.write_text("".join(document))
    return process.returncode if document else process.returncode or 1


def _commit() -> str:
    """The checkout's commit; with "-dirty" if it was changed."""
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=12"], cwd=TOP, capture_output=True, text=True, check=False
    )
    return done.stdout.strip()


def programs() -> None:
    """Compiles the contestants in C and Go. Raises CalledProcessError."""
    build.programs()
    build.site()
    if without := build.go_peer():
        print(without, file=sys.stderr)


def measure(asked: Mapping[str, object], kernel: str, file: Path) -> int:
    """Writes the document of one kernel.

    Args:
        asked: The options for bench/conftest.py: scenarios, rounds, ...; `budget_s` None: the kernel's own.
        kernel: "running", or one of tools/kernels.
        file: The document; none is left where the suite did not end.

    Returns:
        The suite's exit code.
    """
    running = kernel == RUNNING
    asked = {**asked, "guest": not running, "budget_s": asked.get("budget_s") or BUDGET_S[running], "commit": _commit()}
    environment = {**os.environ, "NETDEVNS_BENCH": json.dumps(asked)}
    file.unlink(missing_ok=True)
    file.parent.mkdir(parents=True, exist_ok=True)
    return _here(file, environment) if running else _in_guest(kernel, file, environment)


def thrown_out(file: Path) -> list[str]:
    """A line for each contestant whose work was not complete."""
    found = [each["extra_info"] for each in json.loads(file.read_text())["benchmarks"]]
    return sorted({f"{i['scenario']}: {i['contestant']}: {i['why']}" for i in found if not i["verified"]})

"""Measures Python's start: `import netdevns`, and a hook with nothing to move.

    ./tools/bench startup

Milliseconds of CPU time, medians of forty rounds in which the variants take turns, and the median difference from a
bare interpreter with the same options. The static hook (`netdevns-hook`) starts no interpreter.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import netdevns

ROUNDS = 40
MAIN = Path(netdevns.__file__).with_name("__main__.py")
ISOLATED = ("-I", "-S")  # as hook lines start it: `site`, and what .pth files ask for, is not loaded
HOOK = (str(MAIN), "hook", "createRuntime")
IMPORT = f"import sys; sys.path.append({str(MAIN.parent.parent)!r}); import netdevns"
# The processes, and those that they are compared with.
VARIANTS: dict[str, tuple[tuple[str, ...], str | None]] = {
    "interpreter, -I -S": ((*ISOLATED, "-c", "pass"), None),
    "interpreter, -I": (("-I", "-c", "pass"), None),
    "import netdevns, -I -S": ((*ISOLATED, "-c", IMPORT), "interpreter, -I -S"),
    "hook, -I -S": ((*ISOLATED, *HOOK), "interpreter, -I -S"),
    "hook, -I": (("-I", *HOOK), "interpreter, -I"),
}


def cpu_ms(words: list[str], state: Path) -> float:
    """Of one process, with a state on stdin."""
    pid = os.fork()
    if pid == 0:
        os.dup2(os.open(state, os.O_RDONLY), 0)
        os.execv(words[0], words)
    _, status, usage = os.wait4(pid, 0)
    if status:
        raise subprocess.CalledProcessError(os.waitstatus_to_exitcode(status), words)
    return (usage.ru_utime + usage.ru_stime) * 1e3


def main() -> int:
    python = os.path.realpath(sys.executable)
    with tempfile.TemporaryDirectory(prefix="netdevns-") as scratch:
        base = Path(scratch)
        (base / "config.json").write_text("{}")
        state = base / "state"
        state.write_text(
            json.dumps({"ociVersion": "1.3.0", "id": "c", "status": "creating", "bundle": scratch}), encoding="utf-8"
        )
        words = {name: [python, *arguments] for name, (arguments, _) in VARIANTS.items()}
        found: dict[str, list[float]] = {name: [] for name in words}
        for _ in range(ROUNDS):
            for name, each in words.items():
                found[name].append(cpu_ms(each, state))
    for name, (_, base_name) in VARIANTS.items():
        line = f"{name:30} {statistics.median(found[name]):6.2f} ms"
        if base_name is not None:
            more = statistics.median(a - b for a, b in zip(found[name], found[base_name], strict=True))
            line += f"  {more:+6.2f}"
        print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())

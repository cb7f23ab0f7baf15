"""What a hook that finds nothing to move does for its start, and what each of these things saves.

    ./tools/bench startup

Milliseconds of CPU time, medians of forty rounds in which the variants take turns; a variant is the package as it is,
with one of these things taken away. The static hook needs none of them.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import netdevns

ROUNDS = 40
PACKAGE = Path(netdevns.__file__).parent
ISOLATED = ("-I", "-S")
# The flags of the interpreter, and perhaps a file of the package, what stands there, and what takes its place.
IMPORT = ("oci/hook_command.py", "import sys\n")
VARIANTS: dict[str, tuple[tuple[str, ...], tuple[str, str, str] | None]] = {
    "as it is": (ISOLATED, None),
    "with site": (("-I",), None),
    "with the collector of cycles": (ISOLATED, ("__main__.py", "gc.disable()", "pass")),
    "ends by sys.exit": (ISOLATED, ("__main__.py", "os._exit(code)", "pass")),
    "reads JSON by json": (
        ISOLATED,
        (
            "oci/config_json.py",
            "parsed = jsonscan.loads(data, _Object.of)",
            "import json; parsed = json.loads(data, object_pairs_hook=_Object.of)",
        ),
    ),
    **{f"loads {name}": (ISOLATED, (*IMPORT, f"import sys, {name}\n")) for name in (
        "signal", "argparse", "typing", "pathlib", "dataclasses"
    )},
}  # fmt: skip


def made(folder: Path, change: tuple[str, str, str] | None) -> Path:
    """The package with a change, compiled. Raises ValueError where it cannot be made."""
    shutil.copytree(PACKAGE, folder / "netdevns", ignore=shutil.ignore_patterns("__pycache__"))
    if change:
        file, old, new = change
        path = folder / "netdevns" / file
        text = path.read_text(encoding="utf-8")
        if text.count(old) < 1:
            raise ValueError(f"{file} has no {old!r}")
        path.write_text(text.replace(old, new, 1), encoding="utf-8")
    subprocess.run([sys.executable, "-m", "compileall", "-q", folder], check=True)
    return folder / "netdevns" / "__main__.py"


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
        words = {"bare interpreter": [python, *ISOLATED, "-c", "pass"]}
        for name, (flags, change) in VARIANTS.items():
            words[name] = [python, *flags, str(made(base / name, change)), "hook", "createRuntime"]
        found: dict[str, list[float]] = {name: [] for name in words}
        for _ in range(ROUNDS):
            for name, each in words.items():
                found[name].append(cpu_ms(each, state))
    for name, times in found.items():
        more = statistics.median(a - b for a, b in zip(times, found["as it is"], strict=True))
        print(f"{name:30} {statistics.median(times):6.2f} ms  {more:+6.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Programs whose system calls fail, in their own process (LD_PRELOAD): sanitized, and fast."""

from __future__ import annotations

import subprocess
from pathlib import Path

from .compilers import BUILDS, HERE, preloaded
from .ways import run_here


class Faulty:
    """One of compilers.PROGRAMS, sanitized, with system calls that fail (fault.c)."""

    def __init__(self, program: str) -> None:
        self.program = program
        self.build = BUILDS["gcc-sanitized"]
        self.build.check()
        command = ["gcc", "-print-file-name=libasan.so"]
        asan = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.strip()
        # The sanitizer's has to come first.
        self.preload = f"{Path(asan).resolve()}:{preloaded(HERE / 'fault.c')}"

    def argv(self, call: str, first: int, last: int, *arguments: str) -> list[str]:
        """The command line."""
        faults = {"FAULT_CALL": call, "FAULT_FIRST": str(first), "FAULT_LAST": str(last), "LD_PRELOAD": self.preload}
        settings = [f"{name}={value}" for name, value in faults.items()]
        return ["env", *settings, str(self.build.program(self.program)), *arguments]

    def run(self, call: str, first: int, last: int, *arguments: str) -> subprocess.CompletedProcess[str]:
        return run_here(self.argv(call, first, last, *arguments))

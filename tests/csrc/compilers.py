"""Compilers for the C core, what they are held to, and programs built by them: each once a session."""

from __future__ import annotations

import functools
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.support import require
from tools import wheels_musl

HERE = Path(__file__).resolve().parent
CSRC = HERE.parents[1] / "csrc"
CORE = sorted(path for path in CSRC.glob("*.c") if path.name != "example.c")
PROGRAMS = {
    "example": [CSRC / "example.c"],
    "unit": [HERE / "unit.c", HERE / "unit_device.c", HERE / "unit_contract.c"],
    "settings": [HERE / "settings.c"],
    "records": [HERE / "records.c"],
    "embed": sorted((HERE.parent / "embed").glob("*.c")),
}
STRICT = ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wsign-conversion", "-Wshadow", "-Werror"]
SANITIZE = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"]
PLAIN, SANITIZED, DEBUG = ["-O2"], ["-O1", "-g", *SANITIZE], ["-O1", "-g"]

scratch = tempfile.TemporaryDirectory(prefix="netdevns-csrc-")  # removed by tests/conftest.py
SCRATCH = Path(scratch.name)


@dataclass(frozen=True)
class Build:
    """One way to build."""

    compiler: str
    options: tuple[str, ...]
    name: str

    def command(self, *arguments: str | Path) -> list[str]:
        more = ["-idirafter", str(kernel_headers())] if self.compiler == "musl-gcc" else []
        return [self.compiler, "-std=c11", *self.options, *more, f"-I{CSRC}", *map(str, arguments)]

    def run(self, *arguments: str | Path) -> None:
        """Compiles or links; a warning is an error, and so is any word on stderr."""
        command = self.command(*STRICT, *arguments)
        done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
        assert (done.returncode, done.stderr) == (0, ""), f"{self.name}: {' '.join(command)}\n{done.stderr}"

    @functools.cache  # noqa: B019  # as long as the session: a build is a constant
    def why_not(self) -> str | None:
        """Why nothing can be built in this way here; tried, with the headers and the options that matter."""
        if shutil.which(self.compiler) is None:
            return f"there is no {self.compiler}"
        source = SCRATCH / f"{self.name}-probe.c"
        source.write_text("#include <stdio.h>\n#include <linux/rtnetlink.h>\nint main(void) { return 0; }\n")
        command = self.command(source, "-o", source.with_suffix(""))
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        return f"{' '.join(command)}: {done.stderr.strip()[-300:]}" if done.returncode else None

    def check(self) -> None:
        """Skips the test where this build is not possible, or fails it: NETDEVNS_REQUIRE."""
        reason = self.why_not()
        if reason is not None:
            require("compilers", reason)

    @functools.cache  # noqa: B019
    def objects(self) -> tuple[Path, ...]:
        """The core, compiled."""
        folder = SCRATCH / self.name
        folder.mkdir()
        found = []
        for source in CORE:
            found.append(folder / f"{source.stem}.o")
            self.run("-c", source, "-o", found[-1])
        return tuple(found)

    @functools.cache  # noqa: B019
    def program(self, name: str) -> Path:
        """One of PROGRAMS, linked with the core."""
        out = SCRATCH / self.name / name
        self.run(*PROGRAMS[name], *self.objects(), "-o", out)
        return out


@functools.cache
def kernel_headers() -> Path:
    """The kernel's headers, for musl."""
    return wheels_musl.kernel_headers(SCRATCH / "kernel-headers")


BUILDS = {
    build.name: build
    for build in (
        Build("gcc", tuple(PLAIN), "gcc"),
        Build("gcc", tuple(SANITIZED), "gcc-sanitized"),
        Build("clang", tuple(PLAIN), "clang"),
        Build("clang", tuple(SANITIZED), "clang-sanitized"),
        Build("musl-gcc", tuple(PLAIN), "musl"),
    )
}
DEBUGGABLE = Build("gcc", tuple(DEBUG), "gcc-debug")

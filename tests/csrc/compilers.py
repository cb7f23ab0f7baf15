"""Compilers for the C core, what they are held to, and programs built by them: each once, for all processes."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
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
    "interface": [HERE / "interface.c"],
    "embed": [*sorted((HERE.parent / "embed").glob("*.c")), CSRC / "hook" / "json.c"],
}
STRICT = ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wsign-conversion", "-Wshadow", "-Werror"]
SANITIZE = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"]
PLAIN, SANITIZED, DEBUG = ["-O2"], ["-O1", "-g", *SANITIZE], ["-O1", "-g"]

# What is built of the same sources in the same way is built once: test runs are several processes.
BUILT = HERE.parents[1] / ".cache" / "csrc"
OLD_S = 4 * 3600.0  # since its last use; the longest run of tests takes less

scratch = tempfile.TemporaryDirectory(prefix="netdevns-csrc-")  # removed by tests/conftest.py
SCRATCH = Path(scratch.name)


def digest(*parts: str | Path) -> str:
    """Of texts, and of the contents of files."""
    found = hashlib.sha256()
    for part in parts:
        found.update(part.read_bytes() if isinstance(part, Path) else part.encode())
        found.update(b"\0")
    return found.hexdigest()[:20]


def once(name: str, key: str, make: Callable[[Path], object]) -> Path:
    """A folder that `make` has filled: made by the first process that wants it, and waited for by the others."""
    folder = BUILT / name / key
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = open(folder.parent / "lock", "w")  # noqa: SIM115  # closed below
    except OSError:  # a checkout that is another user's
        folder = SCRATCH / name / key
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = open(folder.parent / "lock", "w")  # noqa: SIM115
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if folder.exists():
            with contextlib.suppress(OSError):  # another user's, or on a file system that is read-only
                os.utime(folder)
        else:
            for other in folder.parent.iterdir():
                if other.is_dir() and time.time() - other.stat().st_mtime > OLD_S:
                    shutil.rmtree(other, ignore_errors=True)
            making = Path(tempfile.mkdtemp(dir=folder.parent))
            try:
                make(making)
                with contextlib.suppress(FileExistsError):  # made on another kernel, whose locks are its own
                    os.rename(making, folder)
            finally:
                shutil.rmtree(making, ignore_errors=True)
    return folder


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
        done = subprocess.run(command, capture_output=True, text=True, timeout=250, check=False)
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
    def key(self) -> str:
        """Of all that the core's objects are made of."""
        done = subprocess.run([self.compiler, "--version"], capture_output=True, text=True, timeout=60, check=True)
        command = " ".join(map(str, self.command(*STRICT)[:-1]))
        return digest(done.stdout, command, *sorted(CSRC.glob("*.[ch]")))

    @functools.cache  # noqa: B019
    def objects(self) -> tuple[Path, ...]:
        """The core, compiled."""

        def make(folder: Path) -> None:
            for source in CORE:
                self.run("-c", source, "-o", folder / f"{source.stem}.o")

        folder = once(self.name, self.key(), make)
        return tuple(folder / f"{source.stem}.o" for source in CORE)

    @functools.cache  # noqa: B019
    def link(self, name: str, sources: tuple[Path, ...], options: tuple[str, ...] = ()) -> Path:
        """A program, linked with the core."""
        headers = sorted(header for folder in {source.parent for source in sources} for header in folder.glob("*.h"))

        def make(folder: Path) -> None:
            self.run(*sources, *self.objects(), *options, "-o", folder / name)

        return once(f"{self.name}-{name}", digest(self.key(), *options, *sources, *headers), make) / name

    def program(self, name: str) -> Path:
        """One of PROGRAMS."""
        return self.link(name, tuple(PROGRAMS[name]))


@functools.cache
def kernel_headers() -> Path:
    """The kernel's headers, for musl."""
    version = Path("/usr/include/linux/version.h")
    key = digest(version) if version.exists() else "none"
    return once("kernel-headers", key, lambda folder: wheels_musl.kernel_headers(folder / "include")) / "include"


@functools.cache
def preloaded(source: Path) -> Path:
    """A library for LD_PRELOAD."""
    build = BUILDS["gcc"]
    build.check()

    def make(folder: Path) -> None:
        build.run("-shared", "-fPIC", source, "-o", folder / "preloaded.so")

    return once("preloaded", digest(build.key(), source), make) / "preloaded.so"


BUILDS = {
    build.name: build
    for build in (
        Build("gcc", tuple(PLAIN), "gcc"),
        Build("gcc", tuple(SANITIZED), "gcc-sanitized"),
        Build("clang", tuple(PLAIN), "clang"),
        Build("musl-gcc", tuple(PLAIN), "musl"),
    )
}
# For libFuzzer. Coverage is counted by function, and clang 19 inlines what clang 14 called.
FUZZED = ("-O1", "-g", "-fno-sanitize-recover=all")
LIBFUZZER = Build("clang", (*FUZZED, "-fno-inline", "-fsanitize=fuzzer,address,undefined"), "clang-fuzzer")
FUZZ_LOOP = Build("gcc", (*FUZZED, *SANITIZE, "-DFUZZ_MAIN"), "gcc-fuzzer")
DEBUGGABLE = Build("gcc", tuple(DEBUG), "gcc-debug")

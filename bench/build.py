"""Compiles the contestants in C and Go into .cache/bench, if they are older than their sources."""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
BUILT = TOP / ".cache" / "bench"
EMBED = BUILT / "embed"
BATCH = BUILT / "batch"
GO_PEER = BUILT / "go-peer"
SITE = BUILT / "site-packages"
NO_GO = 3  # of bench/go/build: Go or its library is not installed
# As in an installation: a checkout's command loads setuptools' finder at each start.
HOOK = [sys.executable, "-I", "-S", str(SITE / "netdevns" / "__main__.py"), "hook", "createRuntime"]
# The static hook, beside a `netdevns` that it can hand over to.
STATIC_HOOK = [str(BUILT / "bin" / "netdevns-hook"), "createRuntime"]
COMMAND = f"#!{sys.executable} -IS\nimport sys; sys.path.insert(0, {str(SITE)!r}); import netdevns.__main__\n"
FLAGS = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-O2"]


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Allows one build at a time: several test processes start at once."""
    BUILT.mkdir(parents=True, exist_ok=True)
    with (BUILT / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@_alone()
def programs() -> None:
    """Raises CalledProcessError, after the compiler's messages."""
    sources = [TOP / "bench" / name for name in ("floor.c", "launch.c", "protocol.h")]
    newest = max(source.stat().st_mtime for source in sources)
    for source in sources:
        program = BUILT / source.stem
        if source.suffix == ".c" and not (program.exists() and program.stat().st_mtime > newest):
            subprocess.run(["gcc", *FLAGS, "-o", program, source], check=True)
    folders = [TOP / "csrc", TOP / "tests" / "embed"]
    core = [source for source in sorted(folders[0].glob("*.[ch]")) if source.name not in ("example.c", "binding.c")]
    json = sorted((folders[0] / "hook").glob("json.[ch]"))
    _linked(EMBED, [*core, *sorted(folders[1].glob("*.[ch]")), *json])
    _linked(BATCH, [*core, TOP / "bench" / "batch.c", TOP / "bench" / "protocol.h"])
    hook, command = Path(STATIC_HOOK[0]), Path(STATIC_HOOK[0]).with_name("netdevns")
    sources = [source for folder in ("", "hook") for source in (folders[0] / folder).glob("*.[ch]")]
    if not (hook.exists() and hook.stat().st_mtime > max(source.stat().st_mtime for source in sources)):
        hook.parent.mkdir(exist_ok=True)
        subprocess.run([folders[0] / "hook" / "build", hook], check=True, stdout=subprocess.DEVNULL)
    command.write_text(COMMAND)
    command.chmod(0o755)


def _linked(program: Path, sources: list[Path]) -> None:
    if not (program.exists() and program.stat().st_mtime > max(source.stat().st_mtime for source in sources)):
        parts = [source for source in sources if source.suffix == ".c"]
        subprocess.run(["gcc", *FLAGS, "-static", f"-I{TOP / 'csrc'}", "-o", program, *parts], check=True)


@_alone()
def site() -> None:
    """A directory with the package and cffi's run time, as in an installation."""
    SITE.mkdir(parents=True, exist_ok=True)
    backend = Path(str(importlib.util.find_spec("_cffi_backend").origin))  # type: ignore[union-attr]
    for found in (TOP / "netdevns", backend):
        link = SITE / found.name
        if not link.exists() or link.resolve() != found.resolve():
            link.unlink(missing_ok=True)
            link.symlink_to(found)


@_alone()
def go_peer() -> str:
    """Builds the Go peer; returns "", or why the benchmark has to do without it. Raises CalledProcessError."""
    sources = [TOP / "bench" / "go" / name for name in ("build", "main.go")]
    if GO_PEER.exists() and GO_PEER.stat().st_mtime > max(source.stat().st_mtime for source in sources):
        return ""
    done = subprocess.run([sources[0]], stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode == NO_GO:
        return done.stderr.strip()
    sys.stderr.write(done.stderr)
    done.check_returncode()
    return ""

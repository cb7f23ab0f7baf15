"""The small runtime as a static program: its own code and data, libc's left out, have at most 142 KiB."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.csrc.compilers import CORE, PROGRAMS, Build

LIMIT_BYTES = 142 * 1024
# As a container runtime is shipped: no interpreter, no library.
STATIC = {
    "gcc": Build("gcc", ("-Os", "-static", "-ffunction-sections", "-Wl,--gc-sections"), "gcc-static"),
    "musl": Build("musl-gcc", ("-Os", "-static", "-ffunction-sections", "-Wl,--gc-sections"), "musl-static"),
}


@pytest.mark.thorough
@pytest.mark.parametrize("way", STATIC)
def test_static_program(way: str, tmp_path: Path, record_property) -> None:
    """It needs nothing to start but itself; code and data of ours are counted before they are linked."""
    build = STATIC[way]
    build.check()
    objects = []
    for source in (*CORE, *PROGRAMS["embed"]):
        objects.append(tmp_path / f"{source.stem}.o")
        build.run("-c", source, "-o", objects[-1])
    listed = subprocess.run(["size", *objects], capture_output=True, text=True, check=True, timeout=60).stdout
    ours = sum(int(line.split()[3]) for line in listed.splitlines()[1:])
    program = tmp_path / "embed"
    build.run(*objects, "-o", program)
    subprocess.run(["strip", program], check=True, timeout=60)
    record_property("counted", f"{build.name}: ours {ours:,} bytes, the program {program.stat().st_size:,}")
    assert 10_000 < ours <= LIMIT_BYTES
    assert b"ld-" not in program.read_bytes()[:4096]
    done = subprocess.run([program], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (2, "embed: usage: embed start BUNDLE | embed recover\n")

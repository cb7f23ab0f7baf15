"""The C core, with sanitizers, gets answers that no kernel gives (tests/csrc/fuzz.c): no wrong access, and no hang.

By clang's libFuzzer, led by coverage, and by a loop of its own, built by gcc. 3 s each, 60 s in the long run.
"""

from __future__ import annotations

import os
import re
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.csrc.compilers import BUILDS, FUZZ_LOOP, HERE, LIBFUZZER, Build
from tests.property.record import RECORDED
from tests.support.attacks import LONG

SECONDS = 60 if LONG else 3
# Those of a busy machine: 4,000 a second are seen here.
INPUTS_MIN = 100 * SECONDS
PARSE, EXCHANGE, DEVICE = 0, 1, 2
NLMSG_ERROR, NLMSG_DONE, NLM_F_MULTI = 2, 3, 2
ACK = bytes(2)  # an empty chunk
NAME = b"eth1\0"

pytestmark = [
    pytest.mark.native,
    pytest.mark.thorough,
    pytest.mark.skipif(sys.byteorder != "little", reason="the bytes were recorded on a little-endian machine"),
    pytest.mark.timeout(300),
]


def recorded(name: str) -> list[bytes]:
    return [bytes.fromhex(line) for line in (RECORDED / f"{name}.hex").read_text().split()]


def chunk(*messages: bytes) -> bytes:
    """A datagram as fuzz.c takes it."""
    data = b"".join(message + bytes(-len(message) & 3) for message in messages)
    return struct.pack("<H", len(data)) + data


def answer(message: bytes, number: int, *, multi: bool) -> bytes:
    """The message as an answer to the request's message of that number."""
    length, type_, flags = struct.unpack_from("=IHH", message)
    flags = flags | NLM_F_MULTI if multi else flags & ~NLM_F_MULTI
    return struct.pack("=IHHII", length, type_, flags, number, 0) + message[16:]


def seeds() -> Iterator[bytes]:
    """Sound inputs: all that was recorded, to be parsed and as answers."""
    for name in ("links", "addresses", "routes", "nexthops", "refusals"):
        yield bytes([PARSE, 0, 0, 0]) + b"".join(m + bytes(-len(m) & 3) for m in recorded(name))
    for message in (*recorded("links")[:2], *recorded("refusals")):
        yield bytes([EXCHANGE, 0, 255, 0]) + chunk(answer(message, 0, multi=False))
    yield from moves()


def moves() -> Iterator[bytes]:
    """The answers to a whole move to another name, and to its undo; two ways each to begin it and to end it."""
    link = next(message for message in recorded("links") if NAME in message)
    done = chunk(struct.pack("=IHHIIi", 20, NLMSG_DONE, NLM_F_MULTI, 1, 0, 0))
    there, gone = chunk(answer(link, 0, multi=False)), chunk(struct.pack("=IHHIIi16x", 36, NLMSG_ERROR, 0, 0, 0, -19))
    arrived = chunk(answer(link.replace(NAME, b"net0\0"), 0, multi=False))
    kept = [answer(message, 1, multi=True) for message in recorded("addresses")]
    addresses, renamed = chunk(*kept), chunk(*(message.replace(b"eth1", b"net0") for message in kept))
    snapshot = there + addresses + done
    for template in (0, 8):
        back = gone + gone + arrived + ACK + there
        # Template: the name is looked up after the move.
        forward = ACK + (arrived if template else b"") + ACK + arrived + renamed + done
        for restored in (snapshot, there + done + ACK + snapshot):
            how = 7 | template | 16  # memory, and an ifindex to ask for
            yield bytes([DEVICE, how, 0, 0]) + there + snapshot + forward + back + restored
            # Loaded from a record and looked for; damaged before the undo.
            yield bytes([DEVICE | 4 | 8, how, 60, 0]) + there + addresses + there + forward + back + restored


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    for number, seed in enumerate(seeds()):
        (folder / f"{number:03}").write_bytes(seed)
    return folder


def program(build: Build) -> Path:
    """fuzz.c, built in that way."""
    BUILDS["clang" if build is LIBFUZZER else "gcc-sanitized"].check()
    return build.link("fuzz", (HERE / "fuzz.c",), ("-Wl,--wrap=send,--wrap=recvmmsg",))


def fuzz(folder: Path, *command: str | Path) -> str:
    """What it said; a finding is what its sanitizer says."""
    done = subprocess.run(
        [*map(str, command)], cwd=folder, capture_output=True, text=True, check=False, env=os.environ, timeout=250
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said[-8000:]
    return said


def test_led_by_coverage(tmp_path: Path, corpus: Path, show: Callable[[str], None]) -> None:
    """libFuzzer, from the recorded messages on, finds nothing."""
    found = tmp_path / "found"
    found.mkdir()
    options = [f"-max_total_time={SECONDS}", "-max_len=16384", "-len_control=0", "-timeout=10", "-rss_limit_mb=1024",
               "-print_final_stats=1"]  # fmt: skip
    said = fuzz(tmp_path, program(LIBFUZZER), *options, found, corpus)
    inputs = int(re.search(r"number_of_executed_units: (\d+)", said)[1])
    covered = re.findall(r"cov: (\d+)", said)[-1]
    show(f"fuzz, libFuzzer: {inputs} inputs in {SECONDS} s, {covered} edges covered, 0 crashes, 0 hangs")
    assert inputs >= INPUTS_MIN


def test_at_random(tmp_path: Path, corpus: Path, show: Callable[[str], None]) -> None:
    """The loop of its own, with mutations at random, finds nothing."""
    said = fuzz(tmp_path, program(FUZZ_LOOP), str(SECONDS), *sorted(corpus.iterdir()))
    inputs = int(re.search(r"^(\d+) inputs$", said, re.MULTILINE)[1])
    show(f"fuzz, own loop: {inputs} inputs in {SECONDS} s, 0 crashes, 0 hangs")
    assert inputs >= INPUTS_MIN


def test_seeds_go_far(tmp_path: Path, corpus: Path) -> None:
    """Without mutations, too, the deepest places are reached: a whole move and its undo are among the seeds."""
    said = fuzz(tmp_path, program(LIBFUZZER), "-runs=0", "-print_coverage=1", corpus)
    reached = set(re.findall(r"^COVERED_FUNC:.* (\w+) /", said, re.MULTILINE))
    deep = {"say_address", "nd_addr_same", "nd_replay_run", "nd_dev_undo", "nd_dev_load", "nd_view_error"}
    assert deep - reached == set()

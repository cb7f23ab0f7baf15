"""The peer in Go does its job: the protocol, and the devices that arrive."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from bench.build import BUILT
from tests.support.namespaces import Namespace
from tests.support.require import require

pytestmark = pytest.mark.thorough  # Go is installed for --full

BUILD = Path(__file__).resolve().parents[2] / "bench/go/build"
NOT_INSTALLED = 3


@pytest.fixture(scope="module")
def peer() -> Path:
    """Of today's source, beside the one that the benchmark uses; Go's own cache makes the next time quick."""
    program = BUILT / "tested" / f"go-peer-{os.environ.get('PYTEST_XDIST_WORKER', '')}"  # others may test it, too
    done = subprocess.run([BUILD, program], capture_output=True, text=True, check=False)
    if done.returncode == NOT_INSTALLED:
        require("bench", done.stderr.strip())
    assert done.returncode == 0, done.stderr
    return program


def furnish(host: Namespace) -> None:
    for n in range(2):
        host.batch(
            [
                f"link add d{n} type ifb",
                f"link set d{n} up",
                f"addr add 10.1.0.{n + 1}/24 brd + dev d{n}",
                f"addr add 10.9.0.{n + 1}/24 dev d{n} valid_lft 1000 preferred_lft 1000",
                f"addr add 2001:db8::{n + 1}/64 dev d{n} nodad",
            ]
        )


def test_peer_moves_after_the_start_line(peer: Path, host: Namespace, target: Namespace) -> None:
    """Nothing moves before it; then each device under its new name, up, with its permanent addresses; the times."""
    furnish(host)
    argv = [peer, str(target.fd), "d0=net0", "d1=net1"]
    with subprocess.Popen(argv, stdin=-1, stdout=-1, text=True, pass_fds=[target.fd]) as process:
        assert process.stdin
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        assert {"d0", "d1"} <= host.names()
        process.stdin.write("\n")
        process.stdin.flush()
        answer = json.loads(process.stdout.readline())
        process.stdin.close()
        assert process.wait(10) == 0
    assert answer.keys() == {"wall_s", "cpu_s", "user_s", "system_s", "max_rss_kib"}
    assert 0 < answer["wall_s"] < 10
    assert answer["cpu_s"] == pytest.approx(answer["user_s"] + answer["system_s"])
    assert 1_000 < answer["max_rss_kib"] < 100_000
    found = {link["ifname"]: link for link in target.ip_json("addr show") if link["ifname"] != "lo"}
    assert found.keys() == {"net0", "net1"}
    for n in range(2):
        link = found[f"net{n}"]
        assert "UP" in link["flags"]
        assert [(a["local"], a["prefixlen"], a.get("broadcast")) for a in link["addr_info"]] == [
            (f"10.1.0.{n + 1}", 24, "10.1.0.255"),
            (f"2001:db8::{n + 1}", 64, None),
        ]


@pytest.mark.parametrize("argv", [[], ["3"], ["x", "d0=net0"], ["3", "d0"]])
def test_peer_refuses_what_it_does_not_understand(peer: Path, argv: list[str]) -> None:
    """One line, exit code 1, never ready."""
    done = subprocess.run([peer, *argv], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("go-peer: ")


def test_peer_ends_when_stdin_is_closed(peer: Path, host: Namespace, target: Namespace) -> None:
    """Without a start line nothing is moved."""
    furnish(host)
    argv = [peer, str(target.fd), "d0=net0"]
    done = subprocess.run(argv, input="", capture_output=True, text=True, check=False, pass_fds=[target.fd])
    assert (done.returncode, done.stdout) == (0, "ready\n")
    assert "d0" in host.names()


def test_peer_reports_a_failure(peer: Path, host: Namespace, target: Namespace) -> None:
    """Exit code 1 and no times."""
    furnish(host)
    argv = [peer, str(target.fd), "gone=net0"]
    done = subprocess.run(argv, input="\n", capture_output=True, text=True, check=False, pass_fds=[target.fd])
    assert (done.returncode, done.stdout) == (1, "ready\n")
    assert "gone" in done.stderr


def test_peer_prints_the_version_of_its_library(peer: Path) -> None:
    """For the report."""
    done = subprocess.run([peer, "--version"], capture_output=True, text=True, check=True)
    assert re.fullmatch(r"github\.com/vishvananda/netlink [0-9]\S+\n", done.stdout)

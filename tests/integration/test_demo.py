"""The demo: it keeps what it promises, and the machine as it is."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import netdevns
from tests.support.namespaces import Namespace

TOP = Path(__file__).parents[2]


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=TOP, capture_output=True, text=True, timeout=60)


def test_demo_leaves_nothing(host: Namespace) -> None:  # noqa: ARG001  # the thread is in it
    """It makes its moves with /run of its own: no folder of records is left on the machine."""
    existed = Path(netdevns.JOURNAL_DIR).exists()
    done = run(sys.executable, "-m", "netdevns", "demo")
    assert (done.returncode, Path(netdevns.JOURNAL_DIR).exists()) == (0, existed), done.stdout + done.stderr


DEMO_WITH_NEWS = """
    import subprocess, sys, time
    from netdevns.cli import demo, main

    def command(arguments):
        if arguments[0] == "move":
            for device in ("eth1-wire", "eth3"):
                subprocess.run(["ip", "link", "set", device, "alias", "news"], check=True)
            time.sleep(0.3)  # enough for a process that would react to it
        return main.main(arguments)

    sys.exit(demo.main(command))
"""


@pytest.mark.here
def test_demo_with_news_of_other_devices(host: Namespace) -> None:  # noqa: ARG001  # the thread is in it
    """The name is taken while the batch is under way, not when the kernel reports something else of a device."""
    done = run(sys.executable, "-c", textwrap.dedent(DEMO_WITH_NEWS))
    assert (done.returncode, "nothing was touched" in done.stderr) == (0, False), done.stdout + done.stderr


@pytest.mark.here
def test_demo_with_a_closed_stdout(host: Namespace) -> None:  # noqa: ARG001  # the thread is in it
    """`netdevns demo | head -1`: it runs to its end, and its exit code is that of its work."""
    command = [sys.executable, "-m", "netdevns", "demo"]
    with subprocess.Popen(command, cwd=TOP, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as demo:
        assert demo.stdout is not None
        assert demo.stderr is not None
        assert demo.stdout.readline() != ""
        demo.stdout.close()
        said = demo.stderr.read()  # the error of the failed batch that it shows
        assert (demo.wait(60), "internal" in said, "late2" in said) == (0, False, True), said

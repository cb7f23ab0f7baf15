"""A prepared namespace loses its name, or a device: each line is true, and nothing is left."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fault.prepared import NAME, PATH, PREPARE, UNDO, Host
from tests.support.attacks import finish
from tests.support.namespaces import Namespace
from tests.support.processes import wait_until

# `ip netns del`, once the device is in the namespace.
REMOVED = """
import subprocess, sys
from netdevns.cli.main import main
from tests.support import steps
setattr(*steps.after("move", lambda _: subprocess.run(["ip", "netns", "del", sys.argv[2]], check=True)))
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def host() -> Iterator[Host]:
    with Host("native") as found:
        yield found


def test_name_is_removed_while_the_device_moves(host: Host) -> None:
    """It would end with the namespace, and the path that the command prints would not exist."""
    out, err, code = finish(host.python("-c", REMOVED, *PREPARE))
    assert (out, code) == ("", 1)
    assert err.startswith(f"netdevns: {PATH} was removed or replaced during the move; all devices are restored\n"), err
    assert (host.differs(), host.left()) == ([], [])


def test_name_that_was_unmounted(host: Host) -> None:
    """Its file is there still: the line says what has happened, and the file is removed with the namespace."""
    assert host.plain(*PREPARE)[2] == 0
    with subprocess.Popen(["ip", "netns", "exec", NAME, "sleep", "100"]) as process:
        wait_until(lambda: Path(f"/proc/{process.pid}/comm").read_text() == "sleep\n", "it has entered the namespace")
        subprocess.run(["umount", "--no-mtab", PATH], check=True)  # and without /run/mount
        _, err, code = host.plain(*PREPARE)
        assert (code, f"{PATH}: `umount` took the name of the namespace" in err) == (2, True), err
        out, err, code = host.plain(*UNDO, "--force")
        assert (err, code) == ("", 0), out
        process.kill()
    assert (host.differs(), host.left()) == ([], [])


@pytest.mark.parametrize("files", [9, 10, 11, 12, 13])
def test_new_namespace_is_removed_without_free_descriptors(host: Host, files: int) -> None:
    """A move that is refused for want of them leaves no namespace: "nothing was touched" is true."""
    host.plain("prepare", NAME, "nosuch")  # what is made once
    _, err, code = host.plain(*PREPARE, under=("prlimit", f"--nofile={files}"))
    assert (code, err.splitlines()[-1]) == (2, "netdevns: nothing was touched"), err
    assert (host.differs(), host.left()) == ([], [])


def test_device_that_was_brought_home_by_hand(host: Host) -> None:
    """It is not another one of its name, and nothing is in the namespace."""
    assert host.plain(*PREPARE)[2] == 0
    with Namespace(os.open(PATH, os.O_RDONLY | os.O_CLOEXEC), NAME) as there:
        there.ip("link set net0 name eth1")
        there.give("eth1", host.host)
    _, err, code = host.plain(*PREPARE)
    said = f'eth1: it was moved to {NAME} as "net0", but is here, and not there; run `netdevns prepare {NAME} --undo`'
    assert (code, said in err) == (2, True), err
    out, err, code = host.plain(*UNDO)
    assert (err, code) == ("", 0), out
    assert (host.differs(), host.left()) == ([], [])

"""Commands that messages suggest for names with characters of the shell: typed as they stand, they mean that name."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator

import pytest

from tests.fault.prepared import Host

COMMAND = re.compile("`(netdevns [^`]*)`")


@pytest.fixture
def host() -> Iterator[Host]:
    with Host("native") as found:
        yield found


@pytest.mark.parametrize("name", ["a$(touch PWNED)", "net0; rm -f x", "it's"])
def test_remedies_for_a_prepared_namespace(host: Host, name: str) -> None:
    """Of `return`, `show`, a refused `move`, and `prepare` of a device with another name, or that was changed."""
    assert host.plain("prepare", name, "eth1=net0")[2] == 0
    said = [host.plain(*words) for words in (["return"], ["move", "eth1", "--to", "pid:1"], ["prepare", name, "eth1"])]
    host.host.batch(["link add eth1 type ifb"])
    said.append(host.plain("show"))
    host.host.batch(["link del eth1"])
    subprocess.run(["ip", "-n", name, "link", "set", "net0", "down"], check=True)
    said.append(host.plain("prepare", name, "eth1=net0"))
    for out, err, _ in said:
        commands = [shlex.split(line) for line in COMMAND.findall(out + err)]
        assert ["netdevns", "prepare", name, "--undo"] in commands, out + err
    assert host.plain("prepare", name, "--undo")[2] == 0
    assert (host.differs(), host.left()) == ([], [])

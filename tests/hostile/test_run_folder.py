"""A /run that is full, read-only, or emptied meanwhile: devices are restored, and lines name the cause and the path."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fault.prepared import NAME, PATH, UNDO, Host
from tests.support.attacks import finish
from tests.support.restored import differences

RUN = Path("/run/netdevns")
SETUP = """
    link add v1 type veth peer name v1p
    link add v2 type veth peer name v2p
    link set v1p up
    link set v1 alias old up
    addr add 10.77.0.1/24 dev v1
    addr add 10.77.0.2/24 dev v1
    route add 198.18.0.0/15 via 10.77.0.9
"""
# All that netdevns has written is removed before the step of a move.
REMOVED = """
import shutil, sys
from netdevns.cli.main import main
from tests.support import steps
setattr(*steps.before(sys.argv[1], lambda _: shutil.rmtree("/run/netdevns", ignore_errors=True)))
sys.exit(main(sys.argv[2:]))
"""
CHANGED = """
    link set v1 alias new mtu 1300
    addr add 10.78.0.7/24 dev v1
    addr del 10.77.0.2/24 dev v1
    route del 198.18.0.0/15
"""


@pytest.fixture
def host() -> Iterator[Host]:
    """A host with a small file system for netdevns, below /run."""
    RUN.mkdir(mode=0o700, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k,mode=700", "tmpfs", RUN], check=True)
    try:
        with Host("native") as found:
            found.host.batch(SETUP)
            found.host.wait_until_quiet()
            yield found
    finally:
        subprocess.run(["umount", RUN], check=True)


@contextlib.contextmanager
def full() -> Iterator[None]:
    """There is no space left."""
    filler = RUN / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass
    yield
    filler.unlink()


@pytest.mark.parametrize("later", [UNDO, ("prepare", "other", "v1")], ids=["undo", "move"])
def test_restored_device_is_not_reset_later(host: Host, later: tuple[str, ...]) -> None:
    """P1: a partial undo without space for a shorter loan; what is done with the restored device since stays."""
    assert host.plain("prepare", NAME, "v1=x", "v2=y")[2] == 0
    host.host.ip("link add v2 type ifb")  # it has the name now
    with full():
        out, err, code = host.plain(*UNDO)
    assert (err, code) == ("", 3)
    assert "v1: undone: restored" in out, out
    assert "v2: kept" in out, out
    host.host.batch(CHANGED)
    host.host.ip("link del v2")
    changed = host.host.ip_json("addr show dev v1"), host.host.ip("route show dev v1")
    out, err, code = host.plain(*later)
    assert (code, "v1: undone" in out + err) == (0, False), (out, err)
    if later != UNDO:
        out, err, code = host.plain("prepare", "other", "--undo")
        assert code == 0, (out, err)
        assert host.plain(*UNDO)[2] == 0
    now = host.host.ip_json("addr show dev v1"), host.host.ip("route show dev v1")
    assert [a["local"] for a in now[0][0]["addr_info"]] == [a["local"] for a in changed[0][0]["addr_info"]]
    assert (now[0][0]["mtu"], now[0][0]["ifalias"], now[1]) == (1300, "new", changed[1])
    assert "v2" in host.host.names()
    assert (host.left(), PATH.exists()) == ([], False)


@pytest.mark.parametrize("folder", ["txn", "loan", "prepared"])
def test_read_only(host: Host, folder: str) -> None:
    """P7: the lines do not say that a file cannot be read."""
    assert host.plain("prepare", NAME, "v1")[2] == 0
    record = RUN / folder / NAME
    if not record.exists():
        record.write_bytes((RUN / "loan" / NAME).read_bytes())
        record.chmod(0o600)
    subprocess.run(["mount", "-o", "remount,ro", RUN], check=True)
    try:
        out, err, code = host.plain("return" if folder == "loan" else "recover")
        assert (err, code) == ("", 3)
        assert f"{record}: kept: cannot write {record}: Read-only file system; the record is kept\n" in out
    finally:
        subprocess.run(["mount", "-o", "remount,rw", RUN], check=True)
    assert host.plain(*UNDO)[2] == 0


def test_new_namespace_on_a_read_only_file_system(host: Host) -> None:
    """P7: the line has the whole path of the folder."""
    assert host.plain("prepare", NAME, "v1")[2] == 0
    subprocess.run(["mount", "-o", "remount,ro", RUN], check=True)
    try:
        out, err, code = host.plain("prepare", "red", "v2")
        assert (out, code) == ("", 2)
        assert err.startswith("netdevns: /run/netns/red: /run/netdevns/prepared: Read-only file system\n")
    finally:
        subprocess.run(["mount", "-o", "remount,rw", RUN], check=True)
    assert host.plain(*UNDO)[2] == 0


@pytest.mark.parametrize(("step", "folder"), [("snapshot", "txn"), ("verify", "loan")])
def test_folder_that_is_removed_meanwhile(host: Host, step: str, folder: str) -> None:
    """P7: the one line names the folder, and asks for no removal of what does not exist."""
    before = host.host.dump()
    out, err, code = finish(host.python("-c", REMOVED, step, "prepare", NAME, "v1", "v2"))
    why = "the record of this move could not be written"
    text = f"netdevns: {why}: /run/netdevns/{folder}: No such file or directory; all devices are restored\n"
    assert (out, err, code) == ("", text, 1)
    assert differences(host.host.dump, before) == []
    assert not PATH.exists()

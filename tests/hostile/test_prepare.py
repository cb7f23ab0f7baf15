"""What others do to a prepared namespace, and where it is made: no device ends with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fault.prepared import NAME, PATH, PREPARE, UNDO, Host
from tests.support.namespaces import Namespace
from tests.support.processes import blocks, wait_until

UNTOUCHED = "netdevns: nothing was touched\n"
LOAN, MADE = Path("/run/netdevns/loan", NAME), Path("/run/netdevns/prepared", NAME)


@pytest.fixture
def host() -> Iterator[Host]:
    with Host("native") as found:
        yield found


def prepared(host: Host, *arguments: str) -> Namespace:
    """The namespace, after a `prepare` that succeeds."""
    out, err, code = host.plain(*(arguments or PREPARE))
    assert (out, code) == (f"{PATH}\n", 0), err
    return Namespace(os.open(PATH, os.O_RDONLY | os.O_CLOEXEC), NAME)


def refused(host: Host, *arguments: str, under: tuple[str, ...] = ()) -> str:
    out, err, code = host.plain(*arguments, under=under)
    assert (out, code) == ("", 2), err
    assert err.endswith(UNTOUCHED), err
    assert "internal error" not in err
    return err


def home(host: Host) -> None:
    """All devices are home, and nothing is left."""
    out, err, code = host.plain(*UNDO)
    assert (err, code) == ("", 0), out
    assert host.differs() == []
    assert host.left() == []


# ---- where it is made ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["private", "slave"])
def test_mount_namespace_that_would_end_with_the_command(host: Host, how: str) -> None:
    """Refused before a device moves: the name would end with the process, and the namespace with the name."""
    err = refused(host, *PREPARE, under=("unshare", "--mount", f"--propagation={how}"))
    assert "this process has its own mount namespace" in err
    assert (host.differs(), host.left()) == ([], [])


def test_prepared_namespace_as_the_source(host: Host) -> None:
    """Refused: what is in it is on loan, and would be looked for there."""
    prepared(host).close()
    err = refused(host, "prepare", "red", "net0", under=("nsenter", f"--net={PATH}"))
    assert f"called inside the prepared namespace {NAME}" in err
    home(host)


def test_folder_that_is_a_file(host: Host) -> None:
    """Nothing is mounted over it."""
    mounts = Path("/proc/self/mountinfo").read_text()
    script = 'umount -l /run/netns; mount -t tmpfs tmpfs /run && : >/run/netns && exec "$@"'
    refused(host, *PREPARE, under=("unshare", "--mount", "sh", "-c", script, "sh"))
    assert Path("/proc/self/mountinfo").read_text() == mounts


@pytest.mark.thorough
def test_name_that_was_removed(host: Host) -> None:
    """A process keeps the namespace; with its end virtual devices would be deleted: the line says --force."""
    with prepared(host), subprocess.Popen(["ip", "netns", "exec", NAME, "sleep", "100"]) as process:
        wait_until(lambda: Path(f"/proc/{process.pid}/comm").read_text() == "sleep\n", "it has entered the namespace")
        subprocess.run(["ip", "netns", "del", NAME], check=True)
        err = refused(host, *UNDO)
        assert f"{PATH}: its name was removed, and it ends with process {process.pid} (sleep): use --force" in err
        err = refused(host, *PREPARE)
        assert "`ip netns del` took the name of the namespace that `netdevns prepare` made" in err
        assert host.plain(*UNDO, "--force")[2] == 0
        process.kill()
    assert (host.differs(), host.left()) == ([], [])


def test_container_that_changed_the_device(host: Host) -> None:
    """`prepare` lists how a device that is there already differs from its arrival; `--undo` restores it."""
    with prepared(host) as there:
        addresses = [a for a in there.ip_json("addr show dev net0")[0]["addr_info"] if a["scope"] == "global"]
        there.batch(["link set net0 down", "addr flush dev net0", "link set net0 name wan"])
    _, err, code = host.plain(*PREPARE)
    lost = ", ".join(f"without {a['local']}/{a['prefixlen']}" for a in addresses)
    undo = f"to restore it, run `netdevns prepare {NAME} --undo` first"
    assert (err, code) == (f'netdevns: eth1: already there, but named "wan", down, {lost}: {undo}\n', 0)
    home(host)


@pytest.mark.parametrize(
    ("index", "why"),
    [("index 77", "is no longer there: it was moved on or deleted"), ("index {}", "may have replaced it")],
)
def test_container_that_replaced_the_device(host: Host, index: str, why: str) -> None:
    """A new device with its name, or its ifindex, too, is not taken for it; with another MAC address it is the same."""
    with prepared(host) as there:
        there.ip("link set net0 address 02:00:00:00:00:77")
        _, err, code = host.plain(*PREPARE)
        assert (code, err.startswith("netdevns: eth1: already there, but with another MAC address: ")) == (0, True), err
        number = there.links()["net0"].ifindex
        there.ip("link del net0")
        there.ip(f"link add net0 {index.format(number)} type veth peer name other")
        err = refused(host, *PREPARE)
        assert f"netdevns: eth1: it was moved to {PATH}" in err
        assert why in err


def test_container_that_replaced_a_device_without_carrier(host: Host) -> None:
    """Nothing shows whether the one with its ifindex is a new one: it is not taken for it."""
    host.host.ip("link add eth2 index 77 type ifb")
    with prepared(host, "prepare", NAME, "eth2") as there:
        there.batch(["link del eth2", "link add eth2 index 77 type ifb"])
    assert "may have replaced it" in refused(host, "prepare", NAME, "eth2")


# ---- what ends with it ----------------------------------------------------------------------------------------------


@pytest.mark.thorough
def test_source_that_is_gone(host: Host) -> None:
    """What has no home any more stays where it is, also with --force, and so does the namespace."""
    with Namespace.create("source") as source:
        source.ip("link add eth1 type ifb")
        with source.entered():
            done = subprocess.run(
                [sys.executable, "-P", "-m", "netdevns", *PREPARE], capture_output=True, text=True, check=False
            )
        assert done.returncode == 0, done.stderr
    for options, code in (((), 3), (("--force",), 3)):
        out, _, ended = host.plain(*UNDO, *options)
        assert ended == code, out
        with Namespace(os.open(PATH, os.O_RDONLY | os.O_CLOEXEC), NAME) as there:
            assert "net0" in there.names(), out
    with Namespace(os.open(PATH, os.O_RDONLY | os.O_CLOEXEC), NAME) as there:
        there.ip("link del net0")
    assert host.plain(*UNDO)[2] == 0
    assert host.left() == []


@pytest.mark.sampled(3)
@pytest.mark.parametrize("other", ["veth peer name wire", "bridge"])
@pytest.mark.parametrize("command", [UNDO, ("recover",)], ids=["undo", "recover"])
def test_device_that_prepare_did_not_move(host: Host, command: tuple[str, ...], other: str) -> None:
    """A virtual device would end with the namespace, also an immovable one: it stays."""
    prepared(host).close()
    if command == ("recover",):
        LOAN.unlink()  # as if the move into it had been undone
    with Namespace(os.open(PATH, os.O_RDONLY | os.O_CLOEXEC), NAME) as there:
        there.ip(f"link add other type {other}")
        _, err, code = host.plain(*command)
        assert code == (2 if command == UNDO else 0)
        assert ("is in it, which `netdevns prepare` did not move there" in err) == (command == UNDO)
        assert {"other", "net0"} <= there.names()


@pytest.mark.thorough
def test_damaged_loan(host: Host) -> None:
    """It is reported and set aside; the device stays where it is, and no later command moves it."""
    prepared(host).close()
    LOAN.write_bytes(b"xx")
    assert "wrong length" in refused(host, *UNDO)
    for command in (("recover",), (*UNDO, "--force"), ("return",), ("recover",), (*UNDO, "--force"), PREPARE):
        out, err, _ = host.plain(*command)
        assert "internal error" not in err, out
        with Namespace(os.open(PATH, os.O_RDONLY | os.O_CLOEXEC), NAME) as there:
            assert "net0" in there.names(), (command, out, err)


def test_device_that_was_moved_further(host: Host) -> None:
    """Its loan is kept, and it can still be returned."""
    with prepared(host) as there, Namespace.create("inner") as inner:
        there.give("net0", inner)
        out, _, code = host.plain(*UNDO)
        assert (code, "it was moved on or deleted" in out) == (3, True), out
        assert LOAN.exists()
        inner.give("net0", there)
    home(host)


def test_change_after_a_return(host: Host) -> None:
    """An undo that is repeated for a device that it had missed leaves alone what it had restored before."""
    host.host.batch(["link add eth2 type ifb"])
    host.host.wait_until_quiet()
    with prepared(host, *PREPARE, "eth2") as there, Namespace.create("inner") as inner:
        there.give("eth2", inner)
        out, _, code = host.plain(*UNDO)
        assert (code, "eth1: undone: restored" in out) == (3, True), out
        host.host.batch(["link set eth1 mtu 1300"])
        inner.give("eth2", there)
        out, _, code = host.plain(*UNDO)
        assert (code, "eth1" in out) == (0, False), out
    assert "mtu 1300" in host.host.ip("link show eth1")
    assert host.left() == []


@pytest.mark.thorough
def test_return_from_an_older_mount_namespace(host: Host) -> None:
    """The namespace is found by what the first process has mounted, and nothing is forgotten."""
    host.plain("prepare", NAME, "nosuch")
    with subprocess.Popen(["unshare", "--mount", "--propagation=private", "sleep", "60"]) as older:
        wait_until(lambda: Path(f"/proc/{older.pid}/comm").read_text() == "sleep\n", "it has a mount namespace")
        prepared(host).close()
        out, _, code = host.plain("return", under=("nsenter", f"--target={older.pid}", "--mount"))
        older.kill()
    assert (code, "still exists; the device stays there" in out) == (0, True), out
    home(host)


def test_process_of_another_pid_namespace(host: Host) -> None:
    """It cannot be seen: refused, and nothing is taken from it."""
    prepared(host).close()
    err = refused(host, *UNDO, under=("unshare", "--pid", "--fork", "--kill-child", "--mount-proc"))
    assert "cannot find out whether a process is in it" in err or "mount namespace" in err
    home(host)


# ---- names, numbers, order ------------------------------------------------------------------------------------------


@pytest.mark.thorough
def test_names_that_are_too_alike(host: Host) -> None:
    """Of a name that another one would have the file of, nothing is prepared, and nothing undone."""
    for name in ("ä" * 34 + "b", "\udcff", "a\nb"):
        assert "not a valid name for a prepared namespace" in refused(host, "prepare", name, "eth1")
        assert "not a valid name for a prepared namespace" in refused(host, "prepare", name, "--undo")


@pytest.mark.thorough
def test_another_device_of_the_same_name(host: Host) -> None:
    """It is not taken for the one that came."""
    prepared(host).close()
    host.host.ip("link add eth1 type ifb")
    assert "another device of that name is in" in refused(host, *PREPARE)
    host.host.ip("link del eth1")
    home(host)


def test_number_that_is_taken_at_home(host: Host) -> None:
    """The device is back under another one."""
    index = host.host.links()["eth1"].ifindex
    prepared(host).close()
    host.host.ip(f"link add taker index {index} type ifb")
    out, err, code = host.plain(*UNDO)
    assert (err, code, "with another ifindex" in out) == ("", 0, True), out
    assert "eth1" in host.host.names()
    assert host.left() == []


def test_last_that_came_goes_first(host: Host) -> None:
    """A route of the first needs an address of the second."""
    host.host.batch(["link add eth2 type ifb", "link set eth2 up", "addr add 10.3.0.1/24 dev eth2"])
    host.host.ip("route add 10.9.0.0/16 via 10.0.0.5 dev eth1 src 10.3.0.1")
    host.was = host.host.dump()
    for device in ("eth1", "eth2"):
        prepared(host, "prepare", NAME, device).close()
    home(host)


# ---- half done -------------------------------------------------------------------------------------------------------


@pytest.mark.thorough
def test_loopback_that_was_not_up_yet(host: Host) -> None:
    """A `prepare` that was killed before is completed by the next one."""
    ended = host.command(*PREPARE, inject=("sendto:signal=KILL:when=1",))
    assert ended.code != 0
    with prepared(host) as there:
        assert there.links()["lo"].up
    home(host)


def test_signal_while_it_waits_for_another(host: Host) -> None:
    """It says so, and has touched nothing."""
    prepared(host).close()
    with subprocess.Popen(["flock", str(MADE), "sleep", "60"], start_new_session=True) as other:
        wait_until(
            lambda: subprocess.run(["flock", "--nonblock", MADE, "true"], check=False).returncode, "it is locked"
        )
        process = host.python("-m", "netdevns", *UNDO)
        wait_until(lambda: blocks(process.pid, signal.SIGTERM), "it has begun")
        time.sleep(0.3)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=30)
        os.killpg(other.pid, signal.SIGKILL)
    assert (out, process.returncode) == ("", 1)
    assert err == "netdevns: interrupted by SIGTERM; nothing was touched\n"
    home(host)


@pytest.mark.thorough
def test_folder_that_cannot_be_written(host: Host) -> None:
    """The devices are home, and it says what is there still."""
    prepared(host).close()
    out, err, code = host.plain(
        *UNDO, under=("strace", "-qq", "-f", "-o", "/dev/null", "-e", "inject=umount2:error=EROFS")
    )
    assert (err, code) == ("", 3), out
    assert "cannot remove the namespace" in out
    assert host.differs() == []
    home(host)


@pytest.mark.sampled(6)
@pytest.mark.parametrize("files", [8, 10, 11, 12, 14, 16])
def test_few_descriptors(host: Host, files: int) -> None:
    """Whatever fails, the next command works on what is left."""
    host.plain("prepare", NAME, "nosuch")  # what is made once
    host.plain(*PREPARE, under=("prlimit", f"--nofile={files}"))
    host.plain("recover")
    if PATH.exists():
        prepared(host).close()
        home(host)
    assert (host.differs(), host.left()) == ([], [])


def test_container_of_the_same_name(host: Host) -> None:
    """Its loan is another one, and does not stand in the way."""
    prepared(host).close()
    LOAN.rename(LOAN.with_name("away"))
    host.host.ip("link add eth7 type ifb")
    (host.bundle / "config.json").write_text("{}")
    out, err, code = host.plain("hook", "createRuntime", "eth7")
    assert code == 0, (out, err)
    LOAN.with_name("c1").rename(LOAN)  # a container called as the namespace is
    LOAN.with_name("away").rename(LOAN.with_name(f"{NAME}~0000000000000000"))
    out, err, code = host.plain(*UNDO)
    assert (err, code) == ("", 0), out
    assert "eth1" in host.host.names()
    assert not PATH.exists()


def test_record_of_strangers(host: Host) -> None:
    """A damaged one of another move has nothing to do with it."""
    prepared(host).close()
    stranger = Path("/run/netdevns/txn/00aa")
    stranger.write_bytes(b"xx")
    out, err, code = host.plain(*UNDO)
    assert (err, code) == ("", 0), out
    stranger.unlink()
    assert (host.differs(), host.left()) == ([], [])


def test_damaged_record_of_the_namespace(host: Host) -> None:
    """`recover --list` names it and leaves it alone; `recover` says that it sets it aside; then the loan is found."""
    prepared(host).close()
    MADE.write_bytes(MADE.read_bytes() + b"x")
    damaged = "a netlink message with a wrong length"
    for _ in range(2):
        out, err, code = host.plain("recover", "--list")
        assert (err, code) == ("", 0)
        assert out.startswith(f"{MADE}: {damaged}"), out
    assert f"{PATH}: {MADE}: {damaged}" in refused(host, *UNDO)
    assert f"{PATH}: {MADE}: {damaged}" in refused(host, *PREPARE)
    out, _, code = host.plain("recover")
    assert (code, f"/run/netdevns/aside/{NAME}.undo: kept: record ignored: {damaged}" in out) == (3, True), out
    for command in (UNDO, PREPARE):
        err = refused(host, *command)
        assert "eth1 is on loan under this name" in err
        assert f"then run `netdevns return {NAME}`" in err
    with Namespace(os.open(PATH, os.O_RDONLY | os.O_CLOEXEC), NAME) as there:
        there.give("net0", host.host)
    out, _, code = host.plain("return", NAME)
    assert (code, out.startswith("eth1: undone: restored")) == (0, True), out
    assert host.differs() == []


@pytest.mark.parametrize("what", ["a link", "for all"])
def test_folder_that_is_not_ours_alone(host: Host, what: str) -> None:
    """One line, and no error of netdevns' own."""
    prepared(host).close()
    folder = MADE.parent
    aside = folder.with_name("aside-of-the-test")
    if what == "a link":
        folder.rename(aside)
        folder.symlink_to(aside)
    else:
        folder.chmod(0o777)
    out, err, code = host.plain("recover")
    assert (code, err, out.count("\n"), "internal" in out) == (3, "", 1, False), out
    if what == "a link":
        folder.unlink()
        aside.rename(folder)
    folder.chmod(0o700)
    home(host)

"""csrc/netdevns.h as an embedder meets it: callers of older versions, NULL, reports that are too long, words."""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.csrc.compilers import BUILDS, CORE, CSRC, PROGRAMS, Build
from tests.support import require
from tests.support.namespaces import Namespace
from tests.support.restored import Untouched, assert_equal_soon

from .fighter import ACCEPT_ALL, MOVE, Driver
from .test_across import mover

HEADER = (CSRC / "netdevns.h").read_text()
VERSION = int(re.search(r"^#define NETDEVNS_VERSION (\d+)$", HEADER, re.MULTILINE)[1])  # type: ignore[index]


def run(build: Build, *arguments: str | Path) -> str:
    build.check()
    done = subprocess.run(
        [build.program("interface"), *arguments], capture_output=True, encoding="utf-8", timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def path_of(namespace: Namespace) -> str:
    return f"/proc/{os.getpid()}/fd/{namespace.fd}"


# ---- callers ----


def test_null(sides: tuple[Namespace, Namespace]) -> None:
    """NULL is allowed for each error; a batch or a name that is NULL is refused, and so is a failed open's -errno."""
    host, target = sides
    before = host.dump()
    run(BUILDS["gcc-sanitized"], "null", path_of(target))
    assert_equal_soon(before, host)


@pytest.mark.thorough
def test_caller_of_an_older_version(sides: tuple[Namespace, Namespace], tmp_path: Path) -> None:
    """A library whose struct netdevns_error has grown writes nothing behind that of a caller with this header."""
    build = BUILDS["gcc"]
    build.check()
    newer = shutil.copytree(CSRC, tmp_path / "newer")
    grown = HEADER.replace(f"_VERSION {VERSION}", f"_VERSION {VERSION + 1}")
    grown = grown.replace("\tchar text[512];", "\tchar text[512], more[1024];")
    assert grown.count("more[1024]") == grown.count(f"_VERSION {VERSION + 1}") == 1
    (newer / "netdevns.h").write_text(grown)
    sources = [newer / path.name for path in CORE]
    library, program = tmp_path / "libnetdevns.so", tmp_path / "interface"
    subprocess.run(["gcc", "-O0", "-fPIC", "-shared", f"-I{newer}", *sources, "-o", library], check=True, timeout=250)
    words = [f"-I{CSRC}", *PROGRAMS["interface"], library, f"-Wl,-rpath,{tmp_path}"]
    subprocess.run(["gcc", *words, "-o", program], check=True, timeout=60)
    subprocess.run([program, "guard", path_of(sides[1])], check=True, timeout=60)


@pytest.mark.parametrize(
    ("compiler", "standard"),
    [
        ("gcc", "c90"),
        ("g++", "c++98"),
        pytest.param("clang", "c90", marks=pytest.mark.thorough),  # which only --full installs
        pytest.param("clang++", "c++98", marks=pytest.mark.thorough),
    ],
)
def test_header_in_old_languages(compiler: str, standard: str) -> None:
    """An embedder's own files may be C90 or C++98, and pedantic."""
    if shutil.which(compiler) is None:
        require("compilers", f"there is no {compiler}")
    language = "-xc++" if "+" in standard else "-xc"
    words = [language, f"-std={standard}", "-pedantic-errors", "-Wall", "-Wextra", "-Werror", "-fsyntax-only"]
    done = subprocess.run(
        [compiler, *words, CSRC / "netdevns.h"], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("accept", [256, 0xFFFFFF00, 1 << 31])
def test_bits_that_are_none(sides: tuple[Namespace, Namespace], c: Driver, accept: int) -> None:
    """A bit that enum netdevns_state does not have accepts nothing, and is refused."""
    with Untouched(*sides):
        assert c.open(sides[1]).code == 0
        for verb in ("check", "move"):
            answer = c.ask(f"{verb} 0 {accept}")
            assert (answer.code, answer.step, answer.begun) == (errno.EINVAL, verb, False)
            assert answer.text.endswith(f"0x{accept:x}")


# ---- the report of a recovery ----


def reported(records: Path, size: int, version: int = VERSION) -> tuple[str, list[str]]:
    first, *lines = run(BUILDS["gcc-sanitized"], "report", records, str(size), str(version)).splitlines()
    return first, lines


@pytest.mark.thorough
def test_report_has_whole_lines(tmp_path: Path) -> None:
    """For each size of the caller's memory: whole lines, and the number of those that are left out."""
    for n in range(9):
        (tmp_path / f"r{n}").write_text("none")
        (tmp_path / f"r{n}").chmod(0o600)
    first, full = reported(tmp_path, 4096)
    assert first.startswith(f"{-errno.EBADMSG} ")
    assert len(full) == 9
    seen = set()
    for size in range(0, 700, 7):
        _, lines = reported(tmp_path, size)
        if not lines:
            assert size < 24
            continue
        shown = len(lines) - lines[-1].startswith("and ")
        assert lines == full[:shown] + [f"and {9 - shown} more"] * (shown < 9)
        seen.add(shown)
    assert seen == {*range(10)}


def test_recovery_for_another_version(tmp_path: Path) -> None:
    """A recovery is refused to a caller that the library does not serve, and tries nothing."""
    (tmp_path / "r").write_text("none")
    for version in (VERSION + 1, VERSION - 100, 0):
        first, lines = reported(tmp_path, 4096, version)
        assert first.startswith(f"{-errno.EPROTO} the program was compiled with netdevns.h {version}, but"), first
        assert lines == []


# ---- devices that are not restored ----


def gone(c: Driver, host: Namespace, target: Namespace, names: list[str]) -> str:
    """Moves these, of which the container deletes each; the text of the undo."""
    host.batch(f"link add {name} type ifb" for name in names)
    c.moved(target, {name: name for name in names})
    target.batch(f"link del {name}" for name in names)
    answer = c.undo()
    assert (answer.code, answer.left_count) == (errno.EIO, len(names)), answer
    assert len(answer.text) < 512
    assert answer.device == (0 if len(names) == 1 else -1)
    c.close()
    return answer.text


REPEAT = "; netdevns_batch_undo tries again"


@pytest.mark.sampled(6)
@pytest.mark.parametrize("length", [1, 9, 10, 11])
def test_list_ends_at_a_device(host: Namespace, target: Namespace, c: Driver, length: int) -> None:
    """70 devices are not restored: the text has whole names, each with its place, and the number of the others."""
    names = [f"nic{1100 + n}".ljust(length + 4, "x")[:15] for n in range(70)]
    text = gone(c, host, target, names)
    assert text.startswith("NOT restored: ")
    assert text.endswith(REPEAT)
    listed, more = re.fullmatch(r"(.+) and (\d+) more", text[len("NOT restored: ") : -len(REPEAT)]).groups()  # type: ignore[union-attr]
    found = listed.split(", ")
    assert found == [f"{name} (gone)" for name in names[: len(found)]]
    assert len(found) + int(more) == 70
    assert len(found) > 8


def test_three_devices(host: Namespace, target: Namespace, c: Driver) -> None:
    text = gone(c, host, target, ["a0", "a1", "a2"])
    assert text == f"NOT restored: a0 (gone), a1 (gone), a2 (gone){REPEAT}"


def test_one_device(sides: tuple[Namespace, Namespace], c: Driver, tmp_path: Path) -> None:
    """One of two does not come back: which, where it is, what is missing, and what to do; err->device is its index."""
    host, target = sides
    c.moved(target, records=tmp_path)
    host.ip("link add eth1 type ifb")
    answer = c.undo()
    assert (answer.code, answer.step, answer.begun, answer.left_count, answer.device) == (errno.EIO, "undo", True, 1, 1)
    assert answer.text == (
        f"NOT restored: eth1 (in the source): {answer.left['eth1']}; the record is kept, and a recovery tries again"
    )
    host.ip("link del eth1")
    assert c.undo().code == 0


def test_device_that_stays_in_the_target(sides: tuple[Namespace, Namespace], c: Driver) -> None:
    """Its name there is in the text."""
    host, target = sides
    c.moved(target, {"eth1": "net1"})
    target.ip("link del net1")
    mac = "02:00:00:00:00:01"
    target.ip(f"link add net1 index 102 address {mac} type veth peer name evil index 103")
    answer = c.undo()
    assert answer.text.startswith("NOT restored: eth1 (in the target, as net1): another device has its name"), answer
    assert "eth1" not in host.names()


def test_move_that_is_not_undone(sides: tuple[Namespace, Namespace], c: Driver) -> None:
    """The failure of a move stands before the devices that its undo did not restore."""
    host, target = sides
    assert c.open(target).code == 0

    def take() -> None:
        (name,) = {"net0", "net1"} - target.names()
        target.ip(f"link add {name} type ifb")
        (moved,) = {"eth0", "eth1"} - host.names()
        host.ip(f"link add {moved} type ifb")

    answer = c.at_send(f"move 0 {ACCEPT_ALL}", MOVE, 2, take)
    assert (answer.begun, answer.left_count) == (True, 1), answer
    failure = r"eth\d: its name was taken in the target meanwhile: File exists"
    assert re.match(rf"{failure}; NOT restored: eth\d \(in the source\): ", answer.text)
    assert answer.text.endswith(REPEAT)


# ---- the end of a container (docs/embedding.md) ----

HOME = {"net0": "eth0", "net1": "eth1"}


@pytest.mark.parametrize("nth", [1, 2, 3])
def test_devices_come_home(sides: tuple[Namespace, Namespace], c: Driver, tmp_path: Path, nth: int) -> None:
    """A second batch, whose recovery has `undo_complete` 0: killed at its `nth` move, or behind the last one."""
    host, target = sides
    c.moved(target)
    c.close()
    target.ip("addr add 10.9.0.1/24 dev net1")
    with Driver() as mover_:
        assert mover_.open(host, HOME, source=target, records=tmp_path).code == 0
        if nth < 3:
            mover_.stop(MOVE, nth)
            mover_.write("move 0 0")
            assert mover_.read() == {"stopped": 1}
        else:
            assert mover_.move().code == 0
        mover_.kill()
    assert len(os.listdir(tmp_path)) == 1
    answer = c.recover(tmp_path)
    assert (answer.code, os.listdir(tmp_path)) == (0, []), answer
    if nth < 3:
        assert {*HOME} <= target.names()
        assert c.open(host, HOME, source=target, records=tmp_path).code == 0
        assert c.move().code == 0
        c.close()
    assert {*HOME} & target.names() == set()
    assert host.links()["eth1"].ifindex == 102
    assert sorted(a.address for a in host.addresses("eth1", family=2)) == ["10.1.0.1", "10.1.0.2", "10.9.0.1"]


# ---- locks ----

UNSAFE = {
    "link": "mkdir /run/elsewhere && ln -s /run/elsewhere /run/netdevns",
    "file": "touch /run/netdevns",
    "mode": "mkdir -m 777 /run/netdevns && chmod 777 /run/netdevns",
    "owner": "mkdir -m 700 /run/netdevns && chown 65534 /run/netdevns",
}
NONE = {"read-only": "mount -o remount,ro /run", "full": "touch $(seq -f /run/%g 9) 2>/dev/null; true"}


def moves(target: Namespace, prepare: str) -> subprocess.CompletedProcess[str]:
    """across/mover.c, with a /run that is prepared so."""
    if os.geteuid():
        require("netns", "only root is refused")
    script = f'mount -t tmpfs -o nr_inodes=8 tmpfs /run && {{ {prepare}; }} && exec "$@"'
    words = ["unshare", "-m", "sh", "-c", script, "sh", mover(), "move", "0", "-", path_of(target), "eth0=net0"]
    return subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("what", UNSAFE)
def test_lock_directory_that_is_not_safe(sides: tuple[Namespace, Namespace], what: str) -> None:
    """P8: root could make it safe, so a move without locks is refused."""
    with Untouched(*sides):
        done = moves(sides[1], UNSAFE[what])
        assert (done.returncode, done.stdout) == (2, f"- lock.none 2 {errno.EPERM} 0\n"), done.stderr
        assert done.stderr.startswith("mover: check: /run/netdevns: the devices cannot be locked against other movers")
        assert done.stderr.endswith("it must be a directory of this user, with mode 0700\n")


@pytest.mark.parametrize("what", NONE)
def test_no_lock_directory(sides: tuple[Namespace, Namespace], what: str) -> None:
    """P8: where none can be made, the devices move, and a note says that they were not locked."""
    done = moves(sides[1], NONE[what])
    assert (done.returncode, done.stdout, done.stderr) == (0, "- lock.none 0 0 0\n", "")
    assert "net0" in sides[1].names()


# ---- words ----


def texts(c: Driver, target: Namespace, *devices: tuple[str, str]) -> str:
    """The text of a check that refuses these."""
    assert c.open(target, {}).code == 0
    for name, wanted in devices:
        assert c.ask(f"add 0 {os.fsencode(name).hex() or '00'} {os.fsencode(wanted).hex() or '00'}").code == 0
    answer = c.ask("check 0 0")
    c.close()
    assert answer.code, answer
    return answer.text


def test_words_of_names(sides: tuple[Namespace, Namespace], c: Driver) -> None:
    """Empty names and names that are no UTF-8 can be read, and a device that was added twice is not another one."""
    _, target = sides
    assert texts(c, target, ("", "a")) == '"": no device can have that name: it is empty'
    assert texts(c, target, ("eth1", "a"), ("eth1", "b")) == "eth1: the batch has it twice"
    assert texts(c, target, ("\udcff\udcfe", "a")) == "\\xff\\xfe: no such device"
    assert texts(c, target, ("ä€", "a")) == "ä€: no such device"
    assert texts(c, target, ("\udce4b\x9b", "a")) == "\\xe4b\\xc2\\x9b: no such device"
    assert texts(c, target, ("\udced\udcb3\udcbf", "a")) == "\\xed\\xb3\\xbf: no such device"


def test_no_descriptor(sides: tuple[Namespace, Namespace], c: Driver) -> None:
    """No netlink request failed where a lock could not be opened."""
    assert c.open(sides[1]).code == 0
    seen = set()
    for more in range(1, 9):
        c.disturb(f"files {len(os.listdir(f'/proc/{c.pid}/fd')) + more}")
        answer = c.move()
        c.disturb("files 1024")
        if answer.code != errno.EMFILE:
            break
        seen.add(answer.text)
    assert "/run/netdevns: the devices cannot be locked against other movers: Too many open files" in seen, seen


def test_scopes(sides: tuple[Namespace, Namespace]) -> None:
    """As in Python, addresses that a move loses are counted by their scope."""
    host, target = sides
    host.ip("addr add 10.1.2.1/24 scope host dev eth1")
    host.ip("addr add 10.1.3.1/24 scope 77 dev eth1")
    assert run(BUILDS["gcc-sanitized"], "losses", path_of(target)).splitlines() == [
        f"eth1: a move loses: {words}"
        for words in ("1 address of 77 scope", "2 addresses of link scope", "1 address of host scope")
    ]

"""Odd input on stdin or as config.json: the hook ends soon, with a one-line error, and nothing is touched."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import netdevns
from netdevns import limits
from tests.runtimes.container import NETDEVNS, hook_words, is_static
from tests.support.attacks import LONG
from tests.support.namespaces import Namespace
from tests.support.restored import Restored

from .bounded import PREFIX, UNTOUCHED, Bounded, Ended

# ---- what is at config.json's place --------------------------------------------------------------------------------


def fifo(path: Path) -> None:
    os.mkfifo(path)


def device(path: Path) -> None:
    try:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 5))  # zero
    except PermissionError:  # root of a user namespace
        path.symlink_to("/dev/zero")


def sparse(path: Path) -> None:
    path.touch()
    os.truncate(path, 8 << 30)


def listening(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


def loop(path: Path) -> None:
    path.symlink_to(path.name)


def link_to(make: Callable[[Path], None]) -> Callable[[Path], None]:
    def made(path: Path) -> None:
        make(path.with_name("other"))
        path.symlink_to("other")

    return made


ODD = {
    "fifo": (fifo, "not a regular file"),
    "device": (device, "not a regular file"),
    "sparse": (sparse, "larger than 16 MiB"),
    "folder": (Path.mkdir, "Is a directory"),
    "socket": (listening, "not a regular file"),
    "loop": (loop, "Too many levels of symbolic links"),
    "link-to-fifo": (link_to(fifo), "not a regular file"),
    "link-to-sparse": (link_to(sparse), "larger than 16 MiB"),
    "link-to-folder": (link_to(Path.mkdir), "Is a directory"),
    "link-to-proc": (lambda path: path.symlink_to("/proc/kmsg"), ""),  # regular, and a read of it waits
}


@pytest.mark.sampled(2, 2)
@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("by", ["hook", "bundle", "config"])
def test_odd_file(bounded: Bounded, kind: str, by: str) -> None:
    """Only a regular file of at most 16 MiB is read, and nothing else is waited for, or even opened."""
    make, reason = ODD[kind]
    bounded.config.unlink()
    make(bounded.config)
    runs: dict[str, Callable[[], Ended]] = {
        "hook": bounded.hook,
        "bundle": lambda: bounded.apply("--bundle", str(bounded.bundle)),
        "config": lambda: bounded.apply("--config", str(bounded.config)),
    }
    line = bounded.refused(runs[by])
    assert line.startswith(f"{bounded.config}: cannot be read: {reason}")


def test_link_to_a_regular_file(bounded: Bounded) -> None:
    """The runtime itself follows a symbolic link."""
    bounded.config.rename(bounded.bundle / "other")
    bounded.config.symlink_to("other")
    assert bounded.hook() == Ended(0, "", [])
    assert bounded.there.names() == {"eth1"}


def test_device_is_not_opened(bounded: Bounded, tmp_path: Path) -> None:
    """Opening alone changes some devices: a tape, a watchdog."""
    bounded.config.unlink()
    device(bounded.config)
    trace = tmp_path / "trace"
    bounded.refused(lambda: bounded.hook(under=("strace", "-f", "-o", str(trace), "-e", "trace=openat")))
    opens = [line for line in trace.read_text().splitlines() if "config.json" in line]
    assert opens
    assert all("O_PATH" in line for line in opens)


# ---- what is in it --------------------------------------------------------------------------------------------------


def filled(head: str, unit: str, tail: str) -> bytes:
    """As much of a unit as the limit allows."""
    return (head + unit * ((limits.CONFIG_BYTES - len(head) - len(tail)) // len(unit)) + tail).encode()


LARGE = {
    "nested": lambda: filled("", "[", ""),
    "nested-objects": lambda: filled("", '{"a":', ""),
    "same-key": lambda: filled('{"a":0', ',"a":0', "}"),
    "digits": lambda: b'{"a":' + b"9" * 10_000_000 + b"}",
    "exponent": lambda: b'{"linux":1e' + b"9" * 10_000_000 + b"}",
    "objects": lambda: filled('{"a":[', '{"":0},', "0]}"),
    "long-name": lambda: filled('{"linux":{"netDevices":{"', "a", '":5}}}'),
}
SLOW = {
    "members": lambda: b"{" + b",".join(b'"%x":0' % n for n in range(1_600_000)) + b"}",
    "empty-objects": lambda: filled('{"a":[', "{},", "0]}"),
    "lists": lambda: filled('{"a":[', "[],", "0]}"),
    "floats": lambda: filled('{"a":[', "1.5,", "0]}"),
    "wrong-at-the-end": lambda: filled('{"a":[', '{"":0},', "0]"),
    "escapes": lambda: filled('{"linux":{"netDevices":{"', "\\u0001", '":5}}}'),
}
DOCUMENTS = LARGE | (SLOW if LONG else {})


@pytest.mark.sampled(8)
@pytest.mark.parametrize("kind", DOCUMENTS)
def test_large_document(bounded: Bounded, kind: str) -> None:
    """As large as it may be, and as dear to parse as JSON can be made: read, or refused in a line."""
    bounded.config.write_bytes(DOCUMENTS[kind]())
    assert bounded.config.stat().st_size <= limits.CONFIG_BYTES
    with Restored(bounded.host):
        ended = bounded.hook()
        if ended.code == 0:
            assert ended == Ended(0, "", [])
        else:
            assert (ended.code, len(ended.lines), ended.lines[-1]) == (2, 2, UNTOUCHED)
            assert "internal error" not in ended.lines[0]
            assert len(ended.lines[0].encode()) <= len("netdevns: ") + limits.LINE_BYTES


@pytest.mark.sampled(2)
@pytest.mark.parametrize("by", ["hook", "apply"])
def test_too_little_memory(bounded: Bounded, by: str) -> None:
    """A document that this process has no memory for is refused like any other."""
    if by == "hook" and is_static():
        pytest.skip("the hook in C needs little more memory than the document has, so this is enough for it")
    bounded.config.write_bytes(LARGE["objects"]())
    argv = (
        [*hook_words(), "createRuntime"]
        if by == "hook"
        else [*NETDEVNS, "apply", "--bundle", str(bounded.bundle), "--pid", "1"]
    )
    line = bounded.refused(lambda: bounded.run(argv, json.dumps(bounded.state).encode(), as_bytes=250_000_000))
    assert line.endswith("there is too little memory for it")


# ---- stdin ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", ["createRuntime", "poststop"])
def test_endless_stdin(bounded: Bounded, stage: str) -> None:
    """A state without an end is read as far as the limit."""
    with open("/dev/zero", "rb") as zeros:
        line = bounded.refused(lambda: bounded.run([*hook_words(), stage], zeros))
    assert line == "state on stdin: larger than 16 MiB"


def test_stdin_that_cannot_be_read(bounded: Bounded) -> None:
    """One that is open for writing alone is refused as every other state that is none."""
    with open("/dev/null", "wb") as nothing:
        line = bounded.refused(lambda: bounded.run([*hook_words(), "createRuntime"], nothing))
    assert line == "state on stdin: cannot be read: Bad file descriptor"


@pytest.mark.parametrize("wait", ["nan", "inf", "-1", "soon"])
def test_wait_that_is_no_time(bounded: Bounded, wait: str) -> None:
    """A command does not wait for ever."""
    ended = bounded.run([*NETDEVNS, "return", "--wait", wait])
    assert (ended.code, "--wait" in "".join(ended.lines)) == (2, True), ended


@pytest.mark.parametrize(("more", "code"), [(0, 0), (1, 2)])
def test_large_state(bounded: Bounded, more: int, code: int) -> None:
    """16 MiB are read, and one byte more is refused."""
    data = json.dumps(bounded.state).encode()
    data += b" " * (limits.STATE_BYTES + more - len(data))
    assert bounded.hook(stdin=data).code == code
    assert bounded.there.names() == (set() if code else {"eth1"})


# ---- how many devices -----------------------------------------------------------------------------------------------


def of(count: int, begin: int = 0) -> dict[str, dict[str, str]]:
    """As many devices, of which there is none."""
    return {f"d{n}": {} for n in range(begin, begin + count)}


def too_many(bounded: Bounded, trace: Path, *arguments: str) -> str:
    """The line that refuses, before the kernel was asked anything."""
    line = bounded.refused(
        lambda: bounded.hook(*arguments, under=("strace", "-f", "-o", str(trace), "-e", "trace=socket"))
    )
    assert "AF_NETLINK" not in trace.read_text()
    return line


def test_devices_of_a_configuration(bounded: Bounded, tmp_path: Path) -> None:
    """config.json may ask for 4,096 devices."""
    bounded.ask(of(100_000))
    line = too_many(bounded, tmp_path / "trace")
    assert line == "linux.netDevices: 100000 devices; at most 4096 can be moved together"


def test_devices_of_the_arguments(bounded: Bounded, tmp_path: Path) -> None:
    """So may the hook's arguments."""
    bounded.ask({})
    line = too_many(bounded, tmp_path / "trace", *of(4097))
    assert line.endswith("annotations and config.json: 4097 devices; at most 4096 can be moved together")


def test_devices_of_both(bounded: Bounded, tmp_path: Path) -> None:
    """And all sources together."""
    bounded.ask(of(4000))
    line = too_many(bounded, tmp_path / "trace", *of(97, begin=4000))
    assert line.endswith("annotations and config.json: 4097 devices; at most 4096 can be moved together")


@pytest.mark.parametrize("command", ["move", "check"])
def test_devices_of_a_command(bounded: Bounded, command: str) -> None:
    """And a command's."""
    argv = [*NETDEVNS, command, *of(4097), "--to", f"pid:{bounded.state['pid']}", "--json"]
    with Restored(bounded.host):
        ended = bounded.run(argv)
    assert ended.code == 2
    assert "4097 devices; at most 4096 can be moved together" in ended.out


def test_as_many_as_there_may_be(bounded: Bounded) -> None:
    """4,096 unknown devices are looked up, and reported in 64 lines; the last counts the remedy, too."""
    bounded.ask(of(4096))
    ended = bounded.hook()
    assert ended.code == 2
    assert len(ended.lines) == limits.LINES
    assert ended.lines[0] == "netdevns: d0: no such device in this network namespace"
    assert ended.lines[-1] == f"netdevns: and {4096 + 1 - limits.LINES + 1} more; nothing was touched"


def test_devices_of_a_call(host: Namespace, target: Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """A library's caller gets a finding, and a move looks for nothing."""
    wanted = of(4097)
    monkeypatch.setattr(
        "netdevns.recovery.earlier.Earlier.found", lambda _: pytest.fail("an earlier move was looked for")
    )
    (finding,) = netdevns.check(wanted, target.fd).findings
    assert (finding.severity, finding.code, finding.device) == ("error", "device.too-many", None)
    with pytest.raises(netdevns.CheckFailed, match="4097 devices; at most 4096 can be moved together") as caught:
        netdevns.move(wanted, target.fd, journal=netdevns.JOURNAL_DIR)
    assert [each.code for each in caught.value.report.findings] == ["device.too-many"]
    assert host.names() == set()


# ---- names ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def latin1(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a locale whose encoding is ISO-8859-1, made here: few machines have one."""
    folder = tmp_path_factory.mktemp("locales")
    (folder / "source").write_text("comment_char %\nescape_char /\nLC_CTYPE\nEND LC_CTYPE\n")
    letters = [f"<U{code:04X}> /x{code:02x} LETTER" for code in range(256)]
    head = ["<code_set_name> ISO-8859-1", "<comment_char> %", "<escape_char> /", "CHARMAP"]
    (folder / "charmap").write_text("\n".join([*head, *letters, "END CHARMAP", ""]))
    # Exit code 1: other categories are empty (-c).
    argv = ["localedef", "-c", "-i", f"{folder}/source", "-f", f"{folder}/charmap", f"{folder}/xx_XX.ISO-8859-1"]
    subprocess.run(argv, capture_output=True, timeout=60, check=False)
    return {"LOCPATH": str(folder), "LC_ALL": "xx_XX.ISO-8859-1"}


def in_locale(latin1: dict[str, str], *words: str) -> list[str]:
    """netdevns isolated in that locale."""
    program = str(Path(netdevns.__file__).with_name("__main__.py"))
    return ["env", *(f"{k}={v}" for k, v in latin1.items()), NETDEVNS[0], "-I", program, *words]


def test_the_locale_is_latin1(bounded: Bounded, latin1: dict[str, str]) -> None:
    """What the next tests depend on."""
    shown = "import os, sys; print(sys.flags.utf8_mode, os.fsencode(chr(0xfc)))"
    ended = bounded.run([*in_locale(latin1)[:-1], "-c", shown])
    assert ended.out == "0 b'\\xfc'\n", "localedef (of libc-bin) made no locale here"


@pytest.mark.parametrize("by", ["config.json", "annotation", "argument"])
def test_json_is_utf8_in_every_locale(bounded: Bounded, latin1: dict[str, str], by: str) -> None:
    """The device of config.json's "ü" is that with the bytes c3 bc, under a bundle's path with such a letter, too."""
    bounded.host.ip("link set eth1 name ü")
    bundle = bounded.bundle / "bündel"
    bundle.mkdir()
    bounded.config = bundle / "config.json"
    bounded.state["bundle"] = str(bundle)
    bounded.ask({"ü": {"name": "ö"}} if by == "config.json" else {}, annotations={f"{PREFIX}ü": "ö"})
    arguments = {"config.json": [], "annotation": ["--allow", "ü*"], "argument": ["ü=ö"]}[by]
    ended = bounded.run(in_locale(latin1, "hook", "createRuntime", *arguments), json.dumps(bounded.state).encode())
    assert ended == Ended(0, "", [])
    assert bounded.there.names() == {"ö"}


def test_the_log_is_utf8_in_every_locale(bounded: Bounded, latin1: dict[str, str]) -> None:
    """Names of JSON and of arguments alike; stderr is the locale's."""
    bounded.ask({"ü": {"name": "ö"}})
    argv = in_locale(latin1, "hook", "createRuntime", "ü=ä")
    ended = bounded.run(argv, json.dumps(bounded.state).encode())
    assert ended.code == 2
    assert 'ü: the hook\'s argument says "ä", config.json says "ö"; give one name' in bounded.machine.hook_log()
    assert ended.lines[0].startswith("netdevns: \\xfc: the hook's argument says")


@pytest.mark.parametrize("member", ["id", "bundle"])
def test_state_that_is_no_text(bounded: Bounded, member: str) -> None:
    """A lone surrogate in the state is refused."""
    bounded.state[member] += "\ud800"
    line = bounded.refused(bounded.hook)
    shown = str(bounded.state[member]).replace("\ud800", "\\ud800")
    assert line == f'state on stdin: {member}: "{shown}" has a lone surrogate, so it is not text'

"""The createRuntime hook without a kernel: its sources of devices, its log, its start."""

from __future__ import annotations

import io
import json
import os
import re
import socket
import sys
import syslog
from pathlib import Path

import pytest

import netdevns
from netdevns import errors, limits, oci
from netdevns.cli.main import main
from netdevns.oci import annotations, hook, hook_command, hook_log
from netdevns.text import outcome

CHECKOUT = str(Path(netdevns.__file__).parents[1])


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle whose configuration asks for no device."""
    path = tmp_path / "bundle"
    path.mkdir()
    (path / "config.json").write_text('{"linux": {"netDevices": {}}}')
    return path


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hook's log, in a temporary folder; without syslog."""
    folder = tmp_path / "netdevns"
    monkeypatch.setattr(hook_log, "JOURNAL_DIR", str(folder))
    monkeypatch.setattr(hook_log, "SYSLOG", str(tmp_path / "log"))
    return folder / "hook.log"


def state(bundle: Path, **more: object) -> bytes:
    return json.dumps({"ociVersion": "1.0.2", "id": "c1", "pid": os.getpid(), "bundle": str(bundle)} | more).encode()


# ---- the devices ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "configured", "devices"),
    [
        ({}, {}, {}),
        ({"a": None}, {}, {"a": "a"}),
        ({"a": "x"}, {}, {"a": "x"}),
        ({}, {"a": "x"}, {"a": "x"}),
        ({"a": "x"}, {"a": "x"}, {"a": "x"}),
        ({"a": None}, {"a": "a"}, {"a": "a"}),
        ({"b": "x"}, {"a": "y"}, {"b": "x", "a": "y"}),
    ],
)
def test_sources_together(
    arguments: dict[str, str | None], configured: dict[str, str], devices: dict[str, str]
) -> None:
    """DESIGN 4.2: arguments and config.json are one batch, the arguments first; no name is the host name."""
    given = {host_name: name or host_name for host_name, name in arguments.items()}
    merged = hook.merged([("the hook's argument", given), ("config.json", configured)])
    assert list(merged.items()) == list(devices.items())


@pytest.mark.parametrize(
    ("sources", "line"),
    [
        ({"this": {"a": "x"}, "that": {"a": "y"}}, 'a: this says "x", that says "y"; give one name'),
        ({"this": {"a": "a"}, "that": {"a": "y"}}, 'a: this says "a", that says "y"; give one name'),
        ({"this": {"a": "x"}, "that": {"a": "y\n"}}, 'a: this says "x", that says "y\\n"; give one name'),
        ({"this": {"\udcff": "x"}, "that": {"\udcff": "y"}}, '\\xff: this says "x", that says "y"; give one name'),
        (
            {"1": {"a": "x"}, "2": {"b": "x"}, "3": {"a": "x"}, "4": {"a": "z"}},
            'a: 1 says "x", 4 says "z"; give one name',
        ),
    ],
    ids=["names", "kept", "newline", "no-text", "four"],
)
def test_sources_that_differ(sources: dict[str, dict[str, str]], line: str) -> None:
    """DESIGN 4.2: the error for a device with two names has both names and their sources, on one printable line."""
    with pytest.raises(errors.ConfigInvalid) as caught:
        hook.merged([*sources.items()])
    assert str(caught.value) == line


def test_nothing_to_do(bundle: Path) -> None:
    """S14: without devices the hook makes no request to the kernel, and does not look at the process."""
    hook.create_runtime(state(bundle, pid=0x7FFFFFFF), {})
    hook.create_runtime(state(bundle, pid=0), {})


def test_devices_without_a_process(bundle: Path) -> None:
    """S14: a createRuntime hook gets the container's process; without one there is no namespace to move into."""
    with pytest.raises(errors.ConfigInvalid, match="pid: a createRuntime hook needs the container's process"):
        hook.create_runtime(state(bundle, pid=0), {"eth1": None})


def test_own_namespace_is_refused(bundle: Path) -> None:
    """S1: a process in the hook's network namespace is refused: the container uses the host's."""
    with pytest.raises(errors.ConfigInvalid, match=r"^container c1 has no network namespace of its own: its process "):
        hook.create_runtime(state(bundle), {"eth1": None})


def test_container_name_cannot_break_the_line(bundle: Path) -> None:
    """DESIGN 4.2: an id from outside stays on one line."""
    with pytest.raises(errors.ConfigInvalid) as caught:
        hook.create_runtime(state(bundle, id="c\n1"), {"eth1": None})
    assert str(caught.value).startswith("container c\\n1 has no network namespace")


def test_process_that_does_not_exist(bundle: Path) -> None:
    """S14: an unused pid is an error of opening the namespace, with the kernel's errno."""
    with pytest.raises(errors.NetDevError, match="no such process"):
        hook.create_runtime(state(bundle, pid=0x7FFFFFFF), {"eth1": None})


# ---- annotations ----------------------------------------------------------------------------------------------------


def annotated(wanted: dict[str, object], allowed: list[str]) -> dict[str, str]:
    document = {"annotations": {f"{annotations.PREFIX}{device}": name for device, name in wanted.items()}}
    return annotations.devices(oci.parse(json.dumps(document).encode(), "x"), "x", allowed)


@pytest.mark.parametrize(
    ("host_name", "glob", "is_admitted"),
    [
        ("eth1", "eth1", True),
        ("eth1", "eth*", True),
        ("eth1", "*", True),
        ("eth1", "eth?", True),
        ("eth1", "eth[1-3]", True),
        ("eth1", "e*1", True),
        ("eth1", "eth", False),
        ("eth1", "ETH1", False),
        ("eth1", "th1", False),
        ("eth1", "eth[!1]", False),
        ("eth10", "eth1", False),
        ("eth10", "eth?", False),
        ("eth1", "", False),
        ("", "*", True),
        ("eth*", "eth1", False),
        ("*", "eth1", False),
        ("[e]th1", "eth1", False),
        ("eth1\n", "eth1", False),
        ("eth1\n", "eth?", False),
        ("eth\n1", "eth*", True),
        ("x\neth1", "eth*", False),
        ("a" * 5000 + "c", "*a*a*a*a*a*b", False),
    ],
)
def test_globs(host_name: str, glob: str, is_admitted: bool) -> None:
    """DESIGN 4.2: a glob must match the whole host name, and only the operator's count."""
    assert annotations.is_admitted(host_name, [glob]) == is_admitted
    assert annotations.is_admitted(host_name, ["no", glob]) == is_admitted


def test_allowed_annotations() -> None:
    """DESIGN 4.2: annotations that match no glob are ignored with any value; an empty name is the host name."""
    wanted: dict[str, object] = {"eth1": "net0", "eth2": "", "up0": 7, "../up0": "x", "eth3": "eth%d"}
    assert annotated(wanted, ["eth*"]) == {"eth1": "net0", "eth2": "eth2", "eth3": "eth%d"}
    assert annotated(wanted, []) == {}
    assert annotations.devices({"annotations": {"org.netdevns.devices.eth1": "a", "eth1": "b"}}, "x", ["*"]) == {}
    assert annotations.devices({}, "x", ["*"]) == {}


@pytest.mark.parametrize("value", [None, 7, True, [], {}])
def test_annotation_that_is_not_a_string(value: object) -> None:
    """DESIGN 4.2: the value of an allowed annotation must be a string (runtime-spec)."""
    with pytest.raises(errors.ConfigInvalid, match=r"^x: annotations: org.netdevns.device.eth1: a string is needed"):
        annotated({"eth1": value}, ["eth1"])


def test_annotation_twice() -> None:
    """DESIGN 4.2: a duplicate annotation is refused; neither of its names is guessed."""
    text = b'{"annotations": {"org.netdevns.device.a": "x", "org.netdevns.device.a": "y"}}'
    with pytest.raises(errors.ConfigInvalid, match="a: it is listed twice"):
        annotations.devices(oci.parse(text, "x"), "x", ["a"])
    assert annotations.devices(oci.parse(text, "x"), "x", ["b"]) == {}


def test_thousands_of_annotations() -> None:
    """DESIGN 4.2: the number of allowed annotations is limited, so a container cannot fill the log."""
    wanted: dict[str, object] = {f"eth{i}": "" for i in range(5000)}
    with pytest.raises(errors.ConfigInvalid, match="x: annotations: 5000 of them name devices; at most 256 may"):
        annotated(wanted, ["eth*"])
    assert annotated(wanted, ["eth77"]) == {"eth77": "eth77"}


def test_annotations_of_another_type() -> None:
    """DESIGN 4.2: annotations are an object."""
    with pytest.raises(errors.ConfigInvalid, match="x: annotations: an object is needed, not an array"):
        annotations.devices({"annotations": []}, "x", ["*"])


# ---- the log --------------------------------------------------------------------------------------------------------

STAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"


def test_log_has_a_time_stamp_on_each_line(log: Path) -> None:
    """DESIGN 4.2: one line a fact, each with the time in UTC."""
    hook_log.log(["one", "two"])
    hook_log.log(["three"], container="web\n1")
    assert re.fullmatch(f"{STAMP} one\n{STAMP} two\n{STAMP} web\\\\n1: three\n", log.read_text())


@pytest.mark.parametrize("line", ["a\nb", "a\0b", "a\udcffb", "a\x1b[31mb", "a\u2028b", "a\xa0b"])
def test_log_lines_stay_lines(log: Path, line: str) -> None:
    """DESIGN 4.2: text from outside neither makes a second line nor stops the log."""
    hook_log.log(outcome.bounded([line]))
    (written,) = log.read_text().splitlines()
    assert written.isprintable()
    assert re.fullmatch(rf"{STAMP} a\\.*b", written)


def test_log_that_is_rotated_between_open_and_lock(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line goes to the file that has the name now, not to the rotated one."""
    hook_log.log(["one"])
    log.write_text("x" * limits.LOG_BYTES)  # so full that one more line rotates it

    def flock(fd: int, how: int) -> None:
        monkeypatch.undo()
        monkeypatch.setattr(hook_log, "JOURNAL_DIR", str(log.parent))
        hook_log.log(["another's"])
        hook_log.fcntl.flock(fd, how)

    monkeypatch.setattr(hook_log.fcntl, "flock", flock)
    hook_log.log(["mine"])
    assert log.with_name("hook.log.old").stat().st_size == limits.LOG_BYTES
    assert [line.split()[1] for line in log.read_text().splitlines()] == ["another's", "mine"]


def test_syslog_gets_the_lines(log: Path) -> None:
    """DESIGN 4.2: syslog gets the same lines, from a program called netdevns; notices are not errors there."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as syslogd:
        syslogd.bind(hook_log.SYSLOG)
        hook_log.log(["one", "\N{BULLET}"])
        hook_log.log(["three"], is_error=False)
        syslogd.setblocking(False)
        sent = [syslogd.recv(1000).decode() for _ in range(3)]
        tag = f"netdevns[{os.getpid()}]:"
        error, notice = syslog.LOG_DAEMON | syslog.LOG_ERR, syslog.LOG_DAEMON | syslog.LOG_NOTICE
        assert sent == [f"<{error}>{tag} one", f"<{error}>{tag} \N{BULLET}", f"<{notice}>{tag} three"]
        with pytest.raises(BlockingIOError):
            syslogd.recv(1)
    assert log.exists()


def test_log_that_cannot_be_written(log: Path) -> None:
    """DESIGN 4.2: a log that cannot be written is reported, and does not change the outcome."""
    log.mkdir(parents=True)
    assert hook_log.log(["one"]) == f"{log}: cannot be written: Is a directory"


# ---- the command ----------------------------------------------------------------------------------------------------


class Stdin:
    """Replaces sys.stdin."""

    def __init__(self, data: bytes) -> None:
        self.buffer = io.BytesIO(data)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([], "hook: the stage is missing or unknown; " + hook_command.WRITE),
        (["poststart"], "hook: the stage is missing or unknown; " + hook_command.WRITE),
        (["createRuntime", "--alow", "eth*"], "hook: unknown option --alow; " + hook_command.WRITE),
        (["createRuntime", "a", "--allow"], "hook: --allow: a GLOB for host names is missing"),
        (["createRuntime", "--allow", ""], "hook: --allow: an empty GLOB matches no device"),
        (["createRuntime", "--allow="], "hook: --allow: an empty GLOB matches no device"),
        (["createRuntime", "=a"], '"=a": no device is given; write DEV or DEV=NAME'),
        (["createRuntime", "a", "a=b"], "a: this device is given twice"),
    ],
)
def test_usage(
    log: Path,
    bundle: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    line: str,
) -> None:
    """DESIGN 4.2: bad usage is exit code 2, one line on stderr and in the log, after stdin was read to its end."""
    stdin = Stdin(state(bundle))
    monkeypatch.setattr(sys, "stdin", stdin)
    assert main(["hook", *arguments]) == 2
    assert capsys.readouterr().err == f"netdevns: {line}\nnetdevns: nothing was touched\n"
    assert line in log.read_text()
    assert stdin.buffer.read() == b""


def test_success_leaves_no_log(
    log: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """S14: a successful hook prints and logs nothing."""
    monkeypatch.setattr(sys, "stdin", Stdin(state(bundle)))
    assert main(["hook", "createRuntime"]) == 0
    assert capsys.readouterr() == ("", "")
    assert not log.exists()

"""The command: what it prints, its exit codes, and that signals undo."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import select
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import netdevns
from netdevns import cli
from netdevns.engine import Device
from tests.support.namespaces import Namespace, drop_capabilities, in_child, setns
from tests.support.restored import assert_equal_soon
from tests.support.terminal import letters, on_terminal

ETH1 = [
    "link add eth1 index 4711 type ifb",
    "link set eth1 up",
    "addr add 10.0.0.1/24 brd + label eth1:a dev eth1",
    "addr add 2001:db8::1/64 nodad dev eth1",
    "route add 192.0.2.0/24 via 10.0.0.9",
]
TOP = Path(__file__).parents[2]
pytestmark = pytest.mark.here


def run(*arguments: str, fds: tuple[int, ...] = (), stdin: str = "") -> subprocess.CompletedProcess[str]:
    """The command as a process of its own, in the calling thread's namespace."""
    command = [sys.executable, "-m", "netdevns", *arguments]
    return subprocess.run(command, cwd=TOP, pass_fds=fds, input=stdin, capture_output=True, text=True, timeout=60)


@pytest.fixture
def eth1(host: Namespace) -> None:
    host.batch(ETH1)


@pytest.mark.usefixtures("eth1")
def test_move_says_what_arrived(target: Namespace, capsys: pytest.CaptureFixture[str]) -> None:
    """DESIGN 4.2: one line a device: its names, where it is, its addresses, and what was not carried."""
    assert cli.main(["move", "eth1=net0", "--to", target.path]) == 0
    ifindex = target.links()["net0"].ifindex
    out, err = capsys.readouterr()
    assert out == f"eth1 -> net0 in {target.path} (ifindex {ifindex}), 2 addresses; not carried: 1 route\n"
    assert err == ""


@pytest.mark.usefixtures("eth1")
def test_move_json_has_the_fields_of_moved(target: Namespace, capsys: pytest.CaptureFixture[str]) -> None:
    """DESIGN 4.2: `--json` prints {"moved": [...]} with the fields of `Moved` and `Address`."""
    assert cli.main(["move", "eth1=net%d", "--to", f"fd:{target.fd}", "--json"]) == 0
    out, err = capsys.readouterr()
    (moved,) = json.loads(out)["moved"]
    assert set(json.loads(out)) == {"moved"}
    assert set(moved) == {"host_name", "name", "ifindex", "host_ifindex", "addresses", "not_carried"}
    assert (moved["host_name"], moved["name"]) == ("eth1", "net0")
    fields = {field.name for field in dataclasses.fields(netdevns.Address)}
    assert all(set(address) == fields for address in moved["addresses"])
    assert moved["addresses"][0]["label"] == "net0:a"
    assert err == ""


@pytest.mark.usefixtures("host")
def test_move_from_elsewhere(target: Namespace) -> None:
    """DESIGN 4.2: `--from` names the source."""
    with Namespace.create("elsewhere") as elsewhere:
        elsewhere.batch(ETH1)
        assert cli.main(["move", "eth1", "--from", elsewhere.path, "--to", target.path]) == 0
    assert target.names() == {"eth1"}


@pytest.mark.usefixtures("eth1")
def test_refused_move(host: Namespace, target: Namespace, capsys: pytest.CaptureFixture[str]) -> None:
    """DESIGN 4.2: a refusing check is exit code 2; with --json the document has the error, too."""
    assert cli.main(["move", "eth1=a/b", "--to", target.path, "--json"]) == 2
    out, err = capsys.readouterr()
    shown = json.loads(out)
    assert shown["moved"] == []
    names = {"text", "errno", "extack", "device", "step", "netns", "rolled_back", "location", "left", "findings"}
    assert set(shown["error"]) == names
    assert shown["error"]["step"] == "check"
    assert err.splitlines() == [f"netdevns: {shown['error']['text']}", "netdevns: nothing was touched"]
    assert host.names() == {"eth1"}


def race(target: Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device of the wanted name appears between check and move."""
    real = Device.move

    def move(self: Device, *arguments: object) -> None:
        monkeypatch.setattr(Device, "move", real)
        target.ip("link add net0 type ifb")
        real(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Device, "move", move)


@pytest.mark.smoke
@pytest.mark.usefixtures("eth1")
@pytest.mark.parametrize("as_json", [False, True], ids=["human", "json"])
def test_failed_move(
    target: Namespace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], as_json: bool
) -> None:
    """DESIGN 4.2: a step that fails after the check is exit code 1, and one line says that all is as before."""
    race(target, monkeypatch)
    assert cli.main(["move", "eth1=net0", "--to", target.path, *(["--json"] if as_json else [])]) == 1
    out, err = capsys.readouterr()
    line, following = err.splitlines()
    assert re.fullmatch(rf"netdevns: next: .* check eth1=net0 --to {target.path}", following)
    assert line.startswith("netdevns: eth1: ")
    assert "File exists" in line
    assert line.endswith("devices, addresses and routes are back as before")
    if not as_json:
        assert out == ""
        return
    error = json.loads(out)["error"]
    names = {"text", "errno", "extack", "device", "step", "netns", "rolled_back", "location", "left"}
    assert set(error) == names
    assert (error["device"], error["step"], error["errno"], error["rolled_back"]) == ("eth1", "move", 17, True)
    assert (error["location"], error["left"], error["netns"]) == ("source", [], target.path)


@pytest.mark.usefixtures("eth1")
def test_check(target: Namespace, capsys: pytest.CaptureFixture[str]) -> None:
    """DESIGN 4.2: `check` prints a line for each finding, what to type next, and exits with 0 where it would begin."""
    assert cli.main(["check", "eth1=net0", "--to", target.path]) == 0
    finding, following, verdict = capsys.readouterr().out.splitlines()
    assert finding == "loss   eth1: a move loses: 1 route"
    assert re.fullmatch(rf"next   .* move eth1=net0 --to {target.path}", following)
    assert verdict == "ok: nothing stands against this move"
    assert target.names() == set()


@pytest.mark.usefixtures("eth1")
def test_check_json(target: Namespace, capsys: pytest.CaptureFixture[str]) -> None:
    """DESIGN 4.2: `check --json` prints {"ok": ..., "findings": [...]} and exits with 2 where a move would refuse."""
    assert cli.main(["check", "eth1=a/b", "nope", "--to", target.path, "--json"]) == 2
    shown = json.loads(capsys.readouterr().out)
    assert set(shown) == {"ok", "findings"}
    assert shown["ok"] is False
    assert all(set(f) == {"device", "severity", "code", "text"} for f in shown["findings"])
    assert {f["code"] for f in shown["findings"]} == {"name.invalid", "device.unknown", "loss.routes"}


@pytest.mark.usefixtures("eth1")
def test_check_of_a_bundle(target: Namespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """DESIGN 4.2: `check --bundle` checks what `apply` would move."""
    linux = {"netDevices": {"eth1": {"name": "net0"}}, "namespaces": [{"type": "network"}]}
    (tmp_path / "config.json").write_text(json.dumps({"linux": linux}))
    assert cli.main(["check", "--bundle", str(tmp_path), "--netns", target.path, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ok"] is True
    assert target.names() == set()


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["move"],
        ["move", "eth1"],
        ["move", "--to", "blue"],
        ["move", "=net0", "--to", "blue"],
        ["move", "eth1", "eth1=net0", "--to", "blue"],
        ["apply"],
        ["apply", "--bundle", "a", "--config", "b"],
        ["apply", "--bundle", "a", "--pid", "x"],
        ["apply", "--bundle", "a", "--pid", "1", "--netns", "blue"],
        ["check"],
        ["check", "eth1"],
        ["check", "eth1", "--to", "blue", "--bundle", "a"],
        ["nonsense"],
        ["move", "eth1", "--to", "blue", "--nonsense"],
    ],
    ids=" ".join,
)
@pytest.mark.usefixtures("host")
def test_bad_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """DESIGN 4.2: bad usage is exit code 2, on stderr, without a traceback."""
    assert cli.main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err
    assert "Traceback" not in err


# ---- as a process ----


@pytest.mark.smoke
@pytest.mark.usefixtures("eth1")
def test_process_moves(target: Namespace) -> None:
    """DESIGN 4.2: `python -m netdevns move`, with an inherited descriptor."""
    done = run("move", "eth1=net0", "--to", f"fd:{target.fd}", fds=(target.fd,))
    assert (done.returncode, done.stderr) == (0, "")
    assert target.names() == {"net0"}


@pytest.mark.usefixtures("eth1")
def test_process_refuses(host: Namespace, target: Namespace) -> None:
    """DESIGN 4.2: exit code 2 of the process; every line on stderr is the program's own."""
    done = run("move", "eth1=a/b", "nope", "--to", f"fd:{target.fd}", fds=(target.fd,))
    assert (done.returncode, done.stdout) == (2, "")
    assert [line.startswith("netdevns: ") for line in done.stderr.splitlines()] == [True] * 4
    assert host.names() == {"eth1"}


@pytest.mark.usefixtures("eth1")
def test_without_privileges(host: Namespace, target: Namespace) -> None:
    """DESIGN 4.2: without privileges: exit code 2."""

    def child() -> int:
        drop_capabilities(*range(40))
        return cli.main(["check", "eth1", "--to", target.path])

    assert in_child(child) == 2
    assert host.names() == {"eth1"}


@pytest.mark.usefixtures("host")
def test_process_with_a_bad_name_on_its_command_line(target: Namespace) -> None:
    """DESIGN 4.2: bytes that are no text in an argument end in a line, not in a traceback."""
    command = [sys.executable.encode(), b"-m", b"netdevns", b"move", b"e\xff1=n\xa00", b"--to", b"fd:%d" % target.fd]
    done = subprocess.run(command, cwd=TOP, pass_fds=(target.fd,), capture_output=True, timeout=60)
    assert done.returncode == 2
    assert b"Traceback" not in done.stderr
    assert b"no such device" in done.stderr


@pytest.mark.usefixtures("eth1")
def test_reader_that_goes_away(target: Namespace) -> None:
    """DESIGN 4.2: a closed pipe on stdout is no failure of a move that is done, and no traceback."""
    command = [sys.executable, "-m", "netdevns", "move", "eth1", "--to", f"fd:{target.fd}"]
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(command, cwd=TOP, pass_fds=(target.fd,), stdout=write, stderr=subprocess.PIPE, timeout=60)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, b"")
    assert target.names() == {"eth1"}


@pytest.mark.usefixtures("eth1")
def test_names_are_shown_and_not_obeyed(
    host: Namespace, target: Namespace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever is printed, on either stream: a name's control characters become visible, what is text stays."""
    name, shown = "\x1b[31mé", "\\x1b[31mé"
    assert cli.main(["move", f"eth1={name}", "--to", target.path]) == 0
    assert capsys.readouterr().out.startswith(f"eth1 -> {shown} in ")
    assert cli.main(["move", f"{name}=eth1", "--from", target.path, "--to", host.path]) == 0
    assert capsys.readouterr().out.startswith(f"{shown} -> eth1 in ")
    for arguments, code in (
        (["move", name, name, "--to", target.path], 2),
        (["move", f"={name}", "--to", target.path], 2),
        (["move", "eth1", "--to", name], 2),
        (["check", name, "--to", target.path], 2),
        (["check", "eth1", "--to", name], 2),
        (["apply", "--bundle", name], 2),
        (["apply", "--bundle", ".", "--pid", name], 2),
        (["move", "eth1", "--to", "x", f"--{name}"], 2),
        ([name], 2),
    ):
        assert cli.main(arguments) == code
        told = "".join(capsys.readouterr())
        assert shown in told
        assert all(line.isprintable() for line in told.splitlines())

    def failed(*_: object, **__: object) -> None:
        raise netdevns.MoveFailed("eth1: failed", left=(netdevns.Left(name, "target", name, 7, (f"altname {name}",)),))

    monkeypatch.setattr("netdevns.api.transact", failed)
    assert cli.main(["move", "eth1", "--to", target.path]) == 3
    told = capsys.readouterr().err
    assert told.count(shown) == 3
    assert all(line.isprintable() for line in told.splitlines())


def test_letters_that_stdout_lacks(host: Namespace) -> None:
    """A name's letters outside of the streams' encoding are shown escaped; they end nothing."""
    host.ip("link add é type ifb")
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    for name, code, told in (("é", 0, b"\\xe9"), ("nopé", 2, b"nop\\xe9: no such device")):
        command = [sys.executable, "-m", "netdevns", "show", name]
        done = subprocess.run(command, cwd=TOP, capture_output=True, env=environment, timeout=60)
        assert done.returncode == code
        assert told in done.stdout + done.stderr


def test_features(capsys: pytest.CaptureFixture[str]) -> None:
    """S13, DESIGN 4.2: one JSON document, the features structure."""
    assert cli.main(["features"]) == 0
    out, err = capsys.readouterr()
    assert (json.loads(out), err) == (netdevns.oci.features(), "")


@pytest.mark.usefixtures("host")
def test_check_from_elsewhere(target: Namespace) -> None:
    """`check --from` asks where `move --from` would."""
    with Namespace.create("elsewhere") as elsewhere:
        elsewhere.batch(ETH1)
        assert cli.main(["check", "eth1", "--from", elsewhere.path, "--to", target.path]) == 0
        assert cli.main(["check", "eth1", "--to", target.path]) == 2


@pytest.mark.usefixtures("eth1")
@pytest.mark.parametrize("columns", [80, 120])
def test_check_on_a_terminal(target: Namespace, columns: int) -> None:
    """A table with a row for each finding, and as the last line the verdict; the same exit codes."""
    os.set_inheritable(target.fd, True)
    where = f"fd:{target.fd}"
    code, out = on_terminal(columns, "-m", "netdevns", "check", "eth1=net0", "--to", where)
    lines = letters(out).splitlines()
    assert (code, lines[-1]) == (0, "ok: nothing stands against this move")
    assert [line.split(None, 3) for line in lines[:2]] == [
        ["SEVERITY", "DEVICE", "CODE", "WHAT"],
        ["loss", "eth1", "loss.routes", "a move loses: 1 route"],
    ]
    code, out = on_terminal(columns, "-m", "netdevns", "check", "eth1=net0", "nope", "lo=lo1", "--to", where)
    lines = letters(out).splitlines()
    assert (code, lines[-1]) == (2, "refused: a move would not begin")
    assert max(map(len, lines)) <= columns
    rows = [re.match(r"(error|loss) +(\S+) +(\S+) ", line) for line in lines]
    assert [row.groups() for row in rows if row] == [
        ("error", "nope", "device.unknown"),
        ("error", "lo", "device.immutable"),
        ("loss", "eth1", "loss.routes"),
    ]
    assert "\x1b[1;31merror\x1b[0m" in out
    os.set_inheritable(target.fd, False)


@pytest.mark.usefixtures("eth1")
@pytest.mark.parametrize("exception", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("where", ["progress.Progress.__exit__", "screens.moved"])
def test_interrupt_after_the_move(
    target: Namespace,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    exception: type[BaseException],
    where: str,
) -> None:
    """DESIGN 4.2: a signal that comes when all is done undoes nothing, and is not told to have touched nothing."""

    def strike(*_: object) -> None:
        raise exception

    monkeypatch.setattr(f"netdevns.{where}", strike)
    assert cli.main(["move", "eth1", "--to", target.path]) == 0
    assert capsys.readouterr().err == f"netdevns: interrupted when it was done: the devices are in {target.path}\n"
    assert target.names() == {"eth1"}


@pytest.mark.usefixtures("eth1")
def test_interrupt_before_the_move(
    host: Namespace, target: Namespace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """DESIGN 4.2: a signal during the checks: nothing was touched."""

    def strike(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("netdevns.losses.find", strike)
    assert cli.main(["move", "eth1", "--to", target.path]) == 1
    assert capsys.readouterr().err == "netdevns: interrupted; nothing was touched\n"
    assert host.names() == {"eth1"}


@pytest.mark.usefixtures("eth1")
@pytest.mark.parametrize("exception", [KeyboardInterrupt, SystemExit, RuntimeError])
def test_advice_that_fails_hides_nothing(
    target: Namespace,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    exception: type[BaseException],
) -> None:
    """What has happened, and the exit code, do not depend on whether there is advice."""

    def strike(*_: object, **__: object) -> None:
        raise exception

    monkeypatch.setattr("netdevns.advice._typed", strike)
    race(target, monkeypatch)
    assert cli.main(["move", "eth1=net0", "--to", target.path]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("devices, addresses and routes are back as before")


@pytest.mark.usefixtures("eth1")
def test_stdout_that_is_full(target: Namespace) -> None:
    """DESIGN 4.2: what cannot be written does not change what was done, nor the exit code; it is told."""
    command = [sys.executable, "-m", "netdevns", "move", "eth1", "--to", f"fd:{target.fd}"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            command, cwd=TOP, pass_fds=(target.fd,), stdout=full, stderr=subprocess.PIPE, text=True, timeout=60
        )
    assert (done.returncode, done.stderr) == (0, "netdevns: stdout: No space left on device\n")
    assert target.names() == {"eth1"}


# ---- progress ----

PROGRESS = r"netdevns: (\d+ of \d+ devices .*|undoing: \d+ of \d+ devices are back)"


@pytest.fixture
def many(host: Namespace) -> list[str]:
    """A batch of devices that takes more than a second by SLOW."""
    host.batch([f"link add eth{n} type ifb" for n in range(COUNT)])
    return [f"eth{n}=net{n}" for n in range(COUNT)]


def test_progress_on_a_pipe(target: Namespace, many: list[str]) -> None:
    """More than a second: a line on stderr now and then; stdout has the result only."""
    done = slow(0.08, *many, "--to", f"fd:{target.fd}", fds=(target.fd,))
    assert done.returncode == 0
    assert 1 <= len(done.stderr.splitlines()) <= 2
    assert all(re.fullmatch(PROGRESS, line) for line in done.stderr.splitlines())
    assert len(done.stdout.splitlines()) == COUNT


def test_no_progress_with_json(target: Namespace, many: list[str]) -> None:
    """With --json stderr is for errors."""
    done = slow(0.08, *many, "--to", f"fd:{target.fd}", "--json", fds=(target.fd,))
    assert (done.returncode, done.stderr) == (0, "")
    assert len(json.loads(done.stdout)["moved"]) == COUNT


def test_progress_on_a_terminal(target: Namespace, many: list[str]) -> None:
    """One line that is written over, and gone when the result is printed."""
    os.set_inheritable(target.fd, True)
    code, out = on_terminal(80, "-c", SLOW, "0.08", *many, "--to", f"fd:{target.fd}")
    os.set_inheritable(target.fd, False)
    assert code == 0
    *told, result = out.split("\r")
    assert [line for line in told if line.strip()]
    assert all(re.fullmatch(PROGRESS, line.rstrip()) for line in told if line.strip())
    assert (told[-1].strip(), len(result.splitlines())) == ("", COUNT)
    assert result.startswith("eth0 -> net0 in ")


# ---- signals ----

COUNT = 20


def wait_for_arrivals(target: Namespace, count: int) -> None:
    """Until that many devices have arrived in the target, told by notifications."""
    with target.monitor() as monitor:
        end = time.monotonic() + 20
        while len(target.names()) < count:
            assert time.monotonic() < end
            select.select([monitor.raw], [], [], 0.05)
            monitor.seen()


@pytest.mark.parametrize("arrived", [1, 10], ids=["early", "half way"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda n: n.name)
def test_signal_undoes_a_batch(host: Namespace, target: Namespace, number: signal.Signals, arrived: int) -> None:
    """Issue item 4: a signal during a batch of 20 devices undoes it: exit code 1, a line says so, all is as before."""
    host.batch(
        [
            line
            for n in range(COUNT)
            for line in (
                f"link add eth{n} type ifb",
                f"link set eth{n} up",
                f"addr add 10.{n}.0.1/24 dev eth{n}",
                f"addr add 2001:db8:{n:x}::1/64 nodad dev eth{n}",
                f"route add 192.0.{n}.0/24 via 10.{n}.0.9",
            )
        ]
    )
    host.wait_until_quiet()
    before = host.dump()
    batch = (f"eth{n}=net{n}" for n in range(COUNT))
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW, "0.02", *batch, "--to", f"fd:{target.fd}"],
        cwd=TOP,
        pass_fds=(target.fd,),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_for_arrivals(target, arrived)
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    assert (process.returncode, out) == (1, "")
    *told, line = err.splitlines()
    assert all(re.fullmatch(PROGRESS, progress) for progress in told)
    assert line.startswith(f"netdevns: interrupted by {number.name}; ")
    assert line.endswith("devices, addresses and routes are back as before")
    assert_equal_soon(before, host)
    assert target.names() == set()


# The command itself, made slower between two devices: on some kernels a batch is done before a signal can be sent.
SLOW = """
import sys, time
from netdevns import cli
from netdevns.engine import Device
real = Device.move
def move(self, *arguments):
    real(self, *arguments)
    time.sleep(float(sys.argv[1]))
Device.move = move
sys.exit(cli.main(["move", *sys.argv[2:]]))
"""


def slow(pause_s: float, *arguments: str, fds: tuple[int, ...]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", SLOW, str(pause_s), *arguments]
    return subprocess.run(command, cwd=TOP, pass_fds=fds, capture_output=True, text=True, timeout=60)


@pytest.mark.usefixtures("eth1")
def test_main_from_another_thread(target: Namespace, host: Namespace) -> None:
    """DESIGN 4.1: an embedder may call the command from any thread; signal handlers are not touched there."""
    before = signal.getsignal(signal.SIGTERM)
    codes: list[int] = []

    def call() -> None:
        setns(host.fd)
        codes.append(cli.main(["check", "eth1", "--to", target.path]))

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    assert codes == [0]
    assert signal.getsignal(signal.SIGTERM) is before

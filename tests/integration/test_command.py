"""The command, called in this process: what it prints, and its exit codes."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import signal
import threading
from pathlib import Path

import pytest

import netdevns
from netdevns.cli.main import main
from tests.support import steps
from tests.support.namespaces import Namespace, drop_capabilities, in_child, setns
from tests.support.terminal import letters, on_terminal

from .command import ETH1

pytestmark = pytest.mark.here


@pytest.fixture
def eth1(host: Namespace) -> None:
    host.batch(ETH1)


@pytest.mark.usefixtures("eth1")
def test_move_says_what_arrived(target: Namespace, capsys: pytest.CaptureFixture[str]) -> None:
    """DESIGN 4.2: one line a device: its names, where it is, its addresses, and what was not carried."""
    assert main(["move", "eth1=net0", "--to", target.path]) == 0
    ifindex = target.links()["net0"].ifindex
    out, err = capsys.readouterr()
    assert out == f"eth1 -> net0 in {target.path} (ifindex {ifindex}), 2 addresses; not carried: 1 route\n"
    assert err == ""


@pytest.mark.usefixtures("eth1")
def test_move_json_has_the_fields_of_moved(target: Namespace, capsys: pytest.CaptureFixture[str]) -> None:
    """DESIGN 4.2: `--json` prints {"moved": [...]} with the fields of `Moved` and `Address`."""
    assert main(["move", "eth1=net%d", "--to", f"fd:{target.fd}", "--json"]) == 0
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
        assert main(["move", "eth1", "--from", elsewhere.path, "--to", target.path]) == 0
    assert target.names() == {"eth1"}


@pytest.mark.usefixtures("eth1")
def test_refused_move(host: Namespace, target: Namespace, capsys: pytest.CaptureFixture[str]) -> None:
    """DESIGN 4.2: a refusing check is exit code 2; with --json the document has the error, too."""
    assert main(["move", "eth1=a/b", "--to", target.path, "--json"]) == 2
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
    monkeypatch.setattr(*steps.before("move", lambda _: target.ip("link add net0 type ifb")))


@pytest.mark.smoke
@pytest.mark.usefixtures("eth1")
@pytest.mark.parametrize("as_json", [False, True], ids=["human", "json"])
def test_failed_move(
    target: Namespace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], as_json: bool
) -> None:
    """DESIGN 4.2: a step that fails after the check is exit code 1, and one line says that all is as before."""
    race(target, monkeypatch)
    assert main(["move", "eth1=net0", "--to", target.path, *(["--json"] if as_json else [])]) == 1
    out, err = capsys.readouterr()
    line, following = err.splitlines()
    assert re.fullmatch(rf"netdevns: next: .* check eth1=net0 --to {target.path}", following)
    assert line.startswith("netdevns: eth1: ")
    assert "File exists" in line
    assert line.endswith("all devices are restored")
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
    assert main(["check", "eth1=net0", "--to", target.path]) == 0
    finding, following, verdict = capsys.readouterr().out.splitlines()
    assert finding == "loss   eth1: a move loses: 1 route"
    assert re.fullmatch(rf"next   .* move eth1=net0 --to {target.path}", following)
    assert verdict == "ok: the move would succeed"
    assert target.names() == set()


@pytest.mark.usefixtures("eth1")
def test_check_json(target: Namespace, capsys: pytest.CaptureFixture[str]) -> None:
    """DESIGN 4.2: `check --json` prints {"ok": ..., "findings": [...]} and exits with 2 where a move would refuse."""
    assert main(["check", "eth1=a/b", "nope", "--to", target.path, "--json"]) == 2
    shown = json.loads(capsys.readouterr().out)
    assert set(shown) == {"ok", "findings"}
    assert shown["ok"] is False
    assert all(set(f) == {"device", "severity", "code", "text", "hint"} for f in shown["findings"])
    assert [f["hint"] for f in shown["findings"] if f["code"] == "device.unknown"] == ["netdevns show"]
    assert {f["code"] for f in shown["findings"]} == {"name.invalid", "device.unknown", "loss.routes"}


@pytest.mark.usefixtures("eth1")
def test_check_of_a_bundle(target: Namespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """DESIGN 4.2: `check --bundle` checks what `apply` would move."""
    linux = {"netDevices": {"eth1": {"name": "net0"}}, "namespaces": [{"type": "network"}]}
    (tmp_path / "config.json").write_text(json.dumps({"linux": linux}))
    assert main(["check", "--bundle", str(tmp_path), "--netns", target.path, "--json"]) == 0
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
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err
    assert "Traceback" not in err


@pytest.mark.parametrize("arguments", [["recover", "eth1"], ["show", "--bogus"], ["check", "a", "--to", "b", "-\x1b"]])
def test_usage_of_the_command(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """An argument that a command does not know: the usage of this command, and the argument, printable."""
    assert main(arguments) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"usage: netdevns {arguments[0]} ")
    unknown = arguments[-1].replace("\x1b", "\\x1b")
    assert err.endswith(f"netdevns {arguments[0]}: error: unrecognized arguments: {unknown}\n")


@pytest.mark.usefixtures("eth1")
def test_without_privileges(host: Namespace, target: Namespace) -> None:
    """DESIGN 4.2: without privileges: exit code 2."""

    def child() -> int:
        drop_capabilities(*range(40))
        return main(["check", "eth1", "--to", target.path])

    assert in_child(child) == 2
    assert host.names() == {"eth1"}


@pytest.mark.usefixtures("eth1")
def test_names_are_shown_and_not_obeyed(
    host: Namespace, target: Namespace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In all output, on either stream, a name's control characters are escaped, and its letters stay."""
    name, shown = "\x1b[31mé", "\\x1b[31mé"
    assert main(["move", f"eth1={name}", "--to", target.path]) == 0
    assert capsys.readouterr().out.startswith(f"eth1 -> {shown} in ")
    assert main(["move", f"{name}=eth1", "--from", target.path, "--to", host.path]) == 0
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
        assert main(arguments) == code
        printed = "".join(capsys.readouterr())
        assert shown in printed
        assert all(line.isprintable() for line in printed.splitlines())

    def failed(*_: object, **__: object) -> None:
        raise netdevns.MoveFailed("eth1: failed", left=(netdevns.Left(name, "target", name, 7, (f"altname {name}",)),))

    monkeypatch.setattr("netdevns.api.transact", failed)
    assert main(["move", "eth1", "--to", target.path]) == 3
    printed = capsys.readouterr().err
    assert printed.count(shown) == 3
    assert all(line.isprintable() for line in printed.splitlines())


def test_features(capsys: pytest.CaptureFixture[str]) -> None:
    """S13, DESIGN 4.2: one JSON document, the features structure."""
    assert main(["features"]) == 0
    out, err = capsys.readouterr()
    assert (json.loads(out), err) == (netdevns.oci.features(), "")


@pytest.mark.usefixtures("host")
def test_check_from_elsewhere(target: Namespace) -> None:
    """`check --from` asks where `move --from` would."""
    with Namespace.create("elsewhere") as elsewhere:
        elsewhere.batch(ETH1)
        assert main(["check", "eth1", "--from", elsewhere.path, "--to", target.path]) == 0
        assert main(["check", "eth1", "--to", target.path]) == 2


@pytest.mark.usefixtures("eth1")
@pytest.mark.parametrize("columns", [80, 120])
def test_check_on_a_terminal(target: Namespace, columns: int) -> None:
    """A table with a row for each finding, and as the last line the verdict; the same exit codes."""
    os.set_inheritable(target.fd, True)
    where = f"fd:{target.fd}"
    code, out = on_terminal(columns, "-m", "netdevns", "check", "eth1=net0", "--to", where)
    lines = letters(out).splitlines()
    assert (code, lines[-1]) == (0, "ok: the move would succeed")
    assert [line.split(None, 3) for line in lines[:2]] == [
        ["SEVERITY", "DEVICE", "CODE", "WHAT"],
        ["loss", "eth1", "loss.routes", "a move loses: 1 route"],
    ]
    code, out = on_terminal(columns, "-m", "netdevns", "check", "eth1=net0", "nope", "lo=lo1", "--to", where)
    lines = letters(out).splitlines()
    assert (code, lines[-1]) == (2, "error: the move would be refused")
    # A command to type is on one line, however long the path of the interpreter in it is.
    assert max(len(line) for line in lines if not line.startswith("next: ")) <= columns
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
    """DESIGN 4.2: a signal after the move undoes nothing, and no line says that nothing was touched."""

    def strike(*_: object) -> None:
        raise exception

    monkeypatch.setattr(f"netdevns.cli.{where}", strike)
    assert main(["move", "eth1", "--to", target.path]) == 0
    assert (
        capsys.readouterr().err
        == f"netdevns: interrupted after the move was complete: the devices are in {target.path}\n"
    )
    assert target.names() == {"eth1"}


@pytest.mark.usefixtures("eth1")
def test_interrupt_before_the_move(
    host: Namespace, target: Namespace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """DESIGN 4.2: a signal during the checks: nothing was touched."""

    def strike(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("netdevns.batch.losses.find", strike)
    assert main(["move", "eth1", "--to", target.path]) == 1
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

    monkeypatch.setattr("netdevns.cli.advice._typed", strike)
    race(target, monkeypatch)
    assert main(["move", "eth1=net0", "--to", target.path]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("all devices are restored")


@pytest.mark.usefixtures("eth1")
def test_main_from_another_thread(target: Namespace, host: Namespace) -> None:
    """DESIGN 4.1: an embedder may call the command from any thread; signal handlers are not touched there."""
    before = signal.getsignal(signal.SIGTERM)
    codes: list[int] = []

    def call() -> None:
        setns(host.fd)
        codes.append(main(["check", "eth1", "--to", target.path]))

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    assert codes == [0]
    assert signal.getsignal(signal.SIGTERM) is before

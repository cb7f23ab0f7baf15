"""The suggested next command: it can be typed as it stands, and then it works."""

from __future__ import annotations

import contextlib
import errno
import importlib
import io
import os
import pickle
import re
import shlex
import subprocess
from collections import defaultdict
from collections.abc import Callable

import pytest

import netdevns
from netdevns.batch.findings import Found, command_in
from netdevns.batch.plan import Plan
from netdevns.cli import advice, usage
from netdevns.cli.main import main
from netdevns.system.folders import JOURNAL_DIR
from netdevns.system.netns import CURRENT
from netdevns.text import quote
from tests.support.namespaces import Namespace, drop_capabilities, in_child

HOST = [
    "link add eth1 type ifb",
    "link property add dev eth1 altname enp3s0",
    "link add eth2 type ifb",
    "link set eth2 up",
    "addr add 10.0.0.2/24 dev eth2",
    "route add default via 10.0.0.1",
    "link add eth3 type ifb",
    "link add br0 type bridge",
]
TARGET = ["link add net0 type ifb", "link property add dev net0 altname wan0"]


@pytest.fixture
def sides(host: Namespace, target: Namespace) -> tuple[Namespace, Namespace]:
    host.batch(HOST)
    target.batch(TARGET)
    return host, target


@pytest.fixture
def suggested(capsys: pytest.CaptureFixture[str]) -> Callable[..., list[list[str]]]:
    """Runs a command and checks its exit code; returns the next commands that it suggests, as words."""

    def run(code: int, *arguments: str) -> list[list[str]]:
        assert main(arguments) == code
        out, err = capsys.readouterr()
        lines = [line.removeprefix("netdevns: next: ") for line in err.splitlines() if ": next: " in line]
        lines += [line.removeprefix("next   ") for line in out.splitlines() if line.startswith("next ")]
        return [shlex.split(line) for line in lines]

    return run


def type_(words: list[str]) -> int:
    """Types a command."""
    if "netdevns" in words:
        return main(words[words.index("netdevns") + 1 :])
    fds = [int(fd) for fd in re.findall(r"/proc/self/fd/(\d+)", shlex.join(words))]
    return subprocess.run(words, check=False, pass_fds=fds).returncode


CORRECTED = {
    "alternative name": (["enp3s0"], ["eth1"], 1),
    "alternative name, renamed": (["enp3s0=x"], ["eth1=x"], 1),
    "name taken": (["eth1=net0"], ["eth1=net%d"], 1),
    "name taken by an altname": (["eth1=wan0"], ["eth1=wan%d"], 1),
    "one name twice": (["eth1=x7", "eth3=x7"], ["eth1=x7", "eth3=x%d"], 1),
    "all of it": (["enp3s0=net0", "eth3=net0"], ["eth1=net%d", "eth3=net%d"], 1),
}


@pytest.mark.parametrize("command", ["check", "move"])
@pytest.mark.parametrize(("asked", "corrected", "count"), CORRECTED.values(), ids=CORRECTED)
def test_the_same_command_corrected(
    sides: tuple[Namespace, Namespace],
    suggested: Callable[..., list[list[str]]],
    command: str,
    asked: list[str],
    corrected: list[str],
    count: int,
) -> None:
    """With every error corrected at once; typed, it does what was meant."""
    _, target = sides
    commands = suggested(2, command, *asked, "--to", target.path)
    assert len(commands) == count
    words = commands[0][commands[0].index("netdevns") + 1 :]
    options = [word for word in corrected if word.startswith("--")]
    assert words == [command, *corrected[: len(corrected) - len(options)], "--to", target.path, *options]
    assert type_(commands[0]) == 0
    assert (target.names() == {"net0"}) == (command == "check")


@pytest.mark.parametrize("command", ["check", "move"])
@pytest.mark.parametrize("asked", [["eth2"], ["eth2", "eth1=net0"]], ids=["alone", "with another error"])
def test_no_command_with_force(
    sides: tuple[Namespace, Namespace], suggested: Callable[..., list[list[str]]], command: str, asked: list[str]
) -> None:
    """A pasted line must not cut off a host: the finding names --force and its effect, no next command has it."""
    assert suggested(2, command, *asked, "--to", sides[1].path) == []
    (found, *_) = netdevns.check({"eth2": None}, sides[1].path).findings
    assert found.text.endswith("; --force moves it anyway, and that route is lost, often the only way to the machine")


REMOVED = {
    "own altname": (["eth1=enp3s0"], []),
    "altname taken in the target": (["eth1=x"], ["link property add dev net0 altname enp3s0"]),
}


@pytest.mark.parametrize(("asked", "before"), REMOVED.values(), ids=REMOVED)
def test_a_command_that_removes_the_reason(
    sides: tuple[Namespace, Namespace], suggested: Callable[..., list[list[str]]], asked: list[str], before: list[str]
) -> None:
    """After the suggested command the move succeeds."""
    _, target = sides
    target.batch(before)
    *_, removal = suggested(2, "check", *asked, "--to", target.path)
    assert type_(removal) == 0
    (following,) = suggested(0, "check", *asked, "--to", target.path)
    assert type_(following) == 0


def test_ipv6_enabled_in_the_target(
    sides: tuple[Namespace, Namespace], suggested: Callable[..., list[list[str]]]
) -> None:
    """The sysctl that is in the way, inside of the target."""
    host, target = sides
    host.ip("addr add 2001:db8::1/64 nodad dev eth1")
    target.sysctl("ipv6/conf/default/disable_ipv6", 1)
    ((*inside, assignment),) = suggested(2, "move", "eth1", "--to", target.path)
    assert inside == ["nsenter", f"--net={target.path}", "sysctl", "-w"]
    assert assignment == "net.ipv6.conf.default.disable_ipv6=0"


def test_check_suggests_the_move(sides: tuple[Namespace, Namespace], suggested: Callable[..., list[list[str]]]) -> None:
    """DESIGN 4.2: after a check without errors: exactly the command that moves, with all that was given."""
    host, target = sides
    (words,) = suggested(0, "check", "eth2=a", "eth3", "--from", host.path, "--to", target.path, "--force")
    assert words[words.index("netdevns") + 1 :] == [
        "move", "eth2=a", "eth3", "--to", target.path, "--from", host.path, "--force",
    ]  # fmt: skip
    assert type_(words) == 0
    assert target.names() == {"net0", "a", "eth3"}


@pytest.mark.parametrize("asked", [["br0"], ["eth1=a/b"], ["enp3s0", "br0"], ["eth1=%d%d"]], ids=" ".join)
def test_nothing_is_suggested_where_nothing_helps(
    sides: tuple[Namespace, Namespace], suggested: Callable[..., list[list[str]]], asked: list[str]
) -> None:
    """A command that would be refused again is no advice."""
    assert suggested(2, "check", *asked, "--to", sides[1].path) == []


def test_permission(sides: tuple[Namespace, Namespace], monkeypatch: pytest.MonkeyPatch) -> None:
    """sudo for an ordinary user; root without capabilities is not helped by it."""
    asked = advice.Asked("move", {"eth1": None}, ("--to", "blue"), "blue")
    monkeypatch.setattr("sys.argv", ["/opt/netdevns/bin/netdevns"])
    for code, operands in (
        ("permission.source", {"netns": "pid:1"}),
        ("netns.open", {"error": "pid:1: Permission denied", "errno": errno.EACCES}),
    ):
        for euid, expected in ((1000, ["sudo /opt/netdevns/bin/netdevns move eth1 --to blue"]), (0, [])):
            monkeypatch.setattr("os.geteuid", lambda euid=euid: euid)
            plan = Plan([], force=False)
            plan.find(code, **operands)
            assert advice.after_check(plan.report().findings, asked) == expected

    def child() -> int:
        drop_capabilities(*range(40))
        return main(["check", "eth1", "--to", sides[1].path])

    assert in_child(child) == 2


@pytest.mark.parametrize(
    "words",
    [["recover"], ["recover", "--list"], ["return"], ["prepare", "blue", "eth1"], ["prepare", "blue", "--undo"],
     ["move", "eth1", "--to", "green"]],
    ids=" ".join,
)  # fmt: skip
@pytest.mark.parametrize("uid", [4711, 0])
def test_every_command_that_lacks_a_privilege(
    words: list[str], uid: int, sides: tuple[Namespace, Namespace], monkeypatch: pytest.MonkeyPatch
) -> None:
    """sudo for an ordinary user, before the verdict, also where the folder of the records is the obstacle."""

    def child() -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["/opt/netdevns/bin/netdevns"])
        os.makedirs(JOURNAL_DIR, 0o700, exist_ok=True)
        os.setgroups([])
        os.setresuid(4711, 4711, 4711)
        monkeypatch.setattr(os, "geteuid", lambda: uid)
        with contextlib.redirect_stderr(io.StringIO()) as err:
            code = main([sides[1].path if word == "green" else word for word in words])
        return code, err.getvalue()

    for module in ("prepare", "recover", "screens", "usage"):  # read before the files may be hidden
        importlib.import_module(f"netdevns.cli.{module}")
    code, err = in_child(child)
    *_, line, verdict = err.splitlines()
    assert (code, verdict) == (2, "netdevns: nothing was touched")
    assert line.startswith(f"netdevns: next: sudo /opt/netdevns/bin/netdevns {words[0]} ".rstrip()) == (uid != 0)


@pytest.mark.parametrize("name", ["a;reboot", "$(reboot)", "a b", "'", "-x"])
def test_what_is_typed_is_quoted(name: str) -> None:
    """A name can contain what a shell would obey."""
    asked = advice.Asked("check", {name: "x"}, ("--to", "blue"), "blue")
    (line,) = advice.after_check([], asked)
    words = shlex.split(line)
    parsed = usage.parser(defaultdict(lambda: None)).parse_args(words[words.index("netdevns") + 1 :])
    assert (parsed.command, parsed.devices, parsed.to) == ("move", [f"{name}=x"], "blue")


@pytest.mark.parametrize("name", ["a\x1b[31m", "a\n", "a\udcff", "x" * 600])
def test_name_that_cannot_be_typed_is_not_suggested(name: str) -> None:
    """Control characters and non-text bytes would be printed escaped, as another name; 600 letters are too many."""
    assert advice.after_check([], advice.Asked("check", {name: "x"}, ("--to", "blue"), "blue")) == []


@pytest.mark.parametrize(
    ("where", "words"),
    [
        (CURRENT, ["ip"]),
        ("blue", ["ip", "-n", "blue"]),
        ("pid:4711", ["nsenter", "-t", "4711", "-n", "ip"]),
        ("fd:3", ["nsenter", "--net=/proc/self/fd/3", "ip"]),
        ("/run/x/ns", ["nsenter", "--net=/run/x/ns", "ip"]),
        ("/run/x y/ns", ["nsenter", "--net=/run/x y/ns", "ip"]),
    ],
)
def test_a_command_in_a_namespace(where: str, words: list[str]) -> None:
    """However a namespace is named."""
    line = command_in(where, "ip", "link", "show")
    assert shlex.split(line or "") == [*words, "link", "show"]


HINTS = {
    "name.taken": ({"eth1": "net0"}, "eth1=net%d"),
    "name.taken-altname": ({"eth1": "wan0"}, "eth1=wan%d"),
    "name.twice": ({"eth1": "x", "eth3": "x"}, "eth3=x%d"),
    "name.own-altname": ({"eth1": "enp3s0"}, "ip link property del dev eth1 altname enp3s0"),
    "name.invalid": ({"eth1": "a/b"}, None),
    "device.altname": ({"enp3s0": "x"}, "eth1=x"),
    "device.default-route": ({"eth2": None}, "--force"),
    "device.unknown": ({"eth9": None}, "netdevns show"),
    "device.immutable": ({"br0": None}, None),
}


@pytest.mark.parametrize(("code", "devices", "hint"), [(code, *row) for code, row in HINTS.items()], ids=HINTS)
def test_hint_of_a_finding(
    sides: tuple[Namespace, Namespace], code: str, devices: dict[str, str | None], hint: str | None
) -> None:
    """DESIGN 4.1: a finding's hint is the command or step that helps, or None, in a report and in an error."""
    report = netdevns.check(devices, sides[1].path)
    assert {f.hint for f in report.findings if f.severity == "error"} == {hint}
    assert {f.code for f in report.findings if f.severity == "error"} == {code}
    with pytest.raises(netdevns.CheckFailed) as raised:
        netdevns.move(devices, sides[1].path)
    assert pickle.loads(pickle.dumps(raised.value)).report.findings == raised.value.report.findings
    assert hint in [f.hint for f in raised.value.report.findings]


@pytest.mark.parametrize(
    "words", [["a b"], ["'"], ["a'b", "$(x)"], [""], ["~", "*"], ["eth1=net%d"], ["端口"]], ids=str
)
def test_command_line_is_what_shlex_joins(words: list[str]) -> None:
    """The same quoting, without a module that a hook does not load."""
    assert quote.command_line(*words) == shlex.join(words)


def test_no_argument_for_a_device_that_none_can_name() -> None:
    """In DEV=NAME the device ends at the first `=`."""
    assert Found("device.altname", "x", other=b"a=b", wanted=b"net0").hint is None
    assert Found("device.altname", "x", other=b"a'b", wanted=b"net0").hint == shlex.quote("a'b=net0")

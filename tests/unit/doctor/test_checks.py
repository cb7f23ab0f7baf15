"""All checks together: their order, their failures, and what the command prints."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys

import pytest

from netdevns.cli import doctor as command
from netdevns.cli import screens
from netdevns.cli.main import main
from netdevns.doctor import checks, daemons, installations, kernel
from netdevns.doctor.finding import Finding
from netdevns.doctor.host import Nic
from tests.support import readme

from .made import Tree, worse

FOUND = [
    Finding("kernel", "ok", "Linux 6.18", "measured"),
    Finding("devices", "error", "eth1", "no such device\x1b", "netdevns show"),
    Finding("records", "warning", "/run/x", "old"),
]


def test_order(tree: Tree) -> None:
    """The findings stand in the order of the checks, each once."""
    found = checks.examine(tree.host())
    assert [*dict.fromkeys(finding.check for finding in found)] == [
        name for name in checks.NAMES if name in {finding.check for finding in found}
    ]
    assert len({*found}) == len(found)
    assert {*checks.NAMES} >= {finding.check for finding in found}


def test_check_that_fails(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a finding, and stops no other."""

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("a mistake\n")

    for module in (installations, kernel, daemons):
        monkeypatch.setattr(module, "check", fail)
    found = [each for each in checks.examine(tree.host()) if "internal error" in each.text]
    assert [(each.check, each.severity) for each in found] == [
        (n, "error") for n in ("installations", "kernel", "daemons")
    ]
    assert all("RuntimeError: a mistake\\n; please report it" in each.text for each in found)


def test_device_that_is_missing(tree: Tree) -> None:
    """Of all devices that a file names, those that are not here."""
    tree.hook()
    network = {"name": "n", "driver": "netdevns", "options": {"device": "alt"}}
    tree.write("/etc/containers/networks/n.json", network)
    tree.write(
        "/etc/systemd/system/netdevns-prepare-b.service", "ExecStart=/opt/netdevns/bin/netdevns prepare b eth9 br0\n"
    )
    host = tree.host(Nic("eth1", 7, altnames=("alt",)), Nic("br0", 8, "bridge", is_immutable=True))
    found = {each.subject: each for each in checks.examine(host) if each.check == "devices"}
    by = "asked for by /etc/systemd/system/netdevns-prepare-b.service, but"
    assert {name: each.text for name, each in found.items()} == {
        "alt": "asked for by /etc/containers/networks/n.json, but this is an alternative name of eth1: it is refused",
        "eth9": f"{by} there is no such device here, and none of that name is on loan",
        "br0": f"{by} the kernel never moves bridge devices into another network namespace",
    }
    assert {each.severity for each in found.values()} == {"error"}


def test_without_the_compiled_core(tree: Tree) -> None:
    """That is a finding, with the others that need none."""
    code = """
import sys
sys.modules["netdevns._ffi"] = None
from netdevns.doctor import checks
from netdevns.doctor.host import Host
for each in checks.examine(Host(sys.argv[1])):
    print(each.check, each.severity, each.text)
"""
    done = subprocess.run([sys.executable, "-c", code, tree.root], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert [line for line in lines if line.startswith("netdevns error ") and "no hook of it works" in line]
    assert {line.split()[0] for line in lines} == {"netdevns", "installations", "runtimes", "kernel"}


def test_json() -> None:
    """`ok` is false exactly if there is an error."""
    document = checks.documents(FOUND)
    assert document["ok"] is False
    assert json.loads(json.dumps(document))["findings"][1] == {
        "check": "devices",
        "severity": "error",
        "subject": "eth1",
        "text": "no such device\x1b",
        "hint": "netdevns show",
    }
    assert checks.documents(FOUND[2:])["ok"] is True


@pytest.mark.parametrize(("found", "code"), [(FOUND, 1), (FOUND[2:], 0), ([], 0)])
def test_exit_code(
    found: list[Finding], code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """1 with an error, 0 without; with --json the same."""
    monkeypatch.setattr(command.checks, "examine", lambda *_: found)
    assert main(["doctor"]) == code
    assert main(["doctor", "--json"]) == code
    out, err = capsys.readouterr()
    assert json.loads(out[out.index("{") :])["ok"] is not code
    assert err == ""


def test_lines() -> None:
    """Elsewhere than on a terminal: the worst first, one line each, and the counts."""
    assert screens.doctor(FOUND, None).splitlines() == [
        "error    eth1: no such device\\x1b; remedy: netdevns show",
        "warning  /run/x: old",
        "ok       Linux 6.18: measured",
        "1 error, 1 warning",
    ]


def test_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal: a table, with each remedy in a line of its own."""
    monkeypatch.setenv("TERM", "dumb")
    lines = screens.doctor(FOUND, 80).splitlines()
    assert lines[0].split() == ["SEVERITY", "SUBJECT", "WHAT"]
    assert [line.split()[:2] for line in lines[1:3]] == [["error", "eth1"], ["remedy:", "netdevns"]]
    assert lines[-2:] == ["", "1 error, 1 warning"]
    assert all(len(line) <= 80 for line in lines)


def test_page_has_each_check() -> None:
    """The table of docs/operator.md, and the JSON document's members."""
    page = readme.OPERATOR.read_text(encoding="utf-8")
    section = page[page.index("## Why has my container no NIC?") : page.index("## When something goes wrong")]
    assert [*re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)] == [*checks.NAMES]
    (text,) = re.findall(r"^```text\n(.*)\n```$", section, re.MULTILINE)
    document = json.loads(text)
    assert {*document} == {*checks.documents(FOUND)}
    assert {*document["findings"][0]} == {field.name for field in dataclasses.fields(Finding)}


def test_unread_file(tree: Tree) -> None:
    """A file that cannot be read is named."""
    tree.write("/etc/cdi/x.json", "x" * (2 << 20))
    assert "warning /etc/cdi/x.json: cannot be read: larger than 1 MiB" in worse(checks.examine(tree.host()))

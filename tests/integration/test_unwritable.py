"""Where no record can be written, `check` and `doctor` report what `move` would; they make nothing there."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import netdevns
from netdevns.cli import demo
from netdevns.cli.main import main
from netdevns.doctor import bundle, devices, records
from netdevns.doctor.finding import ERROR, OK, Finding
from netdevns.doctor.host import Host
from netdevns.doctor.lines import Trials
from netdevns.system.folders import JOURNAL_DIR
from netdevns.system.libc import call
from tests.support.namespaces import Namespace, in_child, unshare

READ_ONLY = "mount -o remount,ro /run"
MAKE = "mkdir -m 700 /run/netdevns /run/netdevns/txn"
REFUSED = {
    "read-only": (READ_ONLY, "Read-only file system"),
    "read-only, used before": (f"{MAKE} && {READ_ONLY}", "Read-only file system"),
    "another user's": (f"{MAKE} && chown 4711 /run/netdevns", "belongs to another user"),
    "another user's records": (f"{MAKE} && chown 4711 /run/netdevns/txn", "belongs to another user"),
    "for all": (f"{MAKE} && chmod 777 /run/netdevns", "others may write to it"),
    "a file": ("echo >/run/netdevns", "a symbolic link, or no directory"),
}
USABLE = {"not there": "true", "without records": "mkdir -m 700 /run/netdevns", "used before": MAKE}


def in_a_run(script: str, function: Callable[[], object]) -> object:
    """A function's result in a child with an empty /run, as a script has changed it."""

    def child() -> object:
        unshare(demo.CLONE_NEWNS)
        call("mount", None, b"/", None, demo.MS_REC | demo.MS_PRIVATE, None)
        call("mount", b"tmpfs", b"/run", b"tmpfs", 0, None)  # mount(8) would write to the other /run first
        subprocess.run(["sh", "-c", script], check=True)
        return function()

    return in_child(child)


def ran(*words: str) -> tuple[int, str, str]:
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        code = main([*words])
    return code, out.getvalue(), err.getvalue()


@pytest.fixture
def eth1(host: Namespace) -> None:
    host.batch(["link add eth1 type ifb"])


@pytest.mark.usefixtures("eth1")
@pytest.mark.parametrize(("script", "why"), REFUSED.values(), ids=REFUSED)
def test_check_refuses_what_a_move_would(target: Namespace, script: str, why: str) -> None:
    """P3: in the same words, as an error with a code."""

    def child() -> object:
        asked = ["eth1=net0", "--to", target.path]
        return ran("check", *asked, "--json"), ran("check", *asked), ran("move", *asked)

    (code, document, _), (again, out, _), (moved, _, err) = in_a_run(script, child)  # type: ignore[misc]
    assert (code, again, moved) == (2, 2, 2)
    (finding,) = json.loads(document)["findings"]
    assert (finding["severity"], finding["code"], finding["device"]) == ("error", "record.unwritable", None)
    assert finding["text"].endswith(f"no record of a move can be written there: {why}")
    assert out.splitlines() == [f"error  {finding['text']}", "error: the move would be refused"]
    assert why in err


@pytest.mark.usefixtures("eth1")
@pytest.mark.parametrize("script", USABLE.values(), ids=USABLE)
def test_check_makes_nothing(target: Namespace, script: str) -> None:
    """P3: where a move makes its folders, a check sees that it can."""

    def child() -> object:
        before = sorted(map(str, Path("/run").rglob("*")))
        checked = ran("check", "eth1=net0", "--to", target.path)[0]
        after = sorted(map(str, Path("/run").rglob("*")))
        return checked, after == before, ran("move", "eth1=net0", "--to", target.path)[0]

    assert in_a_run(script, child) == (0, True, 0)


@pytest.mark.usefixtures("eth1")
def test_check_of_the_library(target: Namespace, tmp_path: Path) -> None:
    """It looks at the directory that `move` gets, and at none where that gets none."""
    tmp_path.chmod(0o777)
    assert netdevns.check({"eth1": None}, target.path).ok
    assert netdevns.check({"eth1": None}, target.path, journal=tmp_path / "records").ok
    for journal in (tmp_path, tmp_path / "missing/records"):
        report = netdevns.check({"eth1": None}, target.path, journal=journal)
        assert [finding.code for finding in report.findings] == ["record.unwritable"]
        with pytest.raises(netdevns.NetDevError) as raised:
            netdevns.move({"eth1": None}, target.path, journal=journal)
        assert raised.value.text == report.findings[0].text
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("script", [READ_ONLY, f"{MAKE} && {READ_ONLY}"], ids=["not there", "used before"])
def test_doctor_on_a_read_only_run(script: str) -> None:
    """It is an error: every move is refused."""

    def child() -> object:
        return [*records.check(Host("/"))]

    found: list[Finding] = in_a_run(script, child)  # type: ignore[assignment]
    assert [(each.severity, each.subject) for each in found] == [(ERROR, JOURNAL_DIR)]
    text = "no record of a move can be written there: Read-only file system: every move is refused"
    assert found[0].text == text


@pytest.mark.usefixtures("eth1")
@pytest.mark.parametrize(("script", "is_usable"), [(READ_ONLY, False), ("true", True)], ids=["read-only", "usable"])
def test_doctor_of_a_bundle(target: Namespace, tmp_path: Path, script: str, is_usable: bool) -> None:
    """It does not say that a move would succeed, which is refused."""
    linux = {"netDevices": {"eth1": {}}, "namespaces": [{"type": "network", "path": target.path}]}
    (tmp_path / "config.json").write_text(json.dumps({"ociVersion": "1.3.0", "linux": linux}))

    def child() -> object:
        host = Host("/", devices.nics())
        return [*bundle.check(host, bundle.Bundle(str(tmp_path)), Trials(host), ["runc"])]

    found: list[Finding] = in_a_run(script, child)  # type: ignore[assignment]
    assert [each.severity for each in found] == [OK] * len(found)
    assert any(each.text.endswith("would succeed") for each in found) == is_usable

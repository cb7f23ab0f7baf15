"""`netdevns units`: the files' contents, their verification by systemd and udev, and refusals."""

from __future__ import annotations

import configparser
import os
import shlex
import subprocess
from pathlib import Path

import pytest

from netdevns.cli.main import main
from netdevns.oci import hook_line, units
from netdevns.oci.hook_line import Refused
from tests.support.require import require

TREE = Path(__file__).parents[3] / ".cache/units/packages"  # tools/units_fetch.py
SPACES = ["/opt/my venv/bin/python3", "-I", "-S", "-c", "import sys; sys.path += ['/a b', '/$HOME/100%'];\nimport x"]
COMMON = {
    "systemd/system/netdevns-arrival.service",
    "systemd/system/netdevns-recover.service",
    "systemd/system/netdevns-return.service",
    "systemd/system/multi-user.target.d/netdevns.conf",
    "udev/rules.d/90-netdevns.rules",
}


@pytest.fixture
def booted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine on which systemd runs; returns its /etc."""
    monkeypatch.setattr(units, "BOOTED", str(tmp_path))
    monkeypatch.setattr(units, "ROOT", str(tmp_path / "etc"))
    (tmp_path / "etc").mkdir()
    return tmp_path / "etc"


def files(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def parsed(text: str) -> configparser.ConfigParser:
    """The last of several values of one key."""
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(text)
    return parser


def test_install_and_uninstall(booted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--install writes all files and can be repeated; --uninstall removes them and their folders."""
    for _ in range(2):
        assert main(["units", "--install"]) == 0
    found = files(booted)
    assert {name for name in found if ".netdevns-made" not in name} == COMMON
    out, err = capsys.readouterr()
    assert (out.count("wrote "), out.count("next   systemctl daemon-reload\n"), err) == (10, 2, "")
    assert main(["units"]) == 0
    shown = capsys.readouterr().out
    assert all(f"# {booted}/{name}\n{found[name]}" in shown for name in COMMON)
    assert main(["units", "--uninstall"]) == 0
    assert list(booted.iterdir()) == []
    out = capsys.readouterr().out
    assert (out.count("removed "), out.splitlines()[-1]) == (5, "next   systemctl daemon-reload")
    assert main(["units", "--uninstall"]) == 0
    assert "nothing to remove" in capsys.readouterr().out


def test_other_files_stay(booted: Path) -> None:
    """Existing folders stay, and so do others' files in folders that --install made."""
    (booted / "systemd/system").mkdir(parents=True)
    assert main(["units", "--install"]) == 0
    (booted / "udev/rules.d/10-theirs.rules").write_text("theirs")
    assert main(["units", "--uninstall"]) == 0
    assert files(booted) == {"udev/rules.d/10-theirs.rules": "theirs"}
    assert (booted / "systemd/system").is_dir()


@pytest.mark.sampled(5, 2)
@pytest.mark.parametrize("name", sorted(COMMON))
@pytest.mark.parametrize("action", ["--install", "--uninstall"])
def test_one_foreign_file_stops_all(name: str, action: str, booted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In any of the folders: exit code 2, and nothing is written or removed."""
    assert main(["units", "--install"]) == 0
    (booted / name).write_text("[Unit]\nDescription=theirs\n")
    before = files(booted)
    assert main(["units", action]) == 2
    assert f"{name}: netdevns did not write this file and does not change it" in capsys.readouterr().err
    assert files(booted) == before


def test_without_systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Without systemd the files are shown with a warning, and installed only with --dir, for another system."""
    monkeypatch.setattr(units, "BOOTED", str(tmp_path / "missing"))
    monkeypatch.setattr(units, "ROOT", str(tmp_path))
    assert main(["units"]) == 0
    assert "systemd does not run here" in capsys.readouterr().err
    assert main(["units", "--install"]) == 2
    assert list(tmp_path.iterdir()) == []
    assert "for another system: --dir DIR" in capsys.readouterr().err
    assert main(["units", "--install", "--dir", str(tmp_path)]) == 0
    assert files(tmp_path).keys() >= COMMON
    assert main(["units", "--install", "--dir", str(tmp_path / "missing")]) == 2


def test_the_rule_starts_the_units() -> None:
    """The rule matches devices returned from a dead namespace, and starts the unit that starts the others."""
    texts = units.common(["/usr/bin/netdevns"])
    assert parsed(texts["netdevns.conf"])["Unit"]["Wants"] == units.ARRIVAL
    (rule,) = [line for line in texts[units.RULE].splitlines() if not line.startswith("#")]
    assert f'ENV{{SYSTEMD_WANTS}}+="{units.ARRIVAL}"' in rule
    assert 'SUBSYSTEM=="net"' in rule
    assert "RUN" not in rule
    arrival = parsed(texts[units.ARRIVAL])["Unit"]
    assert arrival["OnSuccess"] == arrival["After"] == f"{units.RECOVER} {units.RETURN}"
    for name, folder in {units.RECOVER: "txn", units.RETURN: "loan"}.items():
        unit = parsed(texts[name])["Unit"]
        assert unit["ConditionDirectoryNotEmpty"] == f"/run/netdevns/{folder}"
        assert unit["StartLimitIntervalSec"] == "0"


def test_the_line_is_that_of_the_hook(capsys: pytest.CaptureFixture[str]) -> None:
    """The interpreter itself, with -I -S and explicit paths, as cdi writes it for the hook in Python."""
    words = hook_line.command(with_python=True)
    texts = units.common(hook_line.program())
    capsys.readouterr()
    for name, arguments in {units.RECOVER: ["recover"], units.RETURN: ["return", "--arrived"]}.items():
        line = parsed(texts[name])["Service"]["ExecStart"]
        assert line[0] == ":"
        assert shlex.split(line[1:]) == [*words[:-1], *arguments]


def test_an_enabled_unit_is_not_removed(booted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Refused: the link of `systemctl enable` would stay, and ExecStop= would not run."""
    assert main(["units", "blue", "eth1=net0", "eth2", "--install"]) == 0
    out = capsys.readouterr().out
    assert "next   systemctl daemon-reload && systemctl enable --now 'netdevns-prepare-blue.service'" in out
    unit = booted / "systemd/system/netdevns-prepare-blue.service"
    link = booted / "systemd/system/multi-user.target.wants" / unit.name
    link.parent.mkdir()
    link.symlink_to(unit)
    assert main(["units", "blue", "--uninstall"]) == 2
    assert "systemctl disable --now 'netdevns-prepare-blue.service'" in capsys.readouterr().err
    assert unit.exists()
    link.unlink()
    link.parent.rmdir()
    assert main(["units", "blue", "--uninstall"]) == 0
    assert list(booted.iterdir()) == []


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["blue"], "give the devices, too"),
        (["a/b", "eth1"], "not a valid name for a prepared namespace"),
        (["blue", "a/b"], 'no device has this name: it contains "/"'),
        (["blue", "eth1=a b"], "eth1: it cannot be called a b: it contains white space"),
        (["blue", "eth1=%d%d"], "eth1: it cannot be called %d%d"),
        (["blue", "eth1", "eth1"], "this device is given twice"),
        (["blue", "eth1", "--uninstall"], "give the name alone"),
        (["\N{GRINNING FACE}" * 16, "eth1"], "the name of its unit would be longer than 255"),
        (["blue", "eth1=\udcff"], "not UTF-8"),
    ],
)
def test_refusals(arguments: list[str], said: str, booted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, one line, and nothing is written."""
    action = [] if "--uninstall" in arguments else ["--install"]
    assert main(["units", *arguments, *action]) == 2
    assert said in capsys.readouterr().err
    assert list(booted.iterdir()) == []


def test_a_program_that_systemd_would_not_start() -> None:
    """systemd refuses paths with quotes, backslashes and control characters (config_parse_exec)."""
    for path in '/a"b', "/a'b", "/a\\b", "/a\nb":
        with pytest.raises(Refused, match="systemd starts no program"):
            units.common([path])


# ---- what systemd and udev say --------------------------------------------------------------------------------------


def judged(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """A program of Debian trixie's, in its tree, where `folder` is /mnt."""
    if not TREE.exists():
        require("units", "there is no systemd to ask; tools/test --full fetches it")
    mounts = (
        "mount --bind %s $2/mnt",
        "mount -t tmpfs tmpfs $2/run",
        "mount -t tmpfs tmpfs $2/tmp",
        "mount -t proc proc $2/proc",
    )
    script = " && ".join(mounts) % "$1" + ' && shift && exec chroot "$@"'
    argv = ["unshare", "--mount", "--propagation", "private", "bash", "-c", script, "bash", folder, TREE]
    environment = {"PATH": "/usr/sbin:/usr/bin", "SYSTEMD_LOG_LEVEL": "info"}
    done = subprocess.run([*argv, *words], capture_output=True, text=True, env=environment, timeout=60, check=False)
    if "mount:" in done.stderr:
        require("netns", f"no mount namespace here: {done.stderr.strip()}")
    return done


def test_systemd_and_udev_accept_them(tmp_path: Path) -> None:
    """`systemd-analyze verify` and `udevadm verify` of Debian trixie find no fault, with any paths."""
    program = tmp_path / "my venv/bin/python3"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    words = [f"/mnt{str(program).removeprefix(str(tmp_path))}", *SPACES[1:]]
    texts = units.common(words) | {
        units.unit_of("a b@%n\\"): units.prepare(words, "a b@%n\\", {"e-%1": "net%d", "é$\\": None})
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    names = [f"/mnt/{name}" for name in texts if name.endswith(".service")]
    done = judged(tmp_path, "/usr/bin/systemd-analyze", "verify", "--man=no", "--recursive-errors=no", *names)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    done = judged(tmp_path, "/usr/bin/udevadm", "verify", "--no-summary", f"/mnt/{units.RULE}")
    assert (done.returncode, done.stderr) == (0, "")


def test_they_would_find_a_mistake(tmp_path: Path) -> None:
    """The verifiers of the test above find a deliberate mistake."""
    texts = units.common(["/usr/bin/true"])
    (tmp_path / units.RETURN).write_text(texts[units.RETURN].replace("Type=", "Typ="))
    (tmp_path / units.RULE).write_text(texts[units.RULE].replace("TEST==", "TESTS=="))
    done = judged(tmp_path, "/usr/bin/systemd-analyze", "verify", "--man=no", f"/mnt/{units.RETURN}")
    assert "Typ" in done.stderr
    assert judged(tmp_path, "/usr/bin/udevadm", "verify", f"/mnt/{units.RULE}").returncode == 1


@pytest.mark.parametrize("name", ["a$(touch PWNED)", "net0; rm -f x", "it's"])
def test_first_line_is_quoted_for_the_shell(name: str) -> None:
    """It has the commands that wrote the file, and that removes it."""
    written, removes = units.prepare(["/usr/bin/netdevns"], name, {"eth1": None}).splitlines()[0].split("`")[1::2]
    assert shlex.split(written) == ["netdevns", "units", name]
    assert shlex.split(removes) == ["netdevns", "units", name, "--uninstall"]


def test_escapes() -> None:
    """As systemd-escape(1) of systemd 257 prints them."""
    assert units.unit_of("a b@%n") == r"netdevns-prepare-a\x20b\x40\x25n.service"
    text = units.prepare(["/usr/bin/netdevns"], "blue", {"e-%1": "net%d", "é$": "net0"})
    wanted = r"sys-subsystem-net-devices-e\x2d\x251.device sys-subsystem-net-devices-\xc3\xa9\x24.device"
    assert parsed(text)["Unit"]["Wants"] == wanted
    assert parsed(text)["Service"]["ExecStart"] == ':/usr/bin/netdevns prepare blue "e-%%1=net%%d" "é$=net0"'
    assert os.linesep.join(text.splitlines()[-2:]) == "[Install]\nWantedBy=multi-user.target"

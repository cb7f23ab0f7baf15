"""The line that starts the hook: it works in a runtime as it is written, and one that would not is not written."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import netdevns
from netdevns.cli.main import main
from netdevns.oci import hook_line
from tests.support.installation import Installation, without_notes
from tests.support.namespaces import Namespace

from .container import ARRIVED, DEVICES, Bundle, Machine, Runtime, Seen, furnish

PACKAGE = Path(netdevns.__file__).parent


@pytest.fixture
def beside(tmp_path: Path) -> Path:
    """A folder with the package and cffi's module side by side, as an installation has them."""
    folder = tmp_path.resolve() / "site-packages"
    shutil.copytree(PACKAGE, folder / "netdevns", ignore=shutil.ignore_patterns("__pycache__"))
    core = hook_line.find_spec("_cffi_backend")
    assert core is not None
    assert core.origin is not None
    shutil.copy(core.origin, folder)
    return folder


def line_of(folder: Path) -> list[str]:
    """The line that an installation in a folder writes, up to the stage."""
    done = subprocess.run(
        [sys.executable, "-S", "-m", "netdevns", "cdi", "vendor.com/nic", "eth1"],
        env={"PYTHONPATH": str(folder)}, cwd="/", capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    args: list[str] = json.loads(done.stdout)["containerEdits"]["hooks"][0]["args"]
    return args[: args.index("hook") + 1]


def started(host: Namespace, runtime: Runtime, bundle: Bundle, words: list[str]) -> None:
    """A container with such a hook has its devices."""
    furnish(host)
    bundle.write(DEVICES, hooks=[hook_line.entry(words, "createRuntime")])
    done = runtime.run(bundle)
    assert done.returncode == 0, done.stderr
    assert Seen.parse(done.stdout).addresses == ARRIVED


def test_it_starts(host: Namespace, runtime: Runtime, bundle: Bundle) -> None:
    """This checkout's line, as it is: cffi is elsewhere, and both directories are on the line."""
    words = hook_line.command()
    assert words[1:4] == ["-I", "-S", "-c"]
    started(host, runtime, bundle, words)


@pytest.mark.thorough
def test_it_starts_as_an_installation_has_it(host: Namespace, runtime: Runtime, bundle: Bundle, beside: Path) -> None:
    """With cffi beside the package its own file is started, which needs no program on the line."""
    words = line_of(beside)
    assert words[1:] == ["-I", "-S", str(beside / "netdevns" / "__main__.py"), "hook"]
    started(host, runtime, bundle, words)


def test_it_names_the_interpreter_itself(host: Namespace, machine: Machine) -> None:  # noqa: ARG001  # a private /run
    """Path and first argument are the same absolute path of a program, and no link of a virtual environment's."""
    entry = hook_line.entry(hook_line.command(), "createRuntime", "eth1=net0")
    path = entry["path"]
    assert isinstance(path, str)
    assert path == os.path.realpath(path)
    assert Path(path).read_bytes()[:4] == b"\x7fELF"
    args = entry["args"]
    assert isinstance(args, list)
    assert args[0] == path
    assert args[-3:] == ["hook", "createRuntime", "eth1=net0"]
    loaded = machine.run([*args[:3], "-c", "import sys; print('site' in sys.modules)"])
    assert loaded.stdout == "False\n"


@pytest.mark.thorough
def test_trying_it_leaves_nothing(host: Namespace, machine: Machine) -> None:
    """The trial is no hook: nothing in /run/netdevns, and no notification on the host."""
    furnish(host)
    with host.monitor() as monitor:
        done = machine.netdevns("cdi", "vendor.com/nic", "eth1")
        assert monitor.seen() == []
    assert (done.returncode, without_notes(done.stderr)) == (0, "")
    assert list(machine.path("/run").iterdir()) == []


def refusal(capsys: pytest.CaptureFixture[str], folder: Path) -> str:
    """What the command says when it refuses; it has written nothing."""
    assert main(["cdi", "vendor.com/nic", "eth1", "--install", "--dir", str(folder)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert list(folder.iterdir()) == []
    first, last = err.splitlines()
    assert last == "netdevns: nothing was touched"
    return first


@pytest.mark.parametrize(
    ("executable", "said"),
    [
        ("{tmp}/shim", "{tmp}/shim: not an interpreter but a script; start netdevns with the interpreter"),
        ("{tmp}/link", "{tmp}/shim: not an interpreter but a script; start netdevns with the interpreter"),
        ("{tmp}/gone", "{tmp}/gone: this Python's interpreter cannot be read: No such file or directory"),
        ("", "this Python does not know its interpreter's path"),
        (os.path.realpath("/bin/true"), ": a hook would not work: exit code 0"),
        (os.path.realpath("/bin/false"), ": a hook would not work: exit code 1"),
    ],
)
def test_no_interpreter(
    executable: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A shim would look for an interpreter in an environment that a hook does not have; what is none starts nothing."""
    shim = tmp_path / "shim"
    shim.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    shim.chmod(0o755)
    (tmp_path / "link").symlink_to(shim)
    folder = tmp_path / "cdi"
    folder.mkdir()
    monkeypatch.setattr(sys, "executable", executable.format(tmp=tmp_path))
    assert said.format(tmp=tmp_path) in refusal(capsys, folder)


def test_an_interpreter_that_may_not_be_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The reason is the kernel's."""
    program = tmp_path / "python3"
    shutil.copy("/bin/true", program)
    program.chmod(0o644)
    folder = tmp_path / "cdi"
    folder.mkdir()
    monkeypatch.setattr(sys, "executable", str(program))
    assert f"{program}: a hook would not start: Permission denied" in refusal(capsys, folder)


def test_no_cffi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Without it no hook could move anything."""
    monkeypatch.setattr(hook_line, "find_spec", lambda _: None)
    assert "install cffi" in refusal(capsys, tmp_path)


def test_no_compiled_core(beside: Path) -> None:
    """The trial run loads it: a package without it is refused before any container starts."""
    for core in (beside / "netdevns").glob("_core*.so"):
        core.unlink()
    done = subprocess.run(
        [sys.executable, "-S", "-m", "netdevns", "cdi", "vendor.com/nic", "eth1"],
        env={"PYTHONPATH": str(beside)}, cwd="/", capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert "a hook would not work: netdevns: " in done.stderr


def test_a_path_that_is_no_text(beside: Path, tmp_path: Path) -> None:
    """JSON could not carry the line; it is refused, and not written with other letters."""
    other = tmp_path / os.fsdecode(b"caf\xe9")
    beside.rename(other)
    done = subprocess.run(
        [sys.executable, "-S", "-m", "netdevns", "cdi", "vendor.com/nic", "eth1"],
        env={"PYTHONPATH": str(other)}, cwd="/", capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert r"caf\xe9/netdevns/__main__.py: not UTF-8, which JSON requires" in done.stderr


# ---- the hook in C ---------------------------------------------------------------------------------------------------


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    return Installation(tmp_path / "opt")


@pytest.mark.thorough
def test_hook_in_c_is_taken_where_it_is_installed(
    host: Namespace, runtime: Runtime, bundle: Bundle, installation: Installation
) -> None:
    """One word, which outlives an upgrade of Python; it starts; --python has the other one's line."""
    assert installation.words() == [str(installation.hook)]
    assert installation.words("--python")[1:] == ["-I", "-S", str(installation.site / "netdevns/__main__.py"), "hook"]
    started(host, runtime, bundle, installation.words())


def test_hook_in_c_hands_over_to_its_own_installation(machine: Machine, installation: Installation) -> None:
    """What it does not do itself, the command beside it does, with the same arguments and state."""
    state = b'{"ociVersion": "1.0.2", "id": "c"}'
    done = machine.run([str(installation.hook), "createRuntime", "a=b"], stdin=state)
    assert (done.returncode, "absolute path" in done.stderr) == (2, True), done.stderr
    installation.command.write_text('#!/bin/sh\necho "$@" "$(cat)"\nexit 3\n')
    done = machine.run([str(installation.hook), "createRuntime", "a=b"], stdin=state)
    assert (done.returncode, done.stdout) == (3, f"hook createRuntime a=b {state.decode()}\n")


def damaged(installation: Installation, damage: str) -> None:
    match damage:
        case "another version":
            installation.hook.write_text("#!/bin/sh\necho netdevns-hook 0.0.9\n")
        case "no program":
            installation.hook.write_bytes(b"\0")
        case "no command beside it":
            installation.command.rename(installation.bin / "netdevns.old")
        case "a foreign command":
            installation.command.write_text(f'#!/bin/sh\nexec {sys.executable} -m netdevns "$@"\n')


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("another version", "netdevns-hook: this is not the hook of netdevns"),
        ("no program", "netdevns-hook: a hook would not start: Exec format error"),
        ("no command beside it", "netdevns: a hook would not start: No such file or directory"),
        ("a foreign command", "netdevns: not a script made by pip; install netdevns again, or use --python"),
    ],
)
def test_hook_in_c_that_is_not_whole(damage: str, said: str, installation: Installation) -> None:
    """Refused before anything is written; the other one's line is there."""
    damaged(installation, damage)
    python = [str(installation.bin / "python3"), "-P", "-m", "netdevns", "cdi", "vendor.com/nic", "eth1"]
    environment = {"PYTHONPATH": str(installation.site)}
    done = subprocess.run(python, env=environment, cwd="/", capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert (
        subprocess.run([*python, "--python"], env=environment, cwd="/", capture_output=True, check=False).returncode
        == 0
    )


@pytest.mark.thorough
def test_file_of_another_installations_hook_is_ours(installation: Installation, tmp_path: Path) -> None:
    """A file with either line is replaced by the other, and removed."""
    folder = tmp_path / "cdi"
    folder.mkdir()
    for options in ["--install"], ["--install", "--python"], ["--install"], ["--uninstall"]:
        devices = [] if "--uninstall" in options else ["eth1"]
        done = installation.run("cdi", "vendor.com/nic", *devices, *options, "--dir", str(folder))
        assert (done.returncode, without_notes(done.stderr)) == (0, ""), options
    assert list(folder.iterdir()) == []

"""The lines that start netdevns: those that are known, and whether they run."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import pytest

from netdevns import __version__
from netdevns.doctor import host, lines
from netdevns.doctor.lines import Line, Trial, Trials
from netdevns.oci import hook_line
from tests.support.namespaces import in_child
from tests.support.processes import processes, wait_until

from .made import HOOK, Tree, entry

PATHS = "import sys; sys.path += ['/opt/a', '/opt/b']; import netdevns.__main__"
MAIN = "/opt/lib/netdevns/__main__.py"


@pytest.mark.parametrize(
    ("words", "start"),
    [
        ([HOOK, "createRuntime"], 1),
        (["/usr/bin/netdevns", "hook"], 1),
        (["/usr/bin/python3.11", "-I", "-S", MAIN, "hook"], 4),
        (["/usr/bin/python3.11", "-IS", MAIN, "hook"], 3),
        (["/usr/bin/python3.11", "-I", "-S", "-c", PATHS, "hook"], 5),
        (["/bin/sh", "-c", "netdevns hook createRuntime"], None),
        (["/usr/bin/python3.11", "-c", PATHS + "; import os", "hook"], None),
        (["/usr/bin/python3", "-c", "import sys; sys.path += ['a']; import netdevns.__main__", "hook"], None),
        (["/usr/bin/python3", "-c", "import sys; sys.path += [7, []]; import netdevns.__main__", "hook"], None),
        (["/usr/bin/python3", "-c", "import sys; sys.path += [(]; import netdevns.__main__", "hook"], None),
        (["/usr/bin/python3", "-c", "import sys; sys.path += []; import netdevns.__main__", "hook"], None),
        (["/usr/bin/python3.11", "-m", "netdevns", "hook"], None),
        (["/usr/bin/env", "netdevns"], None),
        (["/bin/rm", "-I", MAIN], None),
        (["/usr/bin/python3", "-i", MAIN], None),
        ([], None),
    ],
)
def test_known_forms(words: list[str], start: int | None) -> None:
    """Only a line of a known form is ever run: its program, without the arguments of the file."""
    wanted = None if start is None else Line(tuple(words[:start]), tuple(words[start:]))
    assert lines.parse(words) == wanted


@pytest.mark.parametrize(
    ("hook", "arguments"),
    [
        (entry("createRuntime", "eth1=net0"), ("createRuntime", "eth1=net0")),
        ({"path": "/usr/bin/netdevns", "args": ["netdevns", "hook", "poststop"]}, ("poststop",)),
        ({"path": "/usr/bin/netdevns", "args": ["netdevns", "recover"]}, None),
        ({"path": "/usr/bin/nvidia-ctk", "args": ["nvidia-ctk", "hook"]}, None),
        ({"path": 7, "args": []}, None),
        ({"path": HOOK, "args": [7]}, None),
        ("netdevns", None),
    ],
)
def test_hooks(hook: object, arguments: tuple[str, ...] | None) -> None:
    """A hook's args[0] is argv[0]; the arguments behind the stage are the same for both hooks."""
    line = lines.of_hook(hook)
    assert (None if line is None else line.arguments) == arguments


def test_own_lines_are_known() -> None:
    """Each line that `--install` writes for this installation has a known form."""
    words = hook_line.command(with_python=True)
    line = lines.of_hook(hook_line.entry(words, "createRuntime", "eth1"))
    assert line is not None
    assert line.start == tuple(words[:-1])
    assert Trials(host.Host()).of(line) == Trial("ok", f"runs netdevns {__version__}")


def trial(tree: Tree, path: str = HOOK) -> Trial:
    return Trials(tree.host()).of(Line((path,), ()))


def test_line_that_runs(tree: Tree) -> None:
    """The version is the program's own answer."""
    tree.hook()
    assert trial(tree) == Trial("ok", f"runs netdevns-hook {__version__}")


def test_other_version(tree: Tree) -> None:
    """Two versions on one host are a warning."""
    tree.hook("0.0.9")
    found = trial(tree)
    assert (found.severity, found.text) == ("warning", f"runs netdevns-hook 0.0.9; this is {__version__}")


def test_command_of_another_version(tree: Tree) -> None:
    """The hook hands over to the command beside it: it has to be of the same version."""
    tree.hook()
    tree.write(
        "/opt/netdevns/bin/python3", "#!/bin/sh\n[ $3 = --version ] && echo netdevns 0.0.8 || echo '{\"devices\": 0}'\n"
    )
    (tree.root / "opt/netdevns/bin/python3").chmod(0o755)
    found = trial(tree)
    assert found.severity == "warning"
    assert found.text.endswith(f"; /opt/netdevns/bin/netdevns: runs netdevns 0.0.8; this is {__version__}")


def _fifo(tree: Tree) -> None:
    tree.hook().unlink()
    os.mkfifo(tree.root / HOOK.lstrip("/"), 0o755)


def _no_rights(tree: Tree) -> None:
    tree.hook().chmod(0o644)


def _says_no(tree: Tree) -> None:
    tree.hook()
    tree.program(HOOK, "busybox 1")


def _fails(tree: Tree) -> None:
    tree.hook()
    tree.program(HOOK, f"netdevns-hook {__version__}", code=7)


def _no_program(tree: Tree) -> None:
    tree.hook()
    tree.write(HOOK, "\x7fELF", 0o755)


def _no_command_works(tree: Tree) -> None:
    tree.hook()
    tree.write("/opt/netdevns/bin/netdevns", f"#!{os.path.realpath(sys.executable)}\nimport nothing\n", 0o755)


def _writable(tree: Tree) -> None:
    tree.hook().chmod(0o777)


def _of_another(tree: Tree) -> None:
    tree.hook()
    os.chown(tree.root / "opt", 4711, 4711)


BROKEN = {
    "none": (lambda _: None, f"there is no {HOOK}"),
    "a FIFO": (_fifo, f"{HOOK} is not executable"),
    "no rights": (_no_rights, f"{HOOK} is not executable"),
    "another program": (_says_no, "does not run: busybox 1"),
    "an exit code": (_fails, f"does not run: netdevns-hook {__version__}"),
    "no program": (_no_program, "does not run: Exec format error"),
    "no command": (_no_command_works, "cannot hand over to /opt/netdevns/bin/netdevns"),
    "writable": (
        _writable,
        "not tried: {root}/opt/netdevns/bin/netdevns-hook: other users may write to it (mode",
    ),
    "of another": (_of_another, "not tried: {root}/opt: it belongs to user 4711, who could change it"),
}


@pytest.mark.parametrize(("breaks", "text"), BROKEN.values(), ids=BROKEN)
def test_line_that_does_not_run(breaks: object, text: str, tree: Tree) -> None:
    """Each is an error with its reason."""
    breaks(tree)  # type: ignore[operator]
    found = trial(tree)
    assert found.severity == "error"
    assert text.format(root=tree.root) in found.text


def test_untrusted_program_is_not_started(tree: Tree, started: list[list[str]]) -> None:
    """One that another user could have replaced is named, never run; so is the command beside the hook."""
    hook = tree.hook()
    command = tree.root / "opt/netdevns/bin/netdevns"
    command.chmod(0o757)
    assert "other users may write to it" in trial(tree).text
    assert started == [[str(hook), "--version"]]
    command.chmod(0o755)
    hook.chmod(0o775)
    started.clear()
    assert "other users may write to it" in trial(tree).text
    assert started == []


def test_untrusted_interpreter_is_not_started(tmp_path: Path, started: list[list[str]]) -> None:
    """Nor one whose standard library, or whose netdevns, another user could change."""
    python = tmp_path / "python/bin/python3"
    python.parent.mkdir(parents=True)
    shutil.copy(os.path.realpath(sys.executable), python)
    library = tmp_path / "python/lib/python3.11"
    package = library / "site-packages/netdevns"
    package.mkdir(parents=True)
    for file in (library / "os.py", package / "__main__.py"):
        file.touch()
    line = Line((str(python), "-I", "-S", str(package / "__main__.py")), ())
    for path in (library / "os.py", library, package / "__main__.py", package.parent, python, python.parent):
        before = path.stat().st_mode
        path.chmod(0o777)
        found = Trials(host.Host()).of(line)
        path.chmod(before)
        assert found.text == f"not tried: {path}: other users may write to it (mode 0777)"
    assert started == []
    other = library / "site-packages/other"
    other.mkdir()
    other.chmod(0o777)  # is not loaded
    assert Trials(host.Host()).of(line).text != found.text
    assert started != []


def _as_user(path: str) -> Trial:
    """Tries a command as an ordinary user."""

    def child() -> object:
        os.setgroups([])
        os.setuid(4711)
        found = Trials(host.Host()).of(Line((path,), ()))
        return found.severity, found.text, found.hint

    return Trial(*in_child(child))


@pytest.mark.parametrize("hidden", ["opt/netdevns/bin", "opt/netdevns"])
def test_ordinary_user_cannot_judge(hidden: str) -> None:
    """What only root may read is no error of the installation: the doctor has to be root."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        tree = Tree(Path(folder) / "root")
        tree.hook()
        (tree.root / hidden).chmod(0o700)
        found = _as_user(str(tree.root / "opt/netdevns/bin/netdevns"))
    assert found == Trial("warning", "not tried: only root may read its files", "sudo netdevns doctor")


def test_ordinary_user_cannot_isolate() -> None:
    """Nor start a program so that it changes nothing."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        tree = Tree(Path(folder) / "root")
        found = _as_user(str(tree.hook()))
    text = "not tried: CAP_SYS_ADMIN is needed, so that it changes nothing"
    assert found == Trial("warning", text, "sudo netdevns doctor")


def test_hook_alone(tree: Tree) -> None:
    """Without the command it moves devices, and restores none."""
    tree.hook()
    (tree.root / "opt/netdevns/bin/netdevns").unlink()
    found = trial(tree)
    assert found.severity == "warning"
    assert "it restores no device when a container ends" in found.text


def test_hook_behind_a_link(tree: Tree) -> None:
    """It finds the command beside its own file, not beside the link."""
    tree.hook()
    link = tree.root / "usr/local/sbin/netdevns-hook"
    link.parent.mkdir(parents=True)
    link.symlink_to(tree.root / HOOK.lstrip("/"))
    assert trial(tree, "/usr/local/sbin/netdevns-hook") == Trial("ok", f"runs netdevns-hook {__version__}")


def test_program_that_hangs(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is ended after a time, with its children, and is an error."""
    monkeypatch.setattr(host, "RUN_S", 0.3)
    tree.hook()
    tree.write(HOOK, "#!/bin/sh\nsleep 4711 & wait\n", 0o755)
    assert "does not run: it did not end within 0.3 s" in trial(tree).text
    wait_until(lambda: not processes("4711"), "it is killed")


def test_each_program_once(tree: Tree, started: list[list[str]]) -> None:
    """A hundred devices of one CDI file do not start it a hundred times."""
    hook, trials = tree.hook(), Trials(tree.host())
    for number in range(5):
        assert trials.of(Line((HOOK,), ("createRuntime", f"eth{number}"))).severity == "ok"
    assert started.count([str(hook), "--version"]) == 1


def test_no_module_is_compiled(tmp_path: Path, started: list[list[str]]) -> None:
    """An interpreter that is tried writes nothing beside its modules, also where files could be written."""
    folder = tmp_path / "site"
    shutil.copytree(hook_line.PACKAGE, folder / "netdevns", ignore=shutil.ignore_patterns("__pycache__"))
    core = find_spec("_cffi_backend")
    assert core is not None
    paths = [str(folder), os.path.dirname(str(core.origin))]
    code = f"import sys; sys.path += {paths!r}; import netdevns.__main__"
    line = lines.parse([os.path.realpath(sys.executable), "-I", "-S", "-c", code])
    assert line is not None
    assert Trials(host.Host()).of(line) == Trial("ok", f"runs netdevns {__version__}")
    assert [*folder.rglob("__pycache__")] == []
    assert [words[1] for words in started] == ["-B", "-B"]


@pytest.mark.parametrize(
    ("text", "start"),
    [
        (f'#!/bin/sh\n# x\nexec /usr/bin/python3 -I -S {MAIN} netavark "$@"\n', ("/usr/bin/python3", "-I", "-S", MAIN)),
        ('#!/bin/sh\nexec /usr/bin/netdevns nri "$@"\n', ("/usr/bin/netdevns",)),
        ("#!/bin/sh\nexec /bin/sh -c 'netdevns' \"$@\"\n", None),
        ('#!/bin/sh\nexec \'/usr/bin/netdevns nri "$@"\n', None),
        ("", None),
    ],
)
def test_scripts(text: str, start: tuple[str, ...] | None) -> None:
    """The last line of the files of netavark and NRI."""
    line = lines.of_script(text)
    assert (None if line is None else line.start) == start

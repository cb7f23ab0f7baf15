"""The types that a user's type checker sees: mypy and pyright, both strict."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.require import require

TOP = Path(__file__).parents[3]
PROGRAMS = TOP / "tests" / "typing"


def mypy(program: Path) -> dict[int, str]:
    # Without our configuration: a user has none of it.
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--no-pretty", "--no-error-summary"]
    command += ["--cache-dir=.cache/mypy"]
    done = subprocess.run([*command, str(program)], cwd=TOP, capture_output=True, text=True, timeout=250, check=False)
    found = re.findall(rf"^{re.escape(str(program.relative_to(TOP)))}:(\d+): error: (.*)$", done.stdout, re.MULTILINE)
    assert done.returncode == bool(found), done.stdout + done.stderr
    return {int(line): text for line, text in found}


def pyright(program: Path) -> dict[int, str]:
    if importlib.util.find_spec("pyright") is None:
        require("pyright", "pyright is not installed: pip install '.[pyright]'")
    # Strict, even if a project configuration is not.
    text = program.read_text(encoding="utf-8").replace('"""\n', '"""\n# pyright: strict\n', 1)
    # Not in the checkout: other stages of a test run copy and read it meanwhile.
    with tempfile.TemporaryDirectory(prefix="netdevns-typing-") as folder:
        Path(folder, program.name).write_text(text, encoding="utf-8")
        Path(folder, "pyrightconfig.json").write_text(json.dumps({"extraPaths": [str(TOP)]}), encoding="utf-8")
        command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable, "--project", folder]
        done = subprocess.run(command, cwd=TOP, capture_output=True, text=True, timeout=250, check=False)
    found = json.loads(done.stdout)
    assert found["summary"]["filesAnalyzed"] == 1, done.stdout
    diagnostics = found["generalDiagnostics"]
    # The line that was put in is not counted.
    return {d["range"]["start"]["line"]: d["message"] for d in diagnostics if d["severity"] == "error"}


CHECKERS = pytest.mark.parametrize("errors_of", [mypy, pyright], ids=["mypy", "pyright"])


@pytest.mark.sampled(4)
@CHECKERS
@pytest.mark.parametrize("program", [PROGRAMS / "user.py", TOP / "examples" / "runtime.py"], ids=lambda path: path.name)
def test_user_program_has_no_error(errors_of: Callable[[Path], dict[int, str]], program: Path) -> None:
    """A program that uses every public name as it is documented, with the types that it asserts; and the example."""
    assert errors_of(program) == {}


@pytest.mark.sampled(2)
@CHECKERS
def test_misuse_is_refused(errors_of: Callable[[Path], dict[int, str]]) -> None:
    """Each wrong call has an error of its own, and the right ones have none."""
    program = PROGRAMS / "misuse.py"
    lines = program.read_text(encoding="utf-8").splitlines()
    assert set(errors_of(program)) == {number for number, line in enumerate(lines, 1) if "# wrong" in line}


def test_package_says_that_it_is_typed() -> None:
    """PEP 561: py.typed lies in the package, and the wheel takes it along."""
    assert (TOP / "netdevns" / "py.typed").is_file()
    assert '"py.typed"' in (TOP / "pyproject.toml").read_text(encoding="utf-8")

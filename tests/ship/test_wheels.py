"""What would be uploaded: an sdist and one abi3 wheel, judged by their content and installed far from the checkout.

Needs pip's index; `tools/test --full` runs it, and `tools/wheels` does the same in clean Debians.
"""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import pytest

from tests.support.require import require
from tools import wheels, wheels_musl

PYTHONS = wheels.pythons()
pytestmark = pytest.mark.timeout(1800)  # the first one builds; a machine may be busy with ten other things


def test_both_are_as_they_should_be(files: tuple[Path, Path]) -> None:
    """One wheel for all Pythons and for glibc from 2.17 on, with the package alone; an sdist with all sources."""
    wheels.judge(*files)


def test_judge_sees_what_is_too_much(files: tuple[Path, Path], tmp_path: Path) -> None:
    """A file that git does not know, or a module beside the package, is refused."""
    for stray in ("netdevns/stray.py", "csrc/build_ffi.py"):
        copy = tmp_path / files[1].name
        copy.write_bytes(files[1].read_bytes())
        with zipfile.ZipFile(copy, "a") as opened:
            opened.writestr(stray, "")
        with pytest.raises(wheels.Fail, match=stray):
            wheels.judge_files(copy)


def test_judge_sees_a_newer_libc(files: tuple[Path, Path], tmp_path: Path) -> None:
    """A tag that says that the core needs a newer glibc is refused, and the untrue one of a fresh build."""
    for tag in ("manylinux_2_34_x86_64", "linux_x86_64"):
        with pytest.raises(wheels.Fail, match="not an abi3 wheel"):
            wheels.judge(files[0], tmp_path / f"netdevns-0.1.0-cp311-abi3-{tag}.whl")


@pytest.mark.sampled(1, 3)
@pytest.mark.parametrize("python", PYTHONS)
def test_wheel_needs_no_compiler(files: tuple[Path, Path], python: str) -> None:
    """Each Python of this machine installs the wheel into a clean environment, and moves devices with both engines."""
    assert "with both engines" in wheels.try_in_venv(python, files[1], compiles=False)


def test_sdist_compiles(files: tuple[Path, Path]) -> None:
    """pip compiles the core out of the sdist, and what comes of it moves devices."""
    assert "with both engines" in wheels.try_in_venv(PYTHONS[0], files[0], compiles=True)
    with pytest.raises(wheels.Fail):  # so the other test's way of having no compiler is one
        wheels.try_in_venv(PYTHONS[0], files[0], compiles=False)


def test_wheel_for_musl(files: tuple[Path, Path], tmp_path: Path) -> None:
    """It builds, and needs nothing of glibc; tools/wheels tries it on a Python on musl."""
    if shutil.which("musl-gcc") is None:
        require("compilers", "there is no musl-gcc; tools/test installs it")
    wheels_musl.judge(wheels_musl.build(files[0], tmp_path / "out", tmp_path))
    with pytest.raises(wheels.Fail, match="not an abi3 wheel of musllinux"):
        wheels_musl.judge(files[1])

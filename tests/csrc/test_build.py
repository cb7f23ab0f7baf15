"""csrc/ builds alone: every compiler, C and C++, glibc and musl, no warning; and its README.md is correct."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support import require

from .compilers import BUILDS, CORE, CSRC, HERE, PLAIN, PROGRAMS, SANITIZED, SCRATCH, STRICT, Build
from .ways import ways

THOROUGH = pytest.mark.thorough
HEADERS = sorted(path.name for path in CSRC.glob("*.h"))


@pytest.fixture(params=ways(*BUILDS, full=(*BUILDS,)))
def build(request: pytest.FixtureRequest) -> Build:
    found = BUILDS[request.param]
    found.check()
    return found


def test_core_builds(build: Build) -> None:
    """Each file of the core compiles as C11 with all warnings on, and there are none."""
    assert len(build.objects()) == len(CORE) > 10


@pytest.mark.parametrize("name", PROGRAMS)
def test_program_builds(build: Build, name: str) -> None:
    """The same for the programs, which are linked with it."""
    assert build.program(name).exists()


@pytest.mark.parametrize("header", HEADERS)
def test_header_stands_alone(build: Build, header: str) -> None:
    """A header can be the first that a file includes."""
    source = SCRATCH / "alone.c"
    source.write_text(f'#include "{header}"\nint main(void) {{ return 0; }}\n')
    build.run("-fsyntax-only", source)


@pytest.mark.parametrize(
    "standard", [pytest.param("c++11", marks=THOROUGH), "c++17", pytest.param("c++20", marks=THOROUGH)]
)
@pytest.mark.parametrize(
    ("compiler", "objects"),
    [
        ("g++", "gcc"),
        *(
            pytest.param(compiler, objects, marks=THOROUGH)
            for compiler, objects in (("g++", "gcc-sanitized"), ("clang++", "clang"))
        ),
    ],
)
def test_embedded_in_cpp(compiler: str, objects: str, standard: str, tmp_path: Path) -> None:
    """A C++ program includes netdevns-core.h without a warning, is linked with the C objects, and works."""
    if shutil.which(compiler) is None:
        require("compilers", f"there is no {compiler}")
    build = BUILDS[objects]
    build.check()
    options = [f"-std={standard}", *STRICT, *(SANITIZED if "sanitized" in objects else PLAIN), f"-I{CSRC}"]
    program = tmp_path / "embed"
    command = [compiler, *options, str(HERE / "embed.cpp"), *map(str, build.objects()), "-o", str(program)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=250, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    done = subprocess.run([program], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "lo 1 1\n", "")


def test_symbols_do_not_clash(build: Build) -> None:
    """All that the sources add to a program's name space begins with netdevns_, the interface, or with nd_."""
    command = ["nm", "--defined-only", "--extern-only", "--format=posix", *map(str, build.objects())]
    listed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    symbols = {line.split()[0] for line in listed.splitlines() if not line.endswith(":")}
    prefixes = "netdevns_", "nd_", "asan", "odr_asan"
    assert {name for name in symbols if not name.lstrip("_").startswith(prefixes)} == set()
    assert {"netdevns_batch_move", "nd_dev_move"} <= symbols


@pytest.mark.thorough
def test_readme_says_how_to_build(tmp_path: Path) -> None:
    """The commands in csrc/README.md, in a copy of the folder: what is built is the example."""
    copy = shutil.copytree(CSRC, tmp_path / "csrc")
    commands = re.findall(r"^\$ (.*)$", (copy / "README.md").read_text(), re.MULTILINE)
    assert [command.split()[0] for command in commands] == ["cc", "./example", "mkdir", "musl-gcc"]
    builds = [commands[:1]] + [commands[2:]] * (shutil.which("musl-gcc") is not None)
    for build in builds:
        line = " && ".join(build)
        done = subprocess.run(line, shell=True, cwd=copy, capture_output=True, text=True, timeout=200, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        command = commands[1].replace("/run/netns/blue", "/nowhere")
        done = subprocess.run(command, shell=True, cwd=copy, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stderr) == (2, "example: /nowhere: No such file or directory\n")


@pytest.mark.thorough
@pytest.mark.parametrize(("compiler", "cpp"), [("gcc", "g++"), pytest.param("clang", "clang++", marks=THOROUGH)])
@pytest.mark.parametrize("language", [pytest.param("c", marks=THOROUGH), "cpp"])  # C: tests/embed/test_documents.py
def test_two_lines_of_makefile_build(tmp_path: Path, compiler: str, cpp: str, language: str) -> None:
    """Those of csrc/README.md, alone, with a copy of what it says to vendor; a C++ program, too."""
    for tool in ("make", compiler, *([cpp] if language == "cpp" else [])):
        if shutil.which(tool) is None:
            require("compilers", f"there is no {tool}")
    found = re.findall(r"^```make\n(.*?)^```$", (CSRC / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    assert [len(lines.splitlines()) for lines in found] == [2]
    vendored = tmp_path / "vendor" / "netdevns"
    vendored.mkdir(parents=True)
    for path in (*CORE, *CSRC.glob("*.h")):
        shutil.copy(path, vendored)
    (tmp_path / "Makefile").write_text(found[0])
    if language == "c":
        shutil.copy(CSRC / "example.c", tmp_path / "runtime.c")
    else:
        shutil.copy(HERE / "embed.cpp", tmp_path / "runtime.cpp")
    settings = [f"CC={compiler}", f"CXX={cpp}", *(["LDLIBS=-lstdc++"] if language == "cpp" else [])]
    done = subprocess.run(
        ["make", "-s", *settings], cwd=tmp_path, capture_output=True, text=True, timeout=250, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    done = subprocess.run([tmp_path / "runtime"], capture_output=True, text=True, timeout=60, check=False)
    if language == "c":
        assert (done.returncode, done.stderr) == (2, "runtime: usage: NETNS-PATH DEV[=NAME]...\n")
    else:
        assert (done.returncode, done.stdout, done.stderr) == (0, "lo 1 1\n", "")


# The interfaces, with their versions: a change of one is a change of the other (README.md). A new field of struct
# netdevns_error is a line in csrc/error.c, too.
INTERFACES = {
    "netdevns.h": ("NETDEVNS_VERSION", 200, "f1c3c71b428eae7a"),
    "netdevns-core.h": ("ND_VERSION", 300, "c028dd90d5326c23"),
}


@pytest.mark.parametrize("name", INTERFACES)
def test_version_follows_the_interface(name: str) -> None:
    """The version was thought of when a declaration changed: comments and white space do not count."""
    header = (CSRC / name).read_text()
    word, expected, interface = INTERFACES[name]
    version = re.search(rf"^#define {word} (\d+)$", header, re.MULTILINE)
    declared = " ".join(re.sub(r"/\*.*?\*/", "", header.replace(version[0], ""), flags=re.DOTALL).split())
    assert (int(version[1]), hashlib.sha256(declared.encode()).hexdigest()[:16]) == (expected, interface)


def test_example_is_short() -> None:
    """csrc/example.c has at most 80 lines, and includes nothing of ours but netdevns.h."""
    text = (CSRC / "example.c").read_text()
    assert len(text.splitlines()) <= 80
    assert re.findall(r'#include "(.*)"', text) == ["netdevns.h"]

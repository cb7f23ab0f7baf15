"""Draws what `netdevns demo` prints, run for real, as docs/demo.svg.

What differs from run to run has a word in its place: BUNDLE for the demo's temporary folder, PID for its process.
"""

from __future__ import annotations

import argparse
import difflib
import io
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

PICTURE = Path(__file__).resolve().parents[1] / "docs/demo.svg"
TITLE = "netdevns demo"
ID = "netdevns-demo"  # of the classes in the picture; rich would make up another for each run
SVG = "{http://www.w3.org/2000/svg}"
WIDTH = 100  # columns
TRIES = 5
# The demo says so when its batch was over before the name could be taken; then it tries again, and prints more.
TOO_QUICK = "the batch was quicker"
# On a busy machine a batch takes over a second, and its progress is shown.
PROGRESS = r"(?m)^netdevns: (\d+|undoing: \d+) of \d+ devices .*\n"
STYLES = {
    r"^\$ .*": "bold #5fd7d7",
    r"^netdevns: .*": "#ff8787",
    r"^  the .*": "bold",
    r".*: yes$": "bold #5fd787",
    r".*: NO$": "bold #ff8787",
}


def demo() -> str:
    """The demo's output without progress, errors in their place.

    Raises:
        SystemExit: The demo failed.
    """
    for _ in range(TRIES):
        argv = [sys.executable, "-m", "netdevns", "demo"]
        done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{done.stdout}tools/picture: the demo failed with exit code {done.returncode}")
        if TOO_QUICK not in done.stdout:
            break
    said = re.sub(r"/tmp/\w+", "BUNDLE", re.sub(PROGRESS, "", done.stdout))
    return re.sub(r"pid:\d+|--pid \d+", lambda m: re.sub(r"\d+", "PID", m[0]), said)


def draw(text: str) -> str:
    """The picture of a text: a dark terminal of its own, so that the page behind it may be light or dark."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    for line in text.strip("\n").splitlines():
        styled = Text(line.rstrip())
        for pattern, style in STYLES.items():
            styled.highlight_regex(pattern, style)
        console.print(styled)
    # Without the fonts that rich's template would have the reader's browser fetch from elsewhere.
    template = re.sub(r"@font-face \{\{.*?\}\}\s*", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    return console.export_svg(title=TITLE, code_format=template, unique_id=ID)


def lines(svg: str) -> list[str]:
    """The text of a picture, without its place and style: what two versions of rich draw alike."""
    rows: dict[float, str] = {}
    terminal = ElementTree.fromstring(svg).find(f".//{SVG}g[@class='{ID}-matrix']")
    for element in terminal.iter(f"{SVG}text") if terminal is not None else ():
        at = float(element.get("y", 0))
        rows[at] = rows.get(at, "") + "".join(element.itertext())
    return [rows[at].replace("\N{NO-BREAK SPACE}", " ").rstrip() for at in sorted(rows)]


def main() -> int:
    parser = argparse.ArgumentParser(prog="tools/picture", description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="draw nothing; exit code 1 if the picture shows other lines"
    )
    args = parser.parse_args()
    new = draw(demo())
    if args.check:
        old = PICTURE.read_text(encoding="utf-8")
        changes = list(difflib.unified_diff(lines(old), lines(new), "docs/demo.svg", "netdevns demo", lineterm="", n=0))
        if changes:
            print(*changes, "docs/demo.svg is stale: run tools/picture", sep="\n")
        return bool(changes)
    PICTURE.parent.mkdir(exist_ok=True)
    PICTURE.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

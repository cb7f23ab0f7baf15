"""README.md and docs/embedding.md: their snippets, run."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support import readme
from tests.support.namespaces import Namespace

pytestmark = pytest.mark.here

TOP = Path(__file__).parents[2]
DEVICES = [
    "link add eth1 type veth peer name wire1",
    "link add mv0 type veth peer name wire2",
    *(f"link set {name} up" for name in ("wire1", "wire2", "eth1", "mv0")),
    "address add 192.0.2.10/24 dev eth1",
    "address add 2001:db8::10/64 nodad dev eth1",
    "address add 198.51.100.7/31 dev mv0",
]
# What the C snippet needs around it: a descriptor of the target, and one of a directory.
MAIN = r"""
#include <fcntl.h>

static int start(void) { return 0; }

int main(int argc, char **argv)
{
	return give_and_start(open(argv[argc - 2], O_RDONLY), open(argv[argc - 1], O_RDONLY), start) != 0;
}
"""


def addresses(namespace: Namespace, device: str) -> list[str]:
    (shown,) = namespace.ip_json(f"address show dev {device}")
    return [a["local"] for a in shown["addr_info"]]


def test_python_moves_what_it_says(host: Namespace, target: Namespace, capsys: pytest.CaptureFixture[str]) -> None:
    """README's Python, with another target, moves the device and prints its new name and addresses."""
    host.batch(DEVICES)
    (text,) = readme.snippets("python")
    assert '"pid:4711"' in text
    exec(text.replace('"pid:4711"', repr(target.path)), {})
    assert capsys.readouterr().out == "net0 ['192.0.2.10', '2001:db8::10']\n"
    assert target.names() == {"net0"}


@pytest.mark.thorough
def test_c_moves_what_it_says(host: Namespace, target: Namespace, tmp_path: Path) -> None:
    """The C of docs/embedding.md, beside the C files alone, moves both devices with their addresses."""
    host.batch(DEVICES)
    (text,) = readme.snippets("c", readme.DOCS / "embedding.md")
    (tmp_path / "snippet.c").write_text(text + MAIN, encoding="utf-8")
    sources = [path for path in (TOP / "csrc").glob("*.c") if path.name != "example.c"]  # which has a main, too
    options = ["-std=c11", "-Wall", "-Wextra", "-Werror", f"-I{TOP / 'csrc'}"]
    subprocess.run(["gcc", *options, "-o", tmp_path / "program", tmp_path / "snippet.c", *sources], check=True)
    records = tmp_path / "records"
    records.mkdir(mode=0o700)
    done = subprocess.run(
        [tmp_path / "program", target.path, records],
        pass_fds=[target.fd],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert addresses(target, "net0") == ["192.0.2.10", "2001:db8::10"]
    assert addresses(target, "eth0") == ["198.51.100.7"]
    assert host.names() == {"wire1", "wire2"}

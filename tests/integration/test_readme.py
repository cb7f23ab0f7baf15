"""README.md: its snippets, run."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest

from netdevns.cli.main import main
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
# What a C program needs around the snippet: a descriptor of the target.
MAIN = r"""
#include <fcntl.h>
#include <stdio.h>

int main(int argc, char **argv)
{
	struct netdevns_error err;
	int r = give(open(argv[argc - 1], O_RDONLY), &err);

	fprintf(stderr, "%d %s\n", r, err.text);
	return r != 0;
}
"""


def addresses(namespace: Namespace, device: str) -> list[str]:
    (shown,) = namespace.ip_json(f"address show dev {device}")
    return [a["local"] for a in shown["addr_info"]]


def test_python_moves_what_it_says(host: Namespace, target: Namespace, capsys: pytest.CaptureFixture[str]) -> None:
    """The Python snippet, with another target, moves both devices and prints their new names and addresses."""
    host.batch(DEVICES)
    (text,) = readme.snippets("python")
    assert '"pid:4711"' in text
    exec(text.replace('"pid:4711"', repr(target.path)), {})
    assert capsys.readouterr().out.splitlines() == [
        "eth1 -> net0 ['192.0.2.10', '2001:db8::10']",
        "mv0 -> eth0 ['198.51.100.7']",
    ]
    assert target.names() == {"net0", "eth0"}


def test_commands_do_what_they_say(host: Namespace, target: Namespace) -> None:
    """`check` and `move`, as the console shows them, with another target: first nothing moves, then both devices."""
    host.batch(DEVICES)
    lines = [line for text in readme.snippets("console") for line in text.splitlines()]
    found = {words[2]: words[2:] for line in lines if (words := shlex.split(line, comments=False))[1] == "netdevns"}
    for verb, expected in ("check", set()), ("move", {"net0", "eth0"}):
        words = found[verb][: found[verb].index("pid:4711")]
        assert main([*words, target.path]) == 0
        assert target.names() == expected


def test_c_moves_what_it_says(host: Namespace, target: Namespace, tmp_path: Path) -> None:
    """The C snippet compiles without a warning, beside the C files alone, and moves the device with its addresses."""
    host.batch(DEVICES)
    (text,) = readme.snippets("c")
    (tmp_path / "snippet.c").write_text(text + MAIN, encoding="utf-8")
    sources = [path for path in (TOP / "csrc").glob("*.c") if path.name != "example.c"]  # which has a main, too
    options = ["-std=c11", "-Wall", "-Wextra", "-Werror", f"-I{TOP / 'csrc'}"]
    subprocess.run(["gcc", *options, "-o", tmp_path / "program", tmp_path / "snippet.c", *sources], check=True)
    done = subprocess.run(
        [tmp_path / "program", target.path], pass_fds=[target.fd], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert addresses(target, "net0") == ["192.0.2.10", "2001:db8::10"]
    assert addresses(target, "eth0") == ["198.51.100.7"]
    assert host.names() == {"wire1", "wire2"}

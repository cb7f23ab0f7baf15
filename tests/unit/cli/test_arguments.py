"""Arguments that cannot be valid: what is wrong with them, in a line that can be read."""

from __future__ import annotations

import sys

import pytest

import netdevns
from netdevns.cli import advice
from netdevns.cli.main import main
from netdevns.conformance import command as conformance

LONG = "x" * 5000
SHORTENED = f"{LONG[:64]}… (5000 characters)"


def refusal(netns: str) -> str:
    with pytest.raises(netdevns.NetDevError) as raised:
        netdevns.NetNS.open(advice.argument(netns))
    return raised.value.text


@pytest.mark.parametrize("number", ["", "-1", "x", "1x", "٣"])
def test_no_number_of_a_descriptor(number: str) -> None:
    """As for `pid:`, it is not taken for the name of a file below /run/netns that is missing."""
    assert refusal(f"fd:{number}") == f'fd:{number}: "{number}" is no descriptor\'s number'


@pytest.mark.parametrize(
    "netns", [LONG, f"/{LONG}", f"pid:{LONG}", f"fd:{LONG}", f"fd:{'1' * 5000}", f"pid:{'1' * 5000}"]
)
def test_long_name_of_a_namespace(netns: str) -> None:
    """It is shortened, and stands there once."""
    shown = f"{netns[:64]}… ({len(netns)} characters)"
    assert refusal(netns) == f"{shown}: cannot open the network namespace: File name too long"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["move", "eth1", "--to", "blue", "--preserve", LONG], f'--preserve: unknown kind "{SHORTENED}"; known are'),
        (["recover", LONG], f"error: unrecognized arguments: {SHORTENED}\n"),
        (["conformance", "diff", f"/{LONG}", "x"], f"/{LONG[:63]}… (5001 characters): File name too long\n"),
    ],
    ids=["a kind", "a word too many", "a file"],
)
def test_long_argument(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Shortened, too."""
    assert main(words) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [["prepare", "all", "--preserve", "routes", "eth1"], ["move", "eth0", "--to", "blue", "eth1"],
     ["cdi", "vendor.com/nic", "--python", "eth1"], ["show", "eth0", "--json", "eth1"]],
    ids=" ".join,
)  # fmt: skip
def test_devices_behind_an_option(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """argparse calls them unrecognized, and does not say where it takes them; a newer Python takes them here."""
    code, said = main(words), capsys.readouterr().err
    if sys.version_info < (3, 12):
        assert (code, "unrecognized" in said) == (2, True)
    if "unrecognized" in said:
        assert said.endswith("error: unrecognized arguments: eth1; write all devices before the options\n")


@pytest.mark.parametrize("words", [["move", "eth0", "--to", "blue", "--frm"], ["features", "eth1"]], ids=" ".join)
def test_words_that_are_no_devices(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """An unknown option, or a word for a command without devices, would be wrong before the options, too."""
    assert main(words) == 2
    assert capsys.readouterr().err.endswith(f"error: unrecognized arguments: {words[-1]}\n")


@pytest.mark.parametrize(
    ("words", "name"),
    [(["doctor", ""], "BUNDLE"), (["apply", "--config", ""], "--config"), (["check", "--bundle", ""], "--bundle"),
     (["units", "--dir", ""], "--dir"), (["cdi", "vendor.com/nic", "eth1", "--dir", ""], "--dir")],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)  # fmt: skip
def test_empty_path(words: list[str], name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It is neither the current folder nor the default one."""
    assert main(words) == 2
    assert capsys.readouterr().err.endswith(f"error: argument {name}: the path is empty\n")


def test_file_of_a_comparison_that_is_missing() -> None:
    """Its path stands there once."""
    with pytest.raises(conformance.Refused) as raised:
        conformance.diff(["/no/such/file", "x"])
    assert str(raised.value) == "/no/such/file: No such file or directory"

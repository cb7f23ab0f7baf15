"""`apply`: a bad config.json is refused, a good one obeyed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from netdevns.cli.main import main
from tests.support.namespaces import Namespace
from tests.support.restored import Untouched

from .refusals import furnished


@pytest.fixture
def sides(host: Namespace, target: Namespace) -> tuple[Namespace, Namespace]:
    return furnished(host, target)


NETWORK = {"namespaces": [{"type": "pid"}, {"type": "network", "path": "TARGET"}]}


def config(devices: object, **linux: object) -> str:
    return json.dumps({"ociVersion": "1.3.0", "linux": NETWORK | {"netDevices": devices} | linux})


CONFIGS: dict[str, tuple[str, str]] = {
    "empty file": ("", "not valid JSON"),
    "truncated": (config({"eth1": {}})[:-9], "not valid JSON"),
    "no JSON": ("{'eth1': }", "not valid JSON"),
    "no text": ("\udcff\udcfe", "not valid JSON"),
    "deep": ("[" * 100_000, "not valid JSON"),
    "array": ("[]", "an array"),
    "null": ("null", "null"),
    "number": ("23", "23"),
    "string": ('"x"', "a string"),
    "linux is a list": ('{"linux": []}', "linux"),
    "linux is null": ('{"linux": null}', "linux"),
    "netDevices is a list": (config(["eth1"]), "linux.netDevices"),
    "netDevices is null": (config(None), "linux.netDevices"),
    "device is a string": (config({"eth1": "net0"}), "linux.netDevices.eth1"),
    "device is null": (config({"eth1": None}), "linux.netDevices.eth1"),
    "name is a number": (config({"eth1": {"name": 23}}), "linux.netDevices.eth1.name"),
    "name is null": (config({"eth1": {"name": None}}), "linux.netDevices.eth1.name"),
    "name is true": (config({"eth1": {"name": True}}), "linux.netDevices.eth1.name"),
    "device twice": (config({"eth1": {}}).replace('"eth1": {}', '"eth1": {}, "eth1": {"name": "b"}'), "twice"),
    "no network namespace": (config({"eth1": {}}, namespaces=[{"type": "pid"}]), "no network namespace"),
    "no namespaces": (config({"eth1": {}}, namespaces=[]), "no network namespace"),
    "namespaces is an object": (config({"eth1": {}}, namespaces={}), "linux.namespaces"),
    "path is a number": (config({"eth1": {}}, namespaces=[{"type": "network", "path": 3}]), "path"),
    "relative path": (config({"eth1": {}}, namespaces=[{"type": "network", "path": "ns/net"}]), "absolute"),
    "no path": (config({"eth1": {}}, namespaces=[{"type": "network"}]), "--pid"),
    "own namespace": (
        config({"eth1": {}}, namespaces=[{"type": "network", "path": "/proc/thread-self/ns/net"}]),
        "to be moved out of",
    ),
    "no namespace there": (config({"eth1": {}}, namespaces=[{"type": "network", "path": "/nonexistent"}]), "/nonex"),
    "unknown device": (config({"eth1": {}, "nope": {}}), "nope"),
    "bad name": (config({"eth1": {"name": "a/b"}}), "a/b"),
    "lone surrogate": (config({"eth1": {"name": "a\ud800/"}}), "has a lone surrogate, so it is not text"),
}


@pytest.fixture
def write(tmp_path: Path, target: Namespace) -> Iterator[Callable[[str], str]]:
    def to_file(text: str) -> str:
        file = tmp_path / "config.json"
        file.write_bytes(text.replace("TARGET", target.path).encode("utf-8", "surrogateescape"))
        return str(file)

    return to_file


@pytest.mark.sampled(2)
@pytest.mark.parametrize("case", CONFIGS.values(), ids=CONFIGS)
def test_bad_configuration(
    sides: tuple[Namespace, Namespace],
    write: Callable[[str], str],
    case: tuple[str, str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """S1, S2: a configuration that is not what the schema says exits with 2, one line names the place in it."""
    host, target = sides
    text, says = case
    path = write(text)
    with Untouched(host, target):
        assert main(["apply", "--config", path]) == 2
        out, err = capsys.readouterr()
        assert main(["apply", "--config", path, "--json"]) == 2
    line, last = [line for line in err.splitlines() if not line.startswith("netdevns: next: ")]
    assert says in line
    assert last == "netdevns: nothing was touched"
    assert out == ""
    shown = json.loads(capsys.readouterr().out)
    assert shown["moved"] == []
    assert shown["error"]["rolled_back"] is True


def test_configuration_that_cannot_be_read(
    sides: tuple[Namespace, Namespace], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """DESIGN 4.2: a bundle without a config.json is an invalid configuration."""
    with Untouched(*sides):
        assert main(["apply", "--bundle", str(tmp_path), "--pid", "1"]) == 2
        assert main(["apply", "--config", str(tmp_path), "--pid", "1"]) == 2
    assert "No such file" in capsys.readouterr().err


@pytest.mark.parametrize(
    "extra",
    [
        {"unknown": 1},
        {"annotations": {"x": "y"}},
        {"linux": {"unknown": [1]}},
        {"linux": {"netDevices": {"eth2": {"unknown": {"name": 23}, "name": "net0"}}}},
        {"linux": {"namespaces": [{"type": "network", "path": "TARGET", "x": 1}, {"type": "moon"}, 23]}},
    ],
    ids=["top", "annotations", "linux", "device", "namespace"],
)
def test_unknown_keys_are_ignored(
    sides: tuple[Namespace, Namespace], write: Callable[[str], str], extra: dict[str, Any]
) -> None:
    """S2: an implementation must not fail on keys that it does not know, anywhere."""
    _, target = sides
    full = json.loads(config({"eth2": {"name": "net0"}}))
    full = {**full, **extra, "linux": {**full["linux"], **extra.get("linux", {})}}
    assert main(["apply", "--config", write(json.dumps(full))]) == 0
    assert "net0" in target.names()


def test_apply_moves_what_the_configuration_asks_for(
    sides: tuple[Namespace, Namespace], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """S1 to S7: `apply --bundle` moves all devices of config.json, also one that carries a default route."""
    host, target = sides
    host.batch(["route add default via 10.0.0.9"])
    text = config({"eth1": {"name": "net0"}, "eth2": {"name": "mv%d"}, "eth3": {"name": ""}})
    (tmp_path / "config.json").write_text(text.replace("TARGET", "/nonexistent/netns"))
    assert main(["apply", "--bundle", str(tmp_path), "--netns", target.path, "--json"]) == 0
    moved = json.loads(capsys.readouterr().out)["moved"]
    assert [m["name"] for m in moved] == ["net0", "mv0", "eth3"]
    assert target.names() == {"taken", "net0", "mv0", "eth3"}
    assert [a.address for a in target.addresses("net0")] == ["10.0.0.1", "2001:db8::1"]


def test_apply_without_devices(
    sides: tuple[Namespace, Namespace], write: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    """S1: netDevices is optional: nothing to do is no failure."""
    with Untouched(*sides):
        path = write('{"linux": {"namespaces": [{"type": "network"}]}}')
        assert main(["apply", "--config", path, "--netns", sides[1].path]) == 0
    assert "nothing to do" in capsys.readouterr().out

"""`netdevns cdi`: the file is valid by the specification's schema, and invalid requests are refused."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from netdevns.cli.main import main
from netdevns.oci import cdi
from netdevns.oci.hook_line import Refused
from tests.support import cdi_schema

KIND = "vendor.com/nic"


def hooks(edits: dict[str, list[dict[str, object]]]) -> list[tuple[object, object]]:
    """(stage, arguments behind `hook`) of each hook of a file's edits."""
    return [(h["hookName"], h["args"][h["args"].index("hook") + 1 :]) for h in edits["hooks"]]


def test_a_device_has_a_hook_with_its_names() -> None:
    """Each device's hook moves this device alone; one poststop serves all, and templates stay templates."""
    made = cdi.document(KIND, {"eth1": "net0", "mv0": "eth%d", "eth2": None})
    cdi_schema.validate(made)
    assert (made["cdiVersion"], made["kind"]) == ("0.3.0", KIND)
    assert {device["name"]: hooks(device["containerEdits"]) for device in made["devices"]} == {
        "eth1": [("createRuntime", ["createRuntime", "eth1=net0"])],
        "mv0": [("createRuntime", ["createRuntime", "mv0=eth%d"])],
        "eth2": [("createRuntime", ["createRuntime", "eth2=eth2"])],
    }
    assert hooks(made["containerEdits"]) == [("poststop", ["poststop"])]


def test_native_has_no_hook() -> None:
    """CDI 1.1.0: the runtime moves the device; both names are always there, as the specification demands."""
    made = cdi.document(KIND, {"eth1": "net0", "9p": None}, "1.1.0")
    cdi_schema.validate(made)
    assert made["devices"] == [
        {"name": "eth1", "containerEdits": {"netDevices": [{"hostInterfaceName": "eth1", "name": "net0"}]}},
        {"name": "9p", "containerEdits": {"netDevices": [{"hostInterfaceName": "9p", "name": "9p"}]}},
    ]
    assert "hook" not in json.dumps(made)


@pytest.mark.sampled(3)
@pytest.mark.parametrize("version", ["0.3.0", "0.4.0", "0.5.0", "1.1.0"])
def test_each_version_has_only_its_keys(version: str) -> None:
    """A file has only keys of its version."""
    made = cdi.document(KIND, {"eth1": "net0"}, version)
    assert made["cdiVersion"] == version
    cdi_schema.validate(made)


def test_a_digit_first_needs_a_newer_version() -> None:
    """The lowest version that allows the name is chosen; a requested lower one is refused."""
    assert cdi.document(KIND, {"0eth": None})["cdiVersion"] == "0.5.0"
    with pytest.raises(Refused, match=r"^0eth: .*0\.5\.0, not 0\.4\.0$"):
        cdi.document(KIND, {"0eth": None}, "0.4.0")


@pytest.mark.sampled(3)
@pytest.mark.parametrize("kind", ["a.b-c.example/nic", "vendor/n2", "V9.com/a_b-c", f"{'a' * 63}.com/{'n' * 63}"])
def test_kinds_that_cdi_allows(kind: str) -> None:
    """The specification's schema allows it, too."""
    cdi_schema.validate(cdi.document(kind, {"eth1": None}))


@pytest.mark.parametrize(
    "kind",
    ["", "nic", "/nic", "vendor.com/", "vendor.com/n", "vendor.com/nic/x", "9vendor.com/nic", "vendor..com/nic",
     "-v.com/nic", "v-.com/nic", "vendor.com/-nic", "vendor.com/nic-", "vendor.com/1nic", "vendor.com/n.c",
     "vendor com/nic", "vendor.com/nic=eth1", "vendor.com/nic\n", "\nvendor.com/nic", "vendör.com/nic",
     f"{'a' * 64}.com/nic", f"vendor.com/{'n' * 64}", ".".join(["abcdefgh"] * 30) + "/nic", "../../nic"],
)  # fmt: skip
def test_kinds_that_cdi_does_not_allow(kind: str) -> None:
    """The error states the rule; a kind cannot lead the file name into another folder."""
    with pytest.raises(Refused, match="a kind is VENDOR/CLASS"):
        cdi.file_name(kind)


@pytest.mark.parametrize(
    ("device", "name", "said"),
    [
        ("-x", None, "-x: CDI does not allow this name"),
        ("x_", None, "x_: CDI does not allow this name"),
        ("eth1\N{LATIN SMALL LETTER U WITH DIAERESIS}", None, "CDI does not allow this name"),
        ("eth1\udcff", None, r"eth1\xff: CDI does not allow this name"),
        ("eth%d", None, "eth%d: CDI does not allow this name"),
        ("e" * 16, None, "no device can have this name: it has 16 bytes"),
        ("all", None, "the kernel keeps it"),
        ("eth1", "net:0", 'eth1: the name "net:0" is not possible: it contains ":"'),
        ("eth1", "eth%d%d", 'eth1: the name "eth%d%d" is not possible: a template may contain only one "%"'),
        ("eth1", "n" * 16, "it has 16 bytes"),
        ("eth1", "net\udcff", r'eth1: the name "net\xff" is not UTF-8, which JSON requires'),
    ],
)
@pytest.mark.parametrize("version", [None, "1.1.0"])
def test_names_that_are_refused(device: str, name: str | None, said: str, version: str | None) -> None:
    """Names that the kernel, CDI or JSON does not allow are refused before anything is written."""
    with pytest.raises(Refused) as e:
        cdi.document(KIND, {device: name}, version)
    assert said in str(e.value)


def test_name_that_is_not_ascii() -> None:
    """The name in the container may be any that the kernel and JSON allow."""
    made = cdi.document(KIND, {"eth1": "nät"})
    assert hooks(made["devices"][0]["containerEdits"]) == [("createRuntime", ["createRuntime", "eth1=nät"])]


@pytest.mark.parametrize("version", ["0.2.0", "0.6.0", "1.0.0", "", "x\n"])
def test_unknown_version(version: str) -> None:
    """Accepted are the old versions, with hooks, and the one with netDevices, without hooks."""
    with pytest.raises(Refused, match=r"use one of 0\.3\.0, 0\.4\.0, 0\.5\.0, 1\.1\.0$"):
        cdi.document(KIND, {"eth1": None}, version)


@pytest.mark.thorough
def test_the_command_prints_the_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The installed file is the printed one; a second --install replaces it, and --uninstall removes it."""
    assert main(["cdi", KIND, "eth1=net0", "eth2"]) == 0
    printed = capsys.readouterr().out
    cdi_schema.validate(json.loads(printed))
    for devices in ["eth9"], ["eth1=net0", "eth2"]:
        assert main(["cdi", KIND, *devices, "--install", "--dir", str(tmp_path)]) == 0
    file = tmp_path / "vendor.com-nic.json"
    assert capsys.readouterr().out == f"wrote {file}\n" * 2
    assert file.read_text() == printed
    assert list(tmp_path.iterdir()) == [file]
    assert main(["cdi", KIND, "--uninstall", "--dir", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"removed {file}\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.sampled(2)
@pytest.mark.parametrize("version", ["0.3.0", "1.1.0"])
def test_its_own_files_are_known(version: str, tmp_path: Path) -> None:
    """A file of either form can be replaced by the other, and removed."""
    for each in version, "0.5.0", version:
        assert main(["cdi", KIND, "eth1", "--cdi-version", each, "--install", "--dir", str(tmp_path)]) == 0
    assert main(["cdi", KIND, "--uninstall", "--dir", str(tmp_path)]) == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([KIND], "no device is given; write DEV or DEV=NAME"),
        ([KIND, "--install"], "no device is given; write DEV or DEV=NAME"),
        ([KIND, "=net0"], '"=net0": no device is given'),
        ([KIND, "eth1", "eth1=x"], "eth1: this device is given twice"),
        ([KIND, "--", "-x=net0"], "-x: CDI does not allow this name"),
        (["vendor.com", "eth1"], "a kind is VENDOR/CLASS"),
        (["vendor.com", "--uninstall"], "a kind is VENDOR/CLASS"),
    ],
)
def test_command_refuses(arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, one line with the reason, one that says that nothing was touched, and nothing is written."""
    assert main(["cdi", "--dir", str(tmp_path), *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    first, last = err.splitlines()
    assert said in first
    assert last == "netdevns: nothing was touched"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    "change",
    [
        {"annotations": {"a": "b"}},
        {"kind": "vendor.com/n.c"},
        {"devices": []},
        {"devices": [{"name": "0eth", "containerEdits": {"hooks": []}}]},
        {"devices": [{"name": "eth1", "containerEdits": {"netDevices": []}}]},
        {"devices": [{"name": "eth1", "containerEdits": {"hooks": [{"hookName": "createRuntime", "path": "sh"}]}}]},
    ],
)
def test_the_schema_refuses(change: dict[str, object]) -> None:
    """Checks the schema check itself: keys later than 0.3.0, and keys of no version, are invalid."""
    made = cdi.document(KIND, {"eth1": "net0"})
    cdi_schema.validate(made)
    with pytest.raises(jsonschema.ValidationError):
        cdi_schema.validate(made | change)

"""Parsing of config.json and a hook's state: by the letter of the schema, and errors name the place."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import pytest

from netdevns import oci
from netdevns.errors import ConfigInvalid


def config(text: str) -> Mapping[str, object]:
    return oci.parse(text.encode(), "config.json")


def devices(net_devices: str) -> dict[str, str]:
    """The devices of a configuration with this text as its linux.netDevices."""
    return oci.net_devices(config('{"linux": {"netDevices": ' + net_devices + "}}"))


# ---- linux.netDevices -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["{}", '{"linux": {}}', '{"linux": {"netDevices": {}}}'])
def test_net_devices_are_optional(text: str) -> None:
    """S1: a configuration without `linux`, or without netDevices in it, asks for no device."""
    assert oci.net_devices(config(text)) == {}


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("{}", "eth1"),
        ('{"name": ""}', "eth1"),
        ('{"name": "net0"}', "net0"),
        ('{"name": "eth%d"}', "eth%d"),
        ('{"name": "eth1"}', "eth1"),
    ],
    ids=["absent", "empty", "name", "template", "same"],
)
def test_name(value: str, name: str) -> None:
    """S2: `name` is optional; absent or empty, it is the host name."""
    assert devices('{"eth1": ' + value + "}") == {"eth1": name}


def test_order_is_that_of_the_configuration() -> None:
    """S1: the devices come in the order in which they are written."""
    assert list(devices('{"z": {}, "a": {}, "m": {}}')) == ["z", "a", "m"]


@pytest.mark.parametrize(
    "text",
    [
        '{"linux": {"netDevices": {"eth1": {"speed": 1, "addresses": null}}}}',
        '{"linux": {"netDevices": {"eth1": {}}, "unknown": [], "x": {}, "x": {}}}',
        '{"linux": {"netDevices": {"eth1": {}}}, "netDevices": 5, "windows": "yes"}',
    ],
    ids=["of-a-device", "of-linux", "of-the-top"],
)
def test_unknown_keys_are_ignored(text: str) -> None:
    """S2: unknown keys are ignored anywhere, with any value, also if they are duplicate."""
    assert oci.net_devices(config(text)) == {"eth1": "eth1"}


@pytest.mark.parametrize("name", ["a/b", "", "x" * 99, "%s", "no\nline"])
def test_names_are_not_checked(name: str) -> None:
    """S3: the parser passes all names on; `check` judges them together."""
    assert devices(json.dumps({name: {}})) == {name: name}


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('{"linux": 5}', "linux: an object is needed, not 5"),
        ('{"linux": null}', "linux: an object is needed, not null"),
        ('{"linux": []}', "linux: an object is needed, not an array"),
        ('{"linux": "x"}', "linux: an object is needed, not a string"),
        ('{"linux": {"netDevices": []}}', "linux.netDevices: an object is needed, not an array"),
        ('{"linux": {"netDevices": null}}', "linux.netDevices: an object is needed, not null"),
        ('{"linux": {"netDevices": true}}', "linux.netDevices: an object is needed, not true"),
    ],
)
def test_wrong_types_around_the_devices(text: str, place: str) -> None:
    """S1: an object of the schema must be an object; the error names the place and the value's type."""
    with pytest.raises(ConfigInvalid) as caught:
        oci.net_devices(config(text))
    assert str(caught.value) == place


@pytest.mark.parametrize(
    ("value", "shown"),
    [("null", "null"), ("5", "5"), ("1.5", "1.5"), ("false", "false"), ('"net0"', "a string"), ("[]", "an array")],
)
def test_device_that_is_not_an_object(value: str, shown: str) -> None:
    """S1: a device's value must be an object, and the error shows how one looks."""
    with pytest.raises(ConfigInvalid) as caught:
        devices('{"eth1": ' + value + "}")
    assert str(caught.value) == f'linux.netDevices.eth1: an object such as {{"name": "net0"}} is needed, not {shown}'


@pytest.mark.parametrize(
    ("value", "shown"),
    [("23", "23"), ("null", "null"), ("true", "true"), ("0", "0"), ("[]", "an array"), ("{}", "an object")],
)
def test_name_that_is_not_a_string(value: str, shown: str) -> None:
    """S2: a name that is not a string is refused; the schema's bad example is a number."""
    with pytest.raises(ConfigInvalid) as caught:
        devices('{"eth0": {}, "eth1": {"name": ' + value + "}}")
    assert str(caught.value) == f"linux.netDevices.eth1.name: a string is needed, not {shown}"


def test_device_listed_twice() -> None:
    """S1: a device listed twice is refused: JSON parsers drop one of two equal keys without notice."""
    with pytest.raises(ConfigInvalid, match=r"^linux\.netDevices\.eth1: this device is listed twice$"):
        devices('{"eth1": {"name": "a"}, "eth2": {}, "eth1": {"name": "b"}}')


@pytest.mark.parametrize(
    ("key", "shown"),
    [("a\\nb", "a\\nb"), ("a\\u0000", "a\\x00"), ("\\ud800", "\\ud800"), ("\\u001b[2J", "\\x1b[2J"), ("é", "é")],
    ids=["newline", "nul", "surrogate", "escape", "letter"],
)
def test_error_is_one_printable_line(key: str, shown: str) -> None:
    """DESIGN 4.2: an error is one printable line, safe to log, whatever a key contains."""
    for text in ('{"KEY": 5}', '{"KEY": {}, "KEY": {}}'):
        with pytest.raises(ConfigInvalid) as caught:
            devices(text.replace("KEY", key))
        assert str(caught.value).startswith(f"linux.netDevices.{shown}: ")
        assert str(caught.value).isprintable()


# ---- the network namespace ------------------------------------------------------------------------------------------


def namespaces(*entries: object) -> dict[str, object]:
    return {"linux": {"namespaces": list(entries)}}


@pytest.mark.parametrize(
    ("entries", "path"),
    [
        ([{"type": "network"}], None),
        ([{"type": "network", "path": ""}], None),
        ([{"type": "network", "path": "/run/netns/blue"}], "/run/netns/blue"),
        ([{"type": "pid", "path": "/proc/1/ns/pid"}, {"type": "network"}], None),
        ([{"type": "mount"}, {"type": "network", "path": "/n", "x": 1}], "/n"),
        ([5, {"type": 7}, {"type": "network", "path": "/n"}], "/n"),
    ],
    ids=["new", "empty-path", "path", "another-kind's-path", "unknown-key", "strange-entries"],
)
def test_network_namespace(entries: list[object], path: str | None) -> None:
    """S1: the container's namespace is a new one, or the one at the path of the entry of type "network"."""
    assert oci.network_namespace(namespaces(*entries)) == path


@pytest.mark.parametrize(
    "text", ["{}", '{"linux": {}}', '{"linux": {"namespaces": []}}', '{"linux": {"namespaces": [{"type": "pid"}]}}']
)
def test_without_a_network_namespace(text: str) -> None:
    """S1: refused if the container would use the host's network namespace: there is no target."""
    with pytest.raises(ConfigInvalid, match="no network namespace: the container would use the host's own"):
        oci.network_namespace(config(text))


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('{"linux": null}', "linux: an object is needed, not null"),
        ('{"linux": {"namespaces": {}}}', "linux.namespaces: an array is needed, not an object"),
        ('{"linux": {"namespaces": null}}', "linux.namespaces: an array is needed, not null"),
        (
            '{"linux": {"namespaces": [{"type": "network", "path": 5}]}}',
            "linux.namespaces: the network namespace's path must be a string, not 5",
        ),
        (
            '{"linux": {"namespaces": [{"type": "network", "path": "blue\\n"}]}}',
            'linux.namespaces: the path "blue\\n" must be absolute',
        ),
    ],
)
def test_wrong_types_in_namespaces(text: str, place: str) -> None:
    """S1: a namespace that the schema does not allow is refused, and the error names the place."""
    with pytest.raises(ConfigInvalid) as caught:
        oci.network_namespace(config(text))
    assert str(caught.value) == place


# ---- JSON -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [b"", b" ", b"{", b'{"a": 1', b'{"a": 1}}', b"{'a': 1}", b'{"a": "\n"}', b'{"\xff": 1}', b"[" * 100_000],
    ids=["empty", "blank", "open", "truncated", "more", "quotes", "control", "no-utf-8", "deep"],
)
def test_parse_refuses_invalid_json(data: bytes) -> None:
    """S2: the error for invalid JSON is one line that begins with the file's name."""
    with pytest.raises(ConfigInvalid, match=r"^/b/config\.json: not valid JSON: .") as caught:
        oci.parse(data, "/b/config.json")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("data", "shown"),
    [(b"null", "null"), (b"[]", "an array"), (b'"{}"', "a string"), (b"1e3", "1000.0"), (b"true", "true")],
)
def test_parse_refuses_other_types_than_objects(data: bytes, shown: str) -> None:
    """S2: a configuration is a JSON object."""
    with pytest.raises(ConfigInvalid, match=f"^c: a JSON object is needed, not {shown}$"):
        oci.parse(data, "c")


def test_load_reads_a_file(tmp_path: Path) -> None:
    """S2: a config.json is UTF-8."""
    (tmp_path / "config.json").write_bytes('{"linux": {"netDevices": {"é": {}}}}'.encode())
    assert oci.net_devices(oci.load(str(tmp_path / "config.json"))) == {"é": "é"}


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("absent", "absent: cannot be read: No such file or directory"),
        ("", "cannot be read: Is a directory"),
        ("a\nb", r"a\\nb: cannot be read: No such file or directory"),
        ("a\0b", r"a\\x00b: cannot be read: no file can have that name"),
        ("\ud800", r"\\ud800: cannot be read: no file can have that name"),
        ("x" * 300, "x: cannot be read: File name too long"),
    ],
    ids=["absent", "folder", "newline", "nul", "surrogate", "long"],
)
def test_load_gives_the_reason(tmp_path: Path, name: str, reason: str) -> None:
    """S2: the error for an unreadable file is one printable line with its name and the system's error text."""
    with pytest.raises(ConfigInvalid, match=f"{reason}$") as caught:
        oci.load(f"{tmp_path}/{name}")
    assert str(caught.value).isprintable()


# ---- a hook's state -------------------------------------------------------------------------------------------------

STATE = {"ociVersion": "1.0.2", "id": "c1", "status": "creating", "pid": 4711, "bundle": "/b"}


def test_state() -> None:
    """S14: the state has the container's id, process and bundle; its other members are ignored."""
    state = oci.State(json.dumps(STATE | {"root": 5, "owner": None, "annotations": {"a": "b"}}).encode())
    assert (state.id, state.pid, state.bundle) == ("c1", 4711, "/b")


def test_state_without_a_process() -> None:
    """S15: runc's state of a deleted container has no pid, which is valid."""
    without = {name: value for name, value in STATE.items() if name != "pid"}
    assert oci.State(json.dumps(without).encode()).pid == 0


@pytest.mark.parametrize(
    ("member", "values", "needed"),
    [
        ("id", [None, "", 7, [], {}], "a string"),
        ("bundle", [None, "", 7, "b", "./b", ["/b"]], "an absolute path"),
        ("pid", [None, -1, 1.0, "1", True, [1], float("inf"), float("nan")], "a positive number"),
    ],
)
def test_state_with_wrong_types(member: str, values: list[object], needed: str) -> None:
    """S14: the error names a required member with a wrong type."""
    for value in values:
        with pytest.raises(ConfigInvalid, match=f"^state on stdin: {member}: {needed} is needed$"):
            oci.State(json.dumps(STATE | {member: value}).encode())


# ---- features -------------------------------------------------------------------------------------------------------

# All properties that the schema of 1.3 has: "MUST NOT contain properties that are not defined" (features.md).
FEATURES = {"ociVersionMin", "ociVersionMax", "hooks", "mountOptions", "linux", "annotations",
            "potentiallyUnsafeConfigAnnotations"}  # fmt: skip


def version(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(".")))


def test_features() -> None:
    """S13: both versions are present, min is not above max; netDevices is enabled, which came with 1.3.0."""
    features = oci.features()
    assert set(features) <= FEATURES
    low, high = version(features["ociVersionMin"]), version(features["ociVersionMax"])
    assert low <= (1, 3, 0) <= high
    assert features["linux"] == {"netDevices": {"enabled": True}}
    assert json.loads(json.dumps(features)) == features


@pytest.mark.parametrize("which", ["ociVersionMin", "ociVersionMax"])
def test_claimed_versions_are_accepted(which: str) -> None:
    """S13: both must be accepted as a configuration's ociVersion."""
    config = {"ociVersion": oci.features()[which], "linux": {"netDevices": {"eth1": {}}}}
    assert oci.net_devices(oci.parse(json.dumps(config).encode(), "config")) == {"eth1": "eth1"}


def test_claimed_hooks_are_served() -> None:
    """S13: the listed hooks are the stages that the hook command accepts."""
    from netdevns.cli import usage

    (commands,) = (a for a in usage.parser(defaultdict(lambda: None))._actions if a.choices)
    (stage,) = (a for a in commands.choices["hook"]._actions if a.dest == "stage")
    assert oci.features()["hooks"] == stage.choices

"""oci.net_devices and State against JSON schemas, written down here from the runtime-spec's own words.

Documents are made as text, with keys that may occur twice: of those the last one counts, as in every JSON parser, but a
device that is listed twice is refused. Beyond the schemas: texts that are no JSON are refused, and nothing but
ConfigInvalid is ever raised.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

from hypothesis import event, example, given
from hypothesis import strategies as st
from jsonschema import Draft4Validator

from netdevns import oci
from netdevns.errors import ConfigInvalid
from netdevns.oci import annotations
from netdevns.oci.config_json import network_entry
from tests.property.profiles import examples

# Draft 4 is what the runtime-spec's schema is written in: there, 1.0 is not an integer.
CONFIG = Draft4Validator(
    {
        "type": "object",
        "properties": {
            "linux": {
                "type": "object",
                "properties": {
                    "netDevices": {
                        "type": "object",  # S1: keys are names of devices in the host's namespace
                        "additionalProperties": {
                            "type": "object",  # S1: values are objects
                            "properties": {"name": {"type": "string"}},  # S2: optional
                        },
                    }
                },
            }
        },
    }
)
# runtime.md "State" asks for more; a hook does not depend on what it does not use, and not every state has a pid.
STATE = Draft4Validator(
    {
        "type": "object",
        "required": ["id", "bundle"],
        "properties": {
            "id": {"type": "string", "minLength": 1},
            "bundle": {"type": "string", "pattern": "^/"},
            "pid": {"type": "integer", "minimum": 0, "maximum": 0x7FFFFFFF},  # pid_t
        },
    }
)
# The network namespace: what the schema asks of an entry, as far as it is about a network namespace.
NAMESPACES = Draft4Validator(
    {
        "type": "object",
        "properties": {
            "linux": {"type": "object", "properties": {"namespaces": {"type": "array"}}},
        },
    }
)


class Object(tuple):
    """A JSON object as (key, value) pairs: keys may occur twice."""

    __slots__ = ()


TEXT = st.one_of(
    st.sampled_from(["", "eth1", "net0", "eth%d", "a/b", "\ud800", "\0", "é", "x" * 40]), st.text(max_size=8)
)
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.sampled_from([0, 1.0, 23, -1]), TEXT
)
KEYS = st.one_of(st.sampled_from(["linux", "netDevices", "name", "path", "type", "eth1"]), TEXT)


def objects(keys, values, max_size: int = 4) -> st.SearchStrategy[Object]:
    return st.lists(st.tuples(keys, values), max_size=max_size).map(Object)


ANYTHING = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | objects(KEYS, inner, 3), max_leaves=8)


def mostly(good) -> st.SearchStrategy[object]:
    """What should be there, or now and then anything else."""
    return st.integers(0, 7).flatmap(lambda n: ANYTHING if n == 7 else good)


def with_others(members) -> st.SearchStrategy[Object]:
    """The members in any order, with unknown keys between them; now and then one more of the same."""
    others = st.tuples(TEXT.map(lambda key: "x-" + key), ANYTHING)
    return st.tuples(members, st.lists(others, max_size=2)).flatmap(
        lambda t: st.permutations([*t[0], *t[1]]).map(Object)
    )


DEVICE = with_others(st.lists(st.tuples(st.just("name"), TEXT | TEXT | TEXT | SCALARS), max_size=1))
DEVICES = objects(st.one_of(st.sampled_from(["eth1", "eth2"]), TEXT), mostly(DEVICE))
LINUX = with_others(st.lists(st.tuples(st.just("netDevices"), mostly(DEVICES)), min_size=1, max_size=2))
CONFIGS = mostly(with_others(st.lists(st.tuples(st.just("linux"), mostly(LINUX)), min_size=1, max_size=2)))


def text(value: object) -> str:
    """JSON with each pair of an object, and spaces in odd places."""
    if isinstance(value, Object):
        return "{ " + ",".join(f"{json.dumps(key)} : {text(inner)}" for key, inner in value) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(text, value)) + " ]"
    return json.dumps(value)


def plain(value: object) -> object:
    """The same as Python's own objects: of equal keys the last one counts, at the place of the first one."""
    if isinstance(value, Object):
        return {key: plain(inner) for key, inner in value}
    return [plain(inner) for inner in value] if isinstance(value, list) else value


def last(value: object, key: str) -> object:
    """A member of an object that may have it several times; an empty object where there is none."""
    found = [inner for name, inner in value if name == key] if isinstance(value, Object) else []
    return found[-1] if found else Object()


def outcome(read: Callable[[Mapping[str, object]], object], data: bytes) -> tuple[object, str]:
    """What reading a document gives, and an empty text; or None and the text of the refusal, one printable line."""
    try:
        return read(oci.parse(data, "config.json")), ""
    except ConfigInvalid as e:
        text_ = str(e)
    assert text_
    assert text_.isprintable()
    return None, text_


def encodable(name: str) -> bool:
    """Whether it has no lone surrogate."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


@examples(40, 375)
@given(CONFIGS)
@example(Object([("linux", Object([("netDevices", Object([("eth1", Object()), ("eth1", Object())]))]))]))
@example(Object([("linux", Object([("netDevices", Object([("eth1", None), ("eth1", Object())]))]))]))
@example(Object([("linux", Object([("netDevices", Object([("eth1", Object([("name", 23)]))]))]))]))
@example(Object([("linux", Object([("netDevices", Object([("\ud800", Object())]))]))]))
@example(Object([("linux", Object([("netDevices", Object([("eth1", Object([("name", "\ud800")]))]))]))]))
def test_net_devices(config):
    """Accepted exactly where the schema is satisfied, no device is listed twice, and names are text: no lone surrogate.

    The result is the obvious one.
    """
    valid = CONFIG.is_valid(plain(config))
    devices = last(last(config, "linux"), "netDevices")
    names = [name for name, _ in devices] if valid else []
    result, refusal = outcome(oci.net_devices, text(config).encode())
    twice = len(set(names)) < len(names)
    given = {name: plain(device).get("name") or name for name, device in devices} if valid and not twice else {}
    is_text = all(map(encodable, [*given, *given.values()]))
    event("a device twice" if twice else f"valid, {min(len(names), 1)} devices" if valid else "invalid")
    assert (not refusal) == (valid and not twice and is_text)
    if not refusal:
        assert result == given
        assert list(result) == names
    else:
        assert any(why in refusal for why in ("is needed, not", "is listed twice", "has a lone surrogate"))


def annotated(document: Mapping[str, object]) -> dict[str, str]:
    """What annotations may ask for where every name is admitted."""
    return annotations.devices(document, "config.json", ["e*", "*[!x]", "*"])


@examples(40, 375)
@given(
    with_others(
        st.tuples(
            st.tuples(st.just("annotations"), mostly(objects(TEXT.map(lambda name: annotations.PREFIX + name), TEXT)))
        )
    )
)
@example(Object([("annotations", Object([(annotations.PREFIX + "\ud800", "x")]))]))
@example(Object([("annotations", Object([(annotations.PREFIX + "x", "\ud800")]))]))
@example(Object([("annotations", Object([(annotations.PREFIX + "x", "a"), (annotations.PREFIX + "x", "b")]))]))
def test_annotations(document):
    """Each admitted one is a device and its name, or all are refused in one printable line."""
    found, refusal = outcome(annotated, text(document).encode())
    pairs = last(document, "annotations")
    event("refused" if refusal else "accepted")
    if not refusal:
        expected = {
            key.removeprefix(annotations.PREFIX): name for key, name in pairs if key.startswith(annotations.PREFIX)
        }
        assert found == {device: name or device for device, name in expected.items()}
        assert all(map(encodable, [*found, *found.values()]))


@examples(40, 375)
@given(st.one_of(st.binary(max_size=60), CONFIGS.map(text).map(str.encode)), st.integers(0, 300), st.binary(max_size=3))
@example(b"[" * 100_000, 0, b"")
@example(b'{"linux": {"netDevices": {"a": ' * 3000, 0, b"")
@example(b'{"a": ' + b"9" * 5000 + b"}", 0, b"")
def test_nothing_but_config_invalid(data, at, damage):
    """Any bytes give a result or ConfigInvalid with one printable line."""
    data = data[:at] + damage + data[at + len(damage) :]
    for read in (oci.net_devices, oci.network_namespace, network_entry, annotated):
        outcome(read, data)
    outcome(lambda _: oci.State(data), b"{}")


ENTRY = with_others(
    st.tuples(
        st.tuples(st.just("type"), mostly(st.sampled_from(["network", "pid"]))),
        st.tuples(st.just("path"), mostly(st.sampled_from(["", "/n", "n", "/run/netns/blue"]))),
    ).flatmap(lambda pairs: st.integers(0, 2).map(lambda n: pairs[:n]))
)


NAMESPACED = with_others(
    st.lists(st.tuples(st.just("namespaces"), mostly(st.lists(ENTRY, max_size=3))), min_size=1, max_size=1)
)


@examples(30, 300)
@given(mostly(with_others(st.lists(st.tuples(st.just("linux"), mostly(NAMESPACED)), min_size=1, max_size=1))))
def test_network_namespace(config):
    """The path of the first entry of type "network", None for a new one; anything else is refused."""
    as_plain = plain(config)
    entries = as_plain.get("linux", {}).get("namespaces", []) if NAMESPACES.is_valid(as_plain) else []
    network = [entry for entry in entries if isinstance(entry, dict) and entry.get("type") == "network"]
    path = network[0].get("path", "") if network else None
    found, refusal = outcome(oci.network_namespace, text(config).encode())
    event("refused" if refusal else "joined" if found else "new")
    valid = bool(network) and isinstance(path, str) and path[:1] in ("", "/") and encodable(path)
    assert (not refusal) == valid
    if valid:
        assert found == (path or None)


ID = st.sampled_from(["c1", "c1", "c1", "\n", "\ud800", ""])
BUNDLE = st.sampled_from(["/b", "/b", "/b", "/a\nb", "/", "/\ud800", "", "b", "./b"])
PID = st.one_of(st.integers(0, 2**70), st.sampled_from([-1, 1.0, True, float("nan"), float("inf"), "1"]))
STATES = mostly(
    st.tuples(mostly(ID), mostly(BUNDLE), mostly(PID), st.integers(0, 9)).flatmap(
        lambda t: with_others(
            # Now and then one of the three is absent.
            st.just([pair for n, pair in enumerate(zip(("id", "bundle", "pid"), t[:3], strict=True)) if n + 7 != t[3]])
        )
    )
)


@examples(40, 375)
@given(STATES)
def test_state(document):
    """A hook's stdin is accepted exactly where the schema is satisfied, and then says what the document says."""
    as_plain = plain(document)
    valid = STATE.is_valid(as_plain) and all(encodable(as_plain[key]) for key in ("id", "bundle"))
    event("valid" if valid else "invalid")
    data = text(document).encode()
    state, refusal = outcome(lambda _: oci.State(data), b"{}")
    assert (not refusal) == valid
    if valid:
        assert (state.id, state.bundle, state.pid) == (as_plain["id"], as_plain["bundle"], as_plain.get("pid", 0))

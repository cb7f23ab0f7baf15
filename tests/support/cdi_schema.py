"""What a reader of CDI files asks for, as a JSON schema: written from the text of the specification (SPEC.md 1.1.0).

"Kind", "Devices", "OCI Edits", and "Released versions", which says what each version brought. Unknown keys are refused.
"""

from __future__ import annotations

import jsonschema

# A version as a number to compare.
_VERSIONS = ["0.3.0", "0.4.0", "0.5.0", "0.6.0", "0.7.0", "0.8.0", "1.0.0", "1.1.0"]


def _closed(required: list[str], **properties: object) -> dict[str, object]:
    return {"type": "object", "required": required, "properties": properties, "additionalProperties": False}


def schema(version: str) -> dict[str, object]:
    """The schema of a version's files, with the edits that concern hooks and network devices."""
    since = _VERSIONS.index(version)

    def has(other: str) -> bool:
        return since >= _VERSIONS.index(other)

    strings = {"type": "array", "items": {"type": "string"}}
    hook = _closed(
        ["hookName", "path"],
        hookName={"enum": ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"]},
        path={"type": "string", "pattern": "^/"},
        args=strings,
        env={"type": "array", "items": {"type": "string", "pattern": "^[^=]+="}},
        timeout={"type": "integer", "minimum": 1},
    )
    edits: dict[str, object] = {"hooks": {"type": "array", "items": hook}}
    if has("1.1.0"):
        some = {"type": "string", "minLength": 1}
        net_device = _closed(["hostInterfaceName", "name"], hostInterfaceName=some, name=some)
        edits["netDevices"] = {"type": "array", "items": net_device}
    more: dict[str, object] = {}
    if has("0.6.0"):
        more["annotations"] = {"type": "object", "additionalProperties": {"type": "string"}}
    first = "[A-Za-z0-9]" if has("0.5.0") else "[A-Za-z]"
    dot = "." if has("0.6.0") else ""
    device = _closed(
        ["name", "containerEdits"],
        name={"type": "string", "pattern": rf"^{first}([A-Za-z0-9_.:-]*[A-Za-z0-9])?$"},
        containerEdits=_closed([], **edits) | {"minProperties": 1},
        **more,
    )
    vendor = r"(?=.{1,253}/)[A-Za-z][A-Za-z0-9-]*(\.[A-Za-z0-9][A-Za-z0-9-]*)*"
    return _closed(
        ["cdiVersion", "kind", "devices"],
        cdiVersion={"const": version},
        kind={"type": "string", "pattern": rf"^{vendor}/[A-Za-z][A-Za-z0-9_{dot}-]{{0,61}}[A-Za-z0-9]$"},
        devices={"type": "array", "items": device, "minItems": 1},
        containerEdits=_closed([], **edits),
        **more,
    )


def validate(document: object) -> None:
    """Raises jsonschema's ValidationError for a file that a reader of its version refuses."""
    assert isinstance(document, dict)
    jsonschema.validate(document, schema(document["cdiVersion"]))

"""The OCI hook of --strict: refuses a container whose pod lacks its devices, also while the plugin is not connected.

A runtime starts pods without a plugin that is dead. The hook moves nothing: it compares the pod's annotations with its
loan. A pod's sandbox itself passes, and so does each container without annotations of devices, for which little is
loaded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..errors import ConfigInvalid
from ..oci import config_json
from ..oci.annotations import PREFIX
from ..system import inputs
from ..text.outcome import FAILED, REFUSED, UNTOUCHED, Usage
from ..text.output import complain, internal
from ..text.quote import quoted
from .report import report

# Of containerd's CRI and of CRI-O: whether it is a sandbox or a container, the sandbox, and the pod.
_KIND = ("io.kubernetes.cri.container-type", "io.kubernetes.cri-o.ContainerType")
SANDBOX = ("io.kubernetes.cri.sandbox-id", "io.kubernetes.cri-o.SandboxID")
_NAMESPACE = ("io.kubernetes.cri.sandbox-namespace", "io.kubernetes.pod.namespace")
_NAME = ("io.kubernetes.cri.sandbox-name", "io.kubernetes.pod.name")


def program(args: Sequence[str]) -> int:
    """The hook with the arguments behind `nri --hook`; returns its exit code."""
    allowed, todo = [], list(args)
    while todo:
        word = todo.pop(0)
        if word != "--allow" or not todo:
            inputs.stdin("state on stdin")
            return complain([f"nri --hook: {quoted(word)}: write --allow [NAMESPACE/]GLOB", UNTOUCHED], REFUSED)
        allowed.append(todo.pop(0))
    return run(allowed)


def run(allowed: Sequence[str]) -> int:
    """Reads the state of a container from stdin; returns an exit code other than 0 if it must not start.

    Args:
        allowed: As for the plugin: globs of devices that a pod may ask for.
    """
    label = ""
    try:
        state = config_json.State(inputs.stdin("state on stdin"))
        found = pod_of(state)
        if found is None:
            return 0
        label = f"{found['namespace']}/{found['name']}"
        lines, code = _missing(found, _asked(state), allowed), FAILED
    except (ConfigInvalid, Usage) as e:
        lines, code = [str(e), UNTOUCHED], REFUSED
    except ImportError as e:
        lines, code = [str(e)], FAILED
    except Exception as e:
        lines, code = [internal(e)], FAILED
    report(label, lines)
    return code if lines else 0


def pod_of(state: config_json.State) -> dict[str, str] | None:
    """The sandbox ("id"), "name" and "namespace" of a container's pod.

    None: it is a sandbox itself, or of no pod, or its pod asks for no device.
    """
    annotations = _annotations(state)

    def first(keys: Sequence[str]) -> str:
        return next((value for key in keys if isinstance(value := annotations.get(key), str)), "")

    if not first(SANDBOX) or first(_KIND) == "sandbox" or not _asked(state):
        return None
    return {"id": first(SANDBOX), "name": first(_NAME), "namespace": first(_NAMESPACE)}


def _annotations(state: config_json.State) -> Mapping[str, object]:
    given = state.document.get("annotations")
    return given if config_json.is_object(given) else {}


def _asked(state: config_json.State) -> dict[str, object]:
    return {key: value for key, value in _annotations(state).items() if key.startswith(PREFIX)}


def _missing(found: Mapping[str, str], asked: Mapping[str, object], allowed: Sequence[str]) -> list[str]:
    """A line for the devices that a pod asks for, may have, and does not have. Raises ConfigInvalid, ImportError."""
    from .messages import Pod
    from .rules import Rules

    devices = Rules.parse(allowed, []).devices(Pod(found["id"], found["name"], found["namespace"], asked))
    if not devices:
        return []
    from ..recovery import loans

    lent = set()
    for loan in loans.listed(devices=devices):
        sandbox, _ = loans.pod_of(loan.container) or ("", "")
        lent |= {loan.device} if sandbox == found["id"] else set()
    names = ", ".join(quoted(each) for each in devices if each not in lent)
    words = "not in the pod: `netdevns nri` was not connected to the runtime, or could not move them; see hook.log"
    return [f"{names}: {words}"] if names else []

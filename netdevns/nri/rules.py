"""The devices that pods may ask for: --allow and --force of `netdevns nri`, each [NAMESPACE/]GLOB."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from ..errors import ConfigInvalid
from ..oci.annotations import PREFIX, as_argument, is_admitted
from ..oci.annotations import devices as annotated
from ..text.outcome import Usage
from ..text.quote import quoted
from .messages import Pod


@dataclass(frozen=True)
class Rule:
    """Host names, for the pods of some Kubernetes namespaces; both are globs."""

    namespace: str
    glob: str

    @classmethod
    def parse(cls, text: str, option: str) -> Rule:
        """[NAMESPACE/]GLOB; no device's name has a slash. Raises Usage."""
        namespace, slash, glob = text.rpartition("/")
        if not glob or (slash and not namespace):
            raise Usage(f'nri: {option} "{quoted(text)}": write GLOB or NAMESPACE/GLOB, for host names of devices')
        if "/" in namespace or any(map(str.isspace, namespace)):
            why = "no Kubernetes namespace has a blank or a slash in its name"
            raise Usage(f'nri: {option} "{quoted(text)}": {why}')
        return cls(namespace if slash else "*", glob)


@dataclass(frozen=True)
class Rules:
    """What the operator grants.

    Attributes:
        allow: The devices that annotations may ask for.
        force: Those of them that may carry a default route.
    """

    allow: tuple[Rule, ...]
    force: tuple[Rule, ...] = ()

    @classmethod
    def parse(cls, allow: Sequence[str], force: Sequence[str]) -> Rules:
        """Raises Usage."""
        return cls(
            tuple(Rule.parse(each, "--allow") for each in allow), tuple(Rule.parse(each, "--force") for each in force)
        )

    def devices(self, pod: Pod) -> dict[str, str]:
        """The allowed devices that a pod asks for: host name -> name. Raises ConfigInvalid."""
        return annotated({"annotations": pod.annotations}, _named(pod), _globs(self.allow, pod))

    def concerns(self, pod: Pod, *, is_starting: bool) -> bool:
        """Whether a pod asks for devices; `is_starting`: for one that it may have, or in an invalid way."""
        if not any(key.startswith(PREFIX) for key in pod.annotations):
            return False
        try:
            return not is_starting or bool(self.devices(pod))
        except ConfigInvalid:
            return True

    def ignored(self, pod: Pod) -> list[str]:
        """The host names that a pod asks for and may not have, as the annotations have them."""
        asked = [key.removeprefix(PREFIX) for key in pod.annotations if key.startswith(PREFIX)]
        globs = _globs(self.allow, pod)
        return [each for each in asked if not is_admitted(as_argument(each), globs)]

    def forced(self, pod: Pod, devices: Sequence[str]) -> frozenset[str]:
        """Those of these devices that may carry a default route."""
        globs = _globs(self.force, pod)
        return frozenset(each for each in devices if is_admitted(each, globs))


def _named(pod: Pod) -> str:
    return f"pod {quoted(pod.label)}"


def _globs(rules: Sequence[Rule], pod: Pod) -> list[str]:
    return [rule.glob for rule in rules if fnmatchcase(pod.namespace, rule.namespace)]

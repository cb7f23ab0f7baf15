"""A probe: an id that never changes, a class, a sentence, and a function that measures the kernel."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import ModuleType

    from .world import World

SPEC = "spec"  # the OCI runtime-spec or a promise of netdevns relies on it
ABI = "abi"  # the same on every kernel so far; a change is unexpected
VARIES = "varies"  # differs between kernels: the value is the answer
CLASSES = (SPEC, ABI, VARIES)
ROOT = "root"  # in `needs`: root of the machine, not of a user namespace

Value = None | bool | int | str | Sequence["Value"] | Mapping[str, "Value"]
Run = Callable[..., Value]


class NotAvailable(Exception):
    """The kernel or the machine lacks something that a probe needs; the text says what. It is not a pass."""


@dataclasses.dataclass(frozen=True)
class Probe:
    """One measurement of the kernel.

    Attributes:
        id: subject.thing.case; never changes.
        kind: "spec", "abi" or "varies": the `class` of the document.
        sentence: The fact that the value shows; for a probe that varies, the value's subject.
        source: The clause of the specification, or the kernel's file and function.
        needs: Kinds of devices, and "root".
        alone: Whether it must run without other probes beside it.
    """

    id: str
    kind: str
    sentence: str
    source: str
    needs: tuple[str, ...]
    alone: bool
    function: Run
    arguments: tuple[Any, ...] = ()

    @property
    def subject(self) -> str:
        return self.id.partition(".")[0]

    def run(self, world: World) -> Value:
        return self.function(world, *self.arguments)


def probe(
    id: str,  # noqa: A002  # the document's key
    kind: str,
    sentence: str,
    *,
    source: str,
    needs: Sequence[str] = (),
    alone: bool = False,
    cases: Mapping[str, Sequence[Any]] | None = None,
    kinds: Mapping[str, str] | None = None,
    texts: Mapping[str, str] | None = None,
) -> Callable[[Run], Run]:
    """Makes a function a probe, or one probe for each case.

    Args:
        id: With `cases`: `{}` is the case's name, also in `sentence` and `needs`.
        kind: SPEC, ABI or VARIES.
        sentence: One sentence: the fact that the value shows.
        source: The specification's clause, or the kernel's file and function.
        needs: Kinds of devices that it makes, and ROOT.
        alone: It changes something that all namespaces share, so no other probe may run beside it.
        cases: Name of a case -> the function's arguments after the world.
        kinds: Name of a case -> its class, if not `kind`.
        texts: Name of a case -> the text for `{}` in the sentence, if not the name.
    """

    def made(name: str, arguments: Sequence[Any], function: Run) -> Probe:
        needed = tuple(need.replace("{}", name) for need in needs)
        words = sentence.replace("{}", (texts or {}).get(name, name))
        class_ = (kinds or {}).get(name, kind)
        return Probe(id.replace("{}", name), class_, words, source, needed, alone, function, tuple(arguments))

    def decorate(function: Run) -> Run:
        every = [made(name, arguments, function) for name, arguments in ({"": ()} if cases is None else cases).items()]
        function.__dict__["probes"] = [*every, *function.__dict__.get("probes", ())]
        return function

    return decorate


def of_module(module: ModuleType) -> list[Probe]:
    """The probes of a module, in source order."""
    mine = [value for value in vars(module).values() if getattr(value, "__module__", None) == module.__name__]
    return [each for function in mine for each in getattr(function, "probes", ())]

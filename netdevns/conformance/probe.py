"""What a probe is: an id that never changes, a class, a sentence, and a function that asks the kernel."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import ModuleType

    from .world import World

SPEC = "spec"  # the OCI runtime-spec or a promise of netdevns relies on it
ABI = "abi"  # the same on every kernel so far: a change is news
VARIES = "varies"  # differs between kernels: the value is the answer
CLASSES = (SPEC, ABI, VARIES)
ROOT = "root"  # in `needs`: root of the machine, not of a user namespace

Value = None | bool | int | str | Sequence["Value"] | Mapping[str, "Value"]
Run = Callable[..., Value]


class NotAvailable(Exception):
    """What a probe needs is not there; the text says what. It is no result, least of all a pass."""


@dataclasses.dataclass(frozen=True)
class Probe:
    """One question to the kernel.

    Attributes:
        id: subject.thing.case; never changes.
        kind: "spec", "abi" or "varies": the `class` of the document.
        sentence: What is asked.
        source: The clause of the specification, or the kernel's file and function.
        needs: Kinds of devices, and "root".
        alone: Whether no other probe may run beside it.
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
    id: str,  # noqa: A002  # the word of the document
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
        sentence: One sentence: what is asked.
        source: Where it is written down: the specification's clause, or the kernel's file and function.
        needs: Kinds of devices that it makes, and ROOT.
        alone: No other probe may run beside it, because it changes what all namespaces share.
        cases: Name of the case -> what the function gets besides the world.
        kinds: Name of the case -> its class, where that is not `kind`.
        texts: Name of the case -> what stands for `{}` in the sentence, where that is not the name.
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
    """The probes of a module in the order in which they are written."""
    mine = [value for value in vars(module).values() if getattr(value, "__module__", None) == module.__name__]
    return [each for function in mine for each in getattr(function, "probes", ())]

"""Scenes: a furnished host, namespaces and containers beside it, and the programs that are started in it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from typing import Generic, Protocol, Self, TypeVar

from . import restored
from .attacks import TOP
from .namespaces import Namespace, fresh
from .restored import Shown, State, whole

SHOWN_LINES, SHOWN_CHARS = 12, 400  # of a difference: enough for a failing test


class Scene:
    """A host that tests compare with its first state; a context manager, which ends all that was made in it.

    A folder's own scene says in `_make` what there is, with all numbers given: then two scenes are equal.

    Args:
        environment: Variables of the programs, besides the tests' own.
    """

    def __init__(self, **environment: str) -> None:
        self.environment = environment
        self.sides: dict[str, Namespace] = {}
        with contextlib.ExitStack() as stack:
            self.stack = stack
            self.host = self.namespace("host")
            self._make()
            self.host.wait_until_quiet()
            self.before = self.state()
            self.stack = stack.pop_all()

    def _make(self) -> None:
        """Furnishes the host, and makes what is beside it."""
        raise NotImplementedError

    def close(self) -> None:
        self.stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def namespace(self, name: str) -> Namespace:
        """A fresh one, which is part of the state."""
        self.sides[name] = self.stack.enter_context(fresh(name))
        return self.sides[name]

    def sleeper(self, namespace: Namespace) -> subprocess.Popen[bytes]:
        """A container's process, which sleeps."""
        with namespace.entered():
            process = self.stack.enter_context(subprocess.Popen(["sleep", "3600"]))
        self.stack.callback(process.kill)
        return process

    def start(
        self, argv: Sequence[str], stdin: str = "", under: Sequence[str] = (), **environment: str
    ) -> subprocess.Popen[str]:
        """A program in the host, the leader of a session of its own; `under`: the words before its own."""
        with tempfile.TemporaryFile("w+") as file, self.host.entered():
            file.write(stdin)
            file.seek(0)
            return subprocess.Popen(
                [*under, *argv],
                cwd=TOP,
                env=os.environ | self.environment | environment,
                stdin=file,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )

    def state(self) -> State:
        """All that is in its namespaces, by the raw dump."""
        return {f"{name} {part}": value for name, side in self.sides.items() for part, value in side.dump().items()}

    def differences(self, *wanted: State, shown: Shown = whole, timeout_s: float = 20) -> list[str]:
        """As `restored.differences`; the first lines of them, as tests count many."""
        found = restored.differences(self.state, *wanted, shown=shown, timeout_s=timeout_s)
        return [line[:SHOWN_CHARS] for line in found[:SHOWN_LINES]]


class Closable(Protocol):
    def close(self) -> None: ...


S = TypeVar("S", bound=Closable)


class OnScene(Generic[S]):
    """Attacks, each on a scene that is as before; a context manager, which ends the last scene.

    Args:
        make: Makes a scene.
    """

    def __init__(self, make: Callable[[], S]) -> None:
        self._make = make
        self._scene: S | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.renew()

    @property
    def scene(self) -> S:
        """One that is as before."""
        if self._scene is None:
            self._scene = self._make()
        return self._scene

    def renew(self) -> None:
        """The next scene is a new one."""
        if self._scene is not None:
            self._scene.close()
            self._scene = None

"""Fixtures for tests of the conformance suite: probes made for a test, and the package's own."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from netdevns.conformance import expected, subjects
from netdevns.conformance.probe import ABI, Probe, Value
from netdevns.conformance.world import World
from tests.support.namespaces import Namespace
from tests.support.require import require


@pytest.fixture
def namespaces() -> None:
    """Requires the permission to make namespaces, by trying it."""
    try:
        Namespace.create("scratch").close()
    except OSError as e:
        require("netns", f"no fresh network namespace for this user: {e}")


@pytest.fixture
def made() -> Callable[..., Probe]:
    """Makes a probe from a function."""

    def make(function: Callable[[World], Value], id: str = "test.made", kind: str = ABI, **more: object) -> Probe:  # noqa: A002
        fields = {"needs": (), "alone": False, **more}
        return Probe(id, kind, "A sentence.", "a source", function=function, **fields)  # type: ignore[arg-type]

    return make


@pytest.fixture
def only(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Replaces the package's probes and expectations for the command."""

    def replace(probes: list[Probe], rows: dict[str, list[list[object]]]) -> None:
        from netdevns.conformance import command

        monkeypatch.setattr(command, "every", lambda: probes)
        monkeypatch.setattr(expected, "load", lambda: {"kernels": {"5.10": "5.10.46"}, "absent": {}, "probes": rows})

    return replace


@pytest.fixture(scope="session")
def every() -> list[Probe]:
    return subjects.every()

"""The examples in public docstrings are true: each is run, on a host with two devices and a target called blue."""

from __future__ import annotations

import doctest
import inspect
import pydoc
import types
from collections.abc import Iterator

import pytest

import netdevns
from tests.support.namespaces import Namespace, named

pytestmark = pytest.mark.here


def examples() -> list[doctest.DocTest]:
    """One for each docstring of the package, of a public name, or of a public name's public member."""
    found = {}
    finder = doctest.DocTestFinder(exclude_empty=True)
    for name in ("", *netdevns.__all__):
        value = getattr(netdevns, name) if name else netdevns
        if not isinstance(value, str):
            module = inspect.getmodule(value)
            for test in finder.find(value, f"netdevns.{name}".rstrip("."), module=module, globs={}):
                if test.examples:
                    found[test.name] = test
    return list(found.values())


@pytest.fixture
def blue(host: Namespace, target: Namespace) -> Iterator[None]:
    """eth1 and eth2 on the host, and the target under its name in /run/netns."""
    host.batch(
        """
        link add eth1 type ifb
        link add eth2 type ifb
        link set eth1 up
        addr add 10.0.0.1/24 dev eth1
        addr add 2001:db8::1/64 nodad dev eth1
        """
    )
    with named(target, "blue"):
        yield


@pytest.mark.usefixtures("blue")
@pytest.mark.parametrize("test", [pytest.param(test, id=test.name) for test in examples()])
def test_example(test: doctest.DocTest) -> None:
    """An example shows what happens."""
    said: list[str] = []
    failed, tried = doctest.DocTestRunner().run(test, out=said.append)
    assert tried
    assert not failed, "".join(said)


def test_what_has_an_example() -> None:
    """Each function that a caller begins with has one."""
    have = {test.name for test in examples()}
    assert have >= {f"netdevns{name}" for name in ("", ".move", ".check", ".snapshot", ".NetNS", ".NetNS.open")}


def test_help_is_a_manual_page() -> None:
    """`help(netdevns)` begins with what it is and an example, and shows each public name with its docstring."""
    page = pydoc.plain(pydoc.render_doc(netdevns))
    for heading in ("NAME", "SYNOPSIS", "WHAT ARRIVES", "WHAT FAILS", "ENVIRONMENT", "PRIVILEGES", "SEE ALSO"):
        assert f"{heading}\n" in page
    for name in netdevns.__all__:
        value = getattr(netdevns, name)
        if not isinstance(value, (str, types.ModuleType)):
            assert f"{name}(" in page
            assert inspect.getdoc(value).splitlines()[0] in page

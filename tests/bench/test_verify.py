"""A contestant that skips a part of the work is thrown out, and the reason names the part."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from bench import layout as layouts
from bench import verify
from bench.layout import Layout
from tests.support.namespaces import Namespace

from .playing import Edit, lazy, play, saying


def drop(word: str) -> Edit:
    """Without the first line that has it."""

    def edit(_: list[str], there: list[str]) -> None:
        there.remove(next(line for line in there if word in line))

    return edit


def replace(old: str, new: str) -> Edit:
    def edit(_: list[str], there: list[str]) -> None:
        at = next(i for i, line in enumerate(there) if old in line)
        there[at] = there[at].replace(old, new)

    return edit


def swap(one: str, other: str) -> Edit:
    def edit(_: list[str], there: list[str]) -> None:
        i, j = (next(i for i, line in enumerate(there) if word in line) for word in (one, other))
        there[i], there[j] = there[j], there[i]

    return edit


def half(away: list[str], there: list[str]) -> None:
    away.pop()
    there[:] = [line for line in there if "net1" not in line]


def keep_name(away: list[str], there: list[str]) -> None:
    away[0] = away[0].replace("name net0", "name d0")
    there[:] = [line.replace("net0", "d0") for line in there]


def leave_something(away: list[str], _: list[str]) -> None:
    away.append(f"link add left type {layouts.KIND}")


def bring_something(_: list[str], there: list[str]) -> None:
    there.append(f"link add brought type {layouts.KIND}")


SKIPPED: dict[str, tuple[Edit, str]] = {
    "IPv4 address": (drop("10.2.0.1/24"), "target: net0: 10.2.0.1/24: missing"),
    "IPv6 address": (drop("2001:db8:1::2"), "target: net1: 2001:db8:1::2/64: missing"),
    "all addresses of a device": (
        lambda _, there: there.__setitem__(slice(None), [line for line in there if "addr" not in line]),
        "target: net0: 10.1.0.1/24: missing",
    ),
    "prefix length": (replace("10.1.0.1/24", "10.1.0.1/32"), "is 10.1.0.1/32"),
    "prefix length of IPv6": (replace("2001:db8:1::1/64", "2001:db8:1::1/128"), "is 2001:db8:1::1/128"),
    "broadcast": (replace("brd 10.1.0.255", ""), "broadcast 10.1.0.255: is 10.1.0.1/24, None"),
    "label": (replace("brd 10.1.0.255", "brd 10.1.0.255 label net0:d0"), "10.1.0.1 has the label net0:d0"),
    "peer": (replace("10.1.0.1/24", "10.1.0.1 peer 10.1.0.9/24"), "has the label net0 or a peer"),
    "order of IPv4": (swap("10.1.0.1", "10.2.0.1"), "the order of the inet addresses is another one"),
    "order of IPv6": (swap("2001:db8:1::1", "2001:db8:2::1"), "the order of the inet6 addresses is another one"),
    "up": (drop("link set net1 up"), "target: net1: not up"),
    "name": (keep_name, "target: no net0"),
    "half of the batch": (half, "source: d1 should not be there"),
    "leaves a device": (leave_something, "source: left should not be there"),
    "brings a device": (bring_something, "target: brought should not be there"),
    "lifetime": (replace("nodad", "nodad valid_lft 900 preferred_lft 900"), "is not permanent"),
    "scope": (replace("brd 10.1.0.255", "brd 10.1.0.255 scope link"), "has the scope link"),
    "adds an address": (
        lambda _, there: there.append("addr add 10.9.9.9/32 dev net0"),
        "10.9.9.9/32 should not be there",
    ),
}


@pytest.mark.sampled(2)
@pytest.mark.parametrize("what", SKIPPED)
def test_skipped_work_is_noticed(what: str) -> None:
    """`ip -batch`, which passes, with one thing left out or added."""
    edit, why = SKIPPED[what]
    assert why in play(lazy(edit)).why


def test_whole_work_passes() -> None:
    """The same contestant without an edit."""
    assert play(lazy(lambda *_: None)).why == ""


@pytest.mark.parametrize(
    ("contestant", "why"),
    [
        (saying("ready", '{"wall_s": 0.001, "cpu_s": 0.001}'), "source: d0 should not be there"),
        (saying("ready", "done"), "instead of its times"),
        (saying("ready", '{"wall_s": 1}'), "instead of its times"),
        (saying("hello"), "instead of ready"),
        (saying("ready", code=3), "exit code 3: sorry"),
    ],
    ids=["does nothing", "no JSON", "no cpu_s", "not ready", "fails"],
)
def test_talkers_are_thrown_out(contestant: Any, why: str) -> None:
    """A time without the work is not used."""
    assert why in play(contestant).why


# What ifb devices do not show: they have no DAD.
DOCTORED: dict[str, Callable[[dict[str, Any]], None]] = {
    "tentative": lambda a: a.update(tentative=True),
    "dadfailed": lambda a: a.update(dadfailed=True),
    "deprecated": lambda a: a.update(preferred_life_time=0),
}


@pytest.mark.parametrize("what", DOCTORED)
def test_unusable_addresses_are_noticed(what: str) -> None:
    """What `ip` shows of a device passes; the same with an IPv6 address that is not usable does not."""
    layout = Layout(devices=1, ipv4=1, ipv6=1)
    with Namespace.create("host") as host:
        host.batch(layout.lines())
        shown = host.ip_json("addr show")
    names = {link["ifname"] for link in shown} - {"d0"}
    assert verify.wrong(layout, {"d0": 0}, names, shown, "source") == ""
    doctored = copy.deepcopy(shown)
    d0 = next(link for link in doctored if link["ifname"] == "d0")
    DOCTORED[what](next(a for a in d0["addr_info"] if a["local"] == "2001:db8:1::1"))
    assert "2001:db8:1::1 is not" in verify.wrong(layout, {"d0": 0}, names, doctored, "source")

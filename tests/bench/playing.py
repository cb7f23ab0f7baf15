"""Plays one round of a small scenario."""

from __future__ import annotations

from collections.abc import Callable

from bench.contestants import CONTESTANTS, LAUNCH, Contestant, Setting, ip_lines
from bench.layout import Layout
from bench.round import Place, Result
from bench.scenario import Scenario

SMALL = Scenario("small", Layout(devices=2, ipv4=2, ipv6=2), ())
Edit = Callable[[list[str], list[str]], None]  # of the lines of the one and of the other namespace


def play(contestant: str | Contestant, scenario: Scenario = SMALL) -> Result:
    place = Place(scenario)
    try:
        return place.play(CONTESTANTS[contestant] if isinstance(contestant, str) else contestant)
    finally:
        place.leave_host()


def lazy(edit: Edit) -> Contestant:
    """`ip -batch`, but for what `edit` does to its lines."""

    def commands(setting: Setting) -> list[list[str]]:
        target = setting.targets[0].name
        away, there = ip_lines(setting, target, list(range(setting.scenario.layout.devices)))
        edit(away, there)
        first = ["-i", setting.file("away", "\n".join(away) + "\n"), "ip", "-batch", "-"]
        second = ["-i", setting.file("there", "\n".join(there) + "\n"), "ip", "-n", target, "-batch", "-"]
        return [[LAUNCH, *first, "--then", *second]]

    return Contestant("lazy", commands)


def saying(*lines: str, code: int = 0) -> Contestant:
    """One that only talks."""
    script = "".join(f"echo '{line}'; read line;" for line in lines) + f"echo sorry >&2; exit {code}"
    return Contestant("talker", lambda _: [["sh", "-c", script]])

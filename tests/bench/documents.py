"""Made-up documents of tools/bench: a formula gives a contestant's time; each round has its noise."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench import results

Info = dict[str, Any]
Cost = Callable[[Info], float]  # seconds

NOISE = (1.0, 1.10, 0.95, 1.02, 0.99)  # of a round: the same for all that take part in it

SHAPES: dict[str, Info] = {
    "batch-1": {"devices": 1},
    "batch-10": {"devices": 10},
    "batch-60": {"devices": 60},
    "batch-200": {"devices": 200},
    "batch-60-v4x16": {"devices": 60, "ipv4": 16},
    "callers-2": {"devices": 2, "callers": 2},
    "callers-4": {"devices": 4, "callers": 4},
    "addresses-1000": {"devices": 1, "ipv4": 1000},
    "addresses-10000": {"devices": 1, "ipv4": 10000},
    "target-1000": {"devices": 1, "target_devices": 1000},
    "routes-200000": {"devices": 1, "other_routes": 200_000},
}


def shape(scenario: str) -> Info:
    plain = {"devices": 1, "ipv4": 2, "ipv6": 0, "other_devices": 0, "other_routes": 0, "callers": 1}
    return {"scenario": scenario, **plain, **SHAPES.get(scenario, {})}


def cost(per_device_s: float, per_address_s: float, fixed_s: float = 0.0) -> Cost:
    """Of what takes a time for each device and each address."""

    def seconds(info: Info) -> float:
        return fixed_s + info["devices"] * (per_device_s + per_address_s * (info["ipv4"] + info["ipv6"]))

    return seconds


FLOOR = cost(1e-3, 1e-5)
COSTS: dict[str, Cost] = {
    "floor plain": FLOOR,
    "floor phased": cost(0.9e-3, 1e-5),
    "netdevns C batch": cost(0.7e-3, 1e-5),
    "netdevns native": cost(0.8e-3, 1e-5, 1e-4),
    "netdevns reference": cost(1.2e-3, 2e-5, 2e-4),
    "netdevns native record": cost(0.9e-3, 1e-5, 1e-4),
    "ip -batch": cost(1.5e-3, 2e-5, 5e-3),
    "pyroute2": cost(14e-3, 1e-4, 5e-3),
    "go": cost(3e-3, 4e-5),
}


def rounds(scenario: str, contestant: str, wall_s: float, **more: Any) -> list[Info]:
    """The benchmarks of one contestant in one scenario."""
    found = []
    for k, noise in enumerate(NOISE):
        info = {
            **shape(scenario), "contestant": contestant, "round": k, "wall_s": wall_s * noise,
            "cpu_s": wall_s / 2 * noise, "max_rss_kib": 20_000, "verified": True, "why": "",
            **more,
        }  # fmt: skip
        found.append({"group": scenario, "name": f"{scenario}[{contestant}-{k}]", "extra_info": info})
    return found


def raw(
    benchmarks: Sequence[Info] | None = None, kernel: str = "6.18.44", uml: bool = False, **facts: Any
) -> dict[str, Any]:
    """A document; by default all of COSTS in all of SHAPES."""
    if benchmarks is None:
        benchmarks = [
            each
            for scenario in SHAPES
            for contestant, seconds in COSTS.items()
            for each in rounds(scenario, contestant, seconds(shape(scenario)))
        ]
    machine = {
        "kernel": kernel,
        "uml": uml,
        "cores": 2,
        "hz": 250,
        "versions": {"iproute2": "6.1.0"},
        "netdevns_commit": "abc",
    }
    machine["cpu"] = {"brand_raw": "A CPU", "count": 2}
    return {"machine_info": {"node": "n", **machine, **facts}, "commit_info": {}, "benchmarks": list(benchmarks)}


CRUN = "container-crun-newest"


def container() -> results.Document:
    """With the start of a container, each way slower than the one before."""
    starts = [each for n, start in enumerate(results.STARTS) for each in rounds(CRUN, start, 0.2 + 0.1 * n)]
    return results.parsed(raw([*raw()["benchmarks"], *starts], versions={"crun": "1.28"}), "a")


def changed(document: Mapping[str, Any], contestant: str, factor: float) -> dict[str, Any]:
    """The same, with one contestant slower or faster."""
    copy = json.loads(json.dumps(document))
    for each in copy["benchmarks"]:
        info = each["extra_info"]
        if info["contestant"] == contestant:
            info["wall_s"] *= factor
            info["cpu_s"] *= factor
    return dict(copy)


def written(folder: Path, name: str, document: Mapping[str, Any]) -> Path:
    file = folder / name
    file.write_text(json.dumps(document))
    return file

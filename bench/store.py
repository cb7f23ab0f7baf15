"""Stores the results for docs/performance.md: bench/measured/KERNEL.json, one line for each contestant's rounds.

pytest-benchmark's documents are 40 times as large, and have little more in them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().with_name("measured")
MACHINE = ("kernel", "uml", "cores", "hz", "python", "netdevns_commit", "versions")
SIZES = ("devices", "ipv4", "ipv6", "other_devices", "other_routes", "target_devices", "callers")
TIMES = {"wall_s": 6, "cpu_s": 6, "max_rss_kib": 0}  # digits after the point


def files() -> list[Path]:
    """The results of all kernels."""
    return sorted(FOLDER.glob("*.json"))


def stored(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The used parts of a document of tools/bench."""
    machine = {key: raw["machine_info"][key] for key in MACHINE if key in raw["machine_info"]}
    machine["kernel"] = re.sub(r"[^\d.].*", "", machine["kernel"])  # without a distribution's suffix
    machine["cpu"] = {"brand_raw": raw["machine_info"].get("cpu", {}).get("brand_raw")}
    scenarios: dict[str, dict[str, int]] = {}
    rounds: dict[str, dict[str, list[list[Any]]]] = {}
    for info in (each["extra_info"] for each in raw["benchmarks"]):
        scenarios.setdefault(info["scenario"], {key: info[key] for key in SIZES if key in info})
        of = rounds.setdefault(info["scenario"], {}).setdefault(info["contestant"], [])
        times: list[Any] = [_rounded(info.get(key), digits) for key, digits in TIMES.items()]
        of.append([info["round"], *(times if info["verified"] is True else [str(info["why"])])])
    return {"machine_info": machine, "scenarios": scenarios, "rounds": rounds}


def _rounded(value: float | None, digits: int) -> float | None:
    return value if value is None else round(value, digits) if digits else int(value)


def expanded(document: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of `stored`, for the stored parts."""
    benchmarks = []
    for scenario, contestants in document["rounds"].items():
        for contestant, rounds in contestants.items():
            for number, *times in rounds:
                why = times[0] if len(times) == 1 else ""
                info = {**document["scenarios"][scenario], "scenario": scenario, "contestant": contestant}
                info |= {"round": number, "verified": not why, "why": why}
                info |= {} if why else dict(zip(TIMES, times, strict=True))
                benchmarks.append({"extra_info": info})
    return {"machine_info": document["machine_info"], "benchmarks": benchmarks}


def text(document: Mapping[str, Any]) -> str:
    """Formats results, one line per contestant, for readable diffs."""
    head = [f"{json.dumps(key)}: {json.dumps(document[key])}" for key in ("machine_info", "scenarios")]
    rows = []
    for scenario, contestants in document["rounds"].items():
        lines = [f"  {json.dumps(name)}: {json.dumps(rounds)}" for name, rounds in contestants.items()]
        rows.append(f" {json.dumps(scenario)}: {{\n{_lines(lines)}\n }}")
    return "".join(["{\n", _lines([*head, '"rounds": {\n' + _lines(rows)]), "\n}\n}\n"])


def _lines(parts: Sequence[str]) -> str:
    return ",\n".join(parts)


def write(document: Mapping[str, Any], kernel: str) -> Path:
    """Stores a document of tools/bench."""
    FOLDER.mkdir(exist_ok=True)
    file = FOLDER / f"{kernel}.json"
    file.write_text(text(stored(document)), encoding="utf-8")
    return file

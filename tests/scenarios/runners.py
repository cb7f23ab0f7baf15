"""The three runners: each is asked the same, in a process that stays, and answers in one form."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import re
import struct
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.csrc.compilers import BUILDS, preloaded
from tests.support import rawdump
from tests.support.attacks import TOP
from tests.support.namespaces import Namespace

from .rows import FAILED, OK, REFUSED, Finding, Row
from .world import World

HERE = Path(__file__).resolve().parent
NATIVE, REFERENCE, C = "native", "reference", "c"
LOCATIONS = ("unknown", "source", "target", "gone")
SEVERITIES = ("note", "loss", "error")
ANSWER_S = 60
SENDS, RECEIVES = 0, 1


@dataclass
class Answer:
    """What a runner said.

    Attributes:
        end: OK, REFUSED or FAILED; "crash" where a worker failed itself.
        findings: Of a check, or of a move that was refused.
        states: Of the findings, in C: the bit of enum netdevns_state.
        devices: What moved: device, name, ifindex, host_ifindex, addresses.
        left: By device, what is not as before.
        said: All of it, for a failing test.
    """

    end: str
    errno: int = 0
    step: str = ""
    device: str | None = None
    findings: list[Finding] = field(default_factory=list)
    states: list[int] = field(default_factory=list)
    devices: list[dict[str, Any]] = field(default_factory=list)
    left: dict[str, str] = field(default_factory=dict)
    left_count: int = 0
    said: dict[str, Any] = field(default_factory=dict, repr=False)


class Runner:
    """A process that stays, in a namespace of its own; a context manager that ends it."""

    name = ""

    def __init__(self, argv: list[str], **environment: str) -> None:
        self._start = argv, environment
        self._process = self._started()

    def _started(self) -> subprocess.Popen[str]:
        argv, environment = self._start
        with Namespace.create("home") as home, home.entered():
            return subprocess.Popen(
                argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=TOP, env=os.environ | environment
            )

    def __enter__(self) -> Runner:
        return self

    def __exit__(self, *exc: object) -> None:
        assert self._process.stdin
        assert self._process.stdout
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait(ANSWER_S)
        self._process.stdout.close()

    def _ask(self, text: str) -> None:
        assert self._process.stdin
        self._process.stdin.write(text + "\n")
        self._process.stdin.flush()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            code = self._process.wait(5)
            self.__exit__()
            self._process = self._started()  # for the next row
            raise AssertionError(f"{self.name}: it has ended: {code}")
        found: dict[str, Any] = json.loads(line)
        return found

    # ---- the protocol: what asks does not wait, so that several are asked at once ----

    def ask(self, what: str, row: Row) -> None:
        """ "check", "move" or "undo"."""
        raise NotImplementedError

    def answer(self, row: Row) -> Answer:
        raise NotImplementedError

    def open(self, row: Row, world: World) -> Answer | None:
        """Opens both namespaces; a refusal, if that is one."""
        raise NotImplementedError

    def end(self) -> None:
        raise NotImplementedError

    def fault(self, what: int, first: int, last: int) -> int:
        """The SENDS or RECEIVES from `first` to `last` fail; returns how many there were since the last call."""
        raise NotImplementedError


def _user(row: Row, world: World) -> str:
    return f"/proc/{world.owned[row.enter].pid}/ns/user" if row.enter else ""


class PythonRunner(Runner):
    """netdevns.check and netdevns.move with one engine."""

    def __init__(self, engine: str) -> None:
        self.name = engine
        command = [sys.executable, "-m", "tests.scenarios.worker"]
        super().__init__(command, NETDEVNS_ENGINE=engine, LD_PRELOAD=str(preloaded(HERE / "fault.c")))

    def ask(self, what: str, row: Row) -> None:  # noqa: ARG002
        self._ask(json.dumps({"do": what}))

    def answer(self, row: Row) -> Answer:  # noqa: ARG002
        said = self._answer()
        return Answer(
            said["end"],
            said.get("errno", 0),
            said.get("step", ""),
            said.get("device"),
            [Finding.of(each) for each in said.get("findings", ())],
            devices=said.get("devices", []),
            left={each["device"]: "; ".join(each["missing"]) for each in said.get("left", ())},
            left_count=len(said.get("left", ())),
            said=said,
        )

    def open(self, row: Row, world: World) -> Answer | None:
        asked = {"do": "open", "source": world.path("source"), "target": world.path(row.to), "here": row.is_here}
        asked |= {"drop": row.drop, "user": _user(row, world), "devices": row.devices, "force": row.force}
        self._ask(json.dumps(asked))
        said = self._answer()
        return Answer("crash", said=said) if said else None

    def end(self) -> None:
        self._ask(json.dumps({"do": "end"}))
        said = self._answer()
        assert not said, said["text"]

    def fault(self, what: int, first: int, last: int) -> int:
        self._ask(json.dumps({"do": "fault", "what": what, "first": first, "last": last}))
        return int(self._answer()["calls"])


class CRunner(Runner):
    """csrc/netdevns.h, by driver.c."""

    name = C

    def __init__(self) -> None:
        super().__init__([str(driver())], LD_PRELOAD=str(preloaded(HERE / "fault.c")))
        self.accept: int | None = None  # in the place of the row's own bits

    def ask(self, what: str, row: Row) -> None:
        accept = row.accepted if self.accept is None else self.accept
        self._ask(what if what == "undo" else f"{what} {accept}")

    def answer(self, row: Row) -> Answer:
        return self._formed(self._answer(), row)

    def open(self, row: Row, world: World) -> Answer | None:
        drop = sum(1 << capability for capability in row.drop)
        devices = [f"{_hex(name)}:{_hex(wanted)}" for name, wanted in row.devices]
        paths = [world.path("source"), world.path(row.to)]
        words = ["open", *paths, str(int(row.is_here)), f"{drop:x}", _user(row, world) or "-", *devices]
        self._ask(" ".join(words))
        said = self._formed(self._answer(), row)
        return None if said.end == OK else said

    def end(self) -> None:
        self._ask("end")
        assert self._answer() == {}

    def fault(self, what: int, first: int, last: int) -> int:
        self._ask(f"fault {what} {first} {last}")
        return int(self._answer()["calls"])

    @staticmethod
    def _formed(said: dict[str, Any], row: Row) -> Answer:
        names = [name for name, _ in row.devices]
        findings = []
        for each in said["findings"]:
            device = names[each["device"]] if each["device"] >= 0 else None
            text = {name: _text(each[name]) for name in ("code", "name", "other")}
            fields = {"errno": each["errno"], "ifindex": each["ifindex"], "severity": SEVERITIES[each["severity"]]}
            findings.append(Finding(device=device, **text, **fields))
            each["text"] = _text(each["text"])
        said["text"], step = _text(said["text"]), _text(said["step"])
        for each in said["devices"]:
            each |= {key: _text(each[key]) for key in ("device", "name", "missing")}
            each["location"] = LOCATIONS[each["location"]]
            each["addresses"] = _addresses(bytes.fromhex(each["addresses"]))
        said["step"] = step
        end = OK if said["result"] == 0 else REFUSED if step in ("check", "open", "add") else FAILED
        assert said["result"] == said["code"], "the result is err->code"
        texts = [said["text"]] * bool(said["result"]) + [each["text"] for each in said["findings"]]
        said["bad texts"] = [text for text in texts if not text or re.search(r"[\x00-\x1f\x7f]", text)]
        return Answer(
            end,
            -said["result"],
            step,
            names[said["device"]] if said["device"] >= 0 else None,
            findings,
            [each["state"] for each in said["findings"]],
            said["devices"],
            {each["device"]: each["missing"] for each in said["devices"] if each["missing"]},
            said["left"],
            said,
        )


def _hex(name: str) -> str:
    return os.fsencode(name).hex()


def _text(digits: str) -> str:
    return os.fsdecode(bytes.fromhex(digits))


def _addresses(messages: bytes) -> list[list[Any]]:
    """Address and prefix length of RTM_NEWADDR messages."""
    found: list[list[Any]] = []
    at = 0
    while at < len(messages):
        (length,) = struct.unpack_from("=I", messages, at)
        raw = dict(rawdump.attributes(messages[at + 24 : at + length]))
        found.append([str(ipaddress.ip_address(raw.get(2, raw.get(1)))), messages[at + 17]])
        at += (length + 3) & ~3
    return found


def driver() -> Path:
    """driver.c, linked with the core and the batch."""
    build = BUILDS["gcc"]
    build.check()
    return build.link("scenarios", (HERE / "driver.c",))

"""What signals are sent to: commands and hooks, each ready to run again and again; and what must hold after each."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from typing import Any

from tests.support.attacks import AS_BEFORE, COMPLETE, REPORTED, UNREACHED, Ended, Tally, finish, traced

from .scene import DEVICES, NET_DEVICES, Container, Scene, loans, restore, saved

SILENT = "died silently"
DEATHS = [128 + number for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)]  # a handler's exit
PATIENCE_S = 0.5  # with the kernel's work items
MINE = {"c1": ("eth1", "eth2"), "c2": ("eth3",)}  # which container has which devices, where they are away
Run = Callable[[Scene, str, tuple[str, ...]], subprocess.Popen[str]]


def _move(scene: Scene, _: str, under: tuple[str, ...]) -> subprocess.Popen[str]:
    devices = ("eth1=net0", "eth2", "eth3=eth%d")
    return scene.command("move", *devices, "--to", f"pid:{scene.containers[0].pid}", "--json", under=under)


def _apply(scene: Scene, _: str, under: tuple[str, ...]) -> subprocess.Popen[str]:
    c1 = scene.containers[0]
    return scene.command("apply", "--bundle", str(c1.bundle), "--pid", str(c1.pid), "--json", under=under)


def _create(scene: Scene, hook: str, under: tuple[str, ...]) -> subprocess.Popen[str]:
    return scene.hook(hook, scene.containers[0], under=under)


def _poststop(scene: Scene, hook: str, under: tuple[str, ...]) -> subprocess.Popen[str]:
    return scene.hook(hook, scene.containers[0], "poststop", under=under)


def _return(scene: Scene, _: str, under: tuple[str, ...]) -> subprocess.Popen[str]:
    return scene.command("return", "--json", under=under)


def _recover(scene: Scene, _: str, under: tuple[str, ...]) -> subprocess.Popen[str]:
    return scene.command("recover", "--json", under=under)


FORWARD: dict[str, Run] = {"move": _move, "apply": _apply, "createRuntime": _create}
BACK: dict[str, Run] = {"poststop": _poststop, "return": _return, "recover": _recover}
JOBS = FORWARD | BACK


def moving(lines: list[str]) -> list[int]:
    """The numbers of the sendto calls that move a device, in strace's lines."""
    sends = [line for line in lines if re.match(r"\d+ +sendto\(", line)]
    return [number for number, line in enumerate(sends, 1) if "IFLA_NET_NS_FD" in line]


def moves_of(hook: str, engine: str) -> dict[str, int]:
    """Of each container of MINE, the number of the sendto after the last one that moves a device of its."""
    found = {}
    with Scene(engine) as scene:
        for container in ask_for_mine(scene):
            _, lines = traced(lambda under, c=container: scene.hook(hook, c, under=under))
            found[container.id] = moving(lines)[-1] + 1
    return found


def ask_for_mine(scene: Scene) -> list[Container]:
    """The containers of MINE, each of which asks for its devices."""
    found = [container for container in scene.containers if container.id in MINE]
    for container in found:
        container.ask({device: NET_DEVICES[device] for device in MINE[container.id]})
    return found


def lend(scene: Scene, hook: str, ids: tuple[str, ...] = tuple(MINE)) -> None:
    """A loan of each of these containers; what the kernel threw back is in the host."""
    for container in (each for each in ask_for_mine(scene) if each.id in ids):
        out, err, code = finish(scene.hook(hook, container))
        assert (out, err, code) == ("", "", 0)
        for device in MINE[container.id]:
            container.namespace.ip(f"link set {DEVICES[device]} down")
            container.namespace.give(DEVICES[device], scene.host, ifindex=4700 + int(device[3:]))
    assert loans() == sorted(ids)


def kill(scene: Scene, hook: str, moves: dict[str, int]) -> None:
    """A record of each container, whose hook was killed when its devices were there; `moves`: at which sendto."""
    for container in ask_for_mine(scene):
        inject = f"sendto:signal=KILL:when={moves[container.id]}"
        ended, _ = traced(lambda under, c=container: scene.hook(hook, c, under=under), inject)
        assert ended.code == -signal.SIGKILL
    assert len(saved("txn")) == len(MINE)


class Attacked:
    """One of JOBS with a hook and an engine, and a scene that is as the job wants it."""

    def __init__(self, name: str, hook: str, engine: str) -> None:
        self.name, self.hook, self.engine = name, hook, engine
        self.is_forward = name in FORWARD
        self._scene: Scene | None = None
        self._files: tuple[str, dict[str, bytes]] = ("txn", {})
        self._kills = moves_of(hook, engine) if name == "recover" else {}
        self.scene = self._made()
        self.before = self.scene.settled()
        begun = time.monotonic()
        self._must_end_well(finish(self.start()))
        self.lasts_s = time.monotonic() - begun
        self.complete = self.scene.settled()
        if not self.is_forward:
            assert not self.scene.differences(self.scene.before)
            self.complete = self.scene.before
        self.renew(is_complete=True)
        self.clean, self.lines = traced(self.start)
        self._must_end_well((self.clean.out, self.clean.err, self.clean.code))
        self.renew(is_complete=True)

    @staticmethod
    def _must_end_well(ended: tuple[str, str, int]) -> None:
        assert ended[1:] == ("", 0), ended

    def close(self) -> None:
        if self._scene:
            self._scene.close()
        self._scene = None

    # ---- the scene ----

    def _made(self) -> Scene:
        self.close()
        self._scene = scene = Scene(self.engine)
        if self.is_forward:
            return scene
        if self.name == "recover":
            kill(scene, self.hook, self._kills)
            self._files = ("txn", saved("txn"))
        else:
            lend(scene, self.hook, ("c1",) if self.name == "poststop" else tuple(MINE))
            self._files = ("loan", saved("loan"))
        # As it will be each time: once put back, and away again.
        self._must_end_well(finish(JOBS[self.name](scene, self.hook, ())))
        assert not scene.differences(scene.before)
        self._take_away(scene)
        return scene

    def _take_away(self, scene: Scene) -> None:
        if self.name == "recover":
            owners = {c.id: c for c in scene.containers}
            scene.carry_off({device: owners[id_] for id_, devices in MINE.items() for device in devices})
        else:
            scene.throw_back(MINE["c1"] if self.name == "poststop" else DEVICES)
        restore(*self._files)
        scene.host.wait_for_dad()

    def renew(self, *, is_complete: bool = False) -> None:
        """The scene is as before again; `is_complete`: it is as the job leaves it, in part at least."""
        if is_complete and not self.is_forward:
            self._take_away(self.scene)
            if not self.scene.differences(self.before, timeout_s=1):
                return
        self.scene = self._made()
        assert not (wrong := self.scene.differences(self.before)), wrong

    def start(self, under: tuple[str, ...] = ()) -> subprocess.Popen[str]:
        return JOBS[self.name](self.scene, self.hook, under)

    # ---- attacks ----

    def inject(self, tally: Tally, *signals: tuple[str, int, str]) -> None:
        """One run; each of `signals` is (call, number, signal)."""
        whole = [f"{call}:signal={name}:when={number}" for call, number, name in signals]
        ended, _ = traced(self.start, *whole)
        reached = any(ended.calls.count(call) >= number for call, number, _ in signals)
        self._judge(tally, " ".join(whole), ended, may_die=False, reached=reached)

    def burst(self, tally: Tally, after_s: float, names: list[str]) -> None:
        """One run, to which these are sent as fast as possible, at any time."""
        process = self.start()
        time.sleep(after_s)
        for name in names:
            os.kill(process.pid, signal.Signals[f"SIG{name}"])  # not waited for: the number is still its own
        out, err, code = finish(process)
        ended = Ended(code, out, err, [], 0, 0)
        self._judge(tally, f"{len(names)} signals after {after_s:.3f} s", ended, may_die=True, reached=True)

    def _judge(self, tally: Tally, what: str, ended: Ended, *, may_die: bool, reached: bool) -> None:
        end, wrong = self._verdict(ended)
        if end == SILENT and ended.has_begun and not may_die:
            wrong = ["a death without a word, after the first netlink socket", *wrong]
        if end == COMPLETE and not reached:
            end = UNREACHED
        tally.count(f"{self.name}: {what}", end, wrong, ended)
        if wrong or end in (COMPLETE, UNREACHED, REPORTED):
            self.renew(is_complete=end in (COMPLETE, UNREACHED, REPORTED) and not wrong)

    def _verdict(self, ended: Ended) -> tuple[str, list[str]]:
        """How it ended, and what is untrue about it."""
        wrong = []
        if re.search("Traceback|internal error|Exception ignored", ended.err):
            wrong += ["this is not for users"]
        if ended.code == 3:
            return REPORTED, wrong + (self._misreported(ended) and self._misreported(ended, PATIENCE_S))
        wanted = self.complete if ended.code == 0 else self.before
        changed = self.scene.differences(wanted, timeout_s=PATIENCE_S)
        if "nothing was touched" in ended.err and (changed or ended.code == 0):
            wrong += ["it says that nothing was touched"]
        if ended.code == 0:
            return COMPLETE, wrong + changed
        if ended.code == 1:
            wrong += [] if "interrupted" in ended.err else ["it does not say that it was interrupted"]
            return AS_BEFORE, wrong + changed
        if (ended.code < 0 or ended.code in DEATHS) and not ended.out + ended.err:
            return SILENT, wrong + changed
        return "no such exit code", [*wrong, "see the documentation", *changed]

    def _misreported(self, ended: Ended, timeout_s: float = 0) -> list[str]:
        """Where the report with exit code 3 does not match the state of the devices."""
        wanted = self.before if self.is_forward else self.complete
        self.scene.differences(wanted, timeout_s=timeout_s)
        now = self.scene.state()
        wrong = [] if "interrupted" in ended.err else ["it does not say that it was interrupted"]
        reported = self._reported(ended)
        # A poststop hook is not responsible for the devices of other containers.
        its = MINE["c1"] if self.name == "poststop" else tuple(DEVICES)
        undone = {device for device in its if _of(wanted, device) != _of(now, device)}
        wrong += [f"{device} is not as it must be, and not reported" for device in sorted(undone - reported)]
        wrong += [f"{device} is reported, and as it must be" for device in sorted(reported - undone)]
        files = [name for name in now["records"] + now["loans"] if self.name != "poststop" or name == "c1"]
        if bool(undone) != bool(files):
            wrong += [f"not done: {sorted(undone)}; records {now['records']}, loans {now['loans']}"]
        return wrong + (self.scene.differences(wanted, timeout_s=0) if wrong else [])

    def _reported(self, ended: Ended) -> set[str]:
        """The devices that a report names, on stderr or in JSON, directly or by their record."""
        reported = {device for device in DEVICES if re.search(rf"\b{device}\b", ended.err)}
        document: dict[str, Any] = json.loads(ended.out) if ended.out else {}
        kept = [each for each in document.get("recovered", []) if each["outcome"] == "kept"]
        reported |= {each["device"] for each in kept + document.get("error", {}).get("left", []) if each["device"]}
        named = ended.err + "".join(each["record"] + "\n" for each in kept if not each["device"])
        folder, files = self._files
        for name in re.findall(rf"/{folder}/(\w+)", named):
            reported |= {device for device in DEVICES if device.encode() + b"\0" in files[name]}
        return reported


def _of(state: dict[str, Any], device: str) -> object:
    """A device in the host, with its addresses."""
    return state["host links"].get(device), state["host addresses"].get(device)

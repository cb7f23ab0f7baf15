"""Runs in the guest of tools/units, once after each start of userland: lends devices, kills, and checks which return.

What is seen is seen by raw dumps (tests/support/rawdump.py), which share no line with netdevns.
"""

from __future__ import annotations

import json
import os
import pickle
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.support import rawdump

STATE = Path("/run/trial.json")  # survives a soft reboot
PROGRAM = [sys.executable, "-P", "-m", "netdevns"]
NAMES = ("port0", "port1", "port2")
IFLA_MAP, IFLA_PERM_ADDRESS = 14, 54
APART_S = 3  # `netdevns return` takes some seconds there: a device comes before, while, and after it looks
PATIENCE_S = 180  # an emulated processor is slow
KILLED_MOVE = """
import os, signal, sys
from netdevns.api import transact
def step(what, done, count):
    if what == "replay":
        os.kill(os.getpid(), signal.SIGKILL)
transact({sys.argv[1]: sys.argv[2]}, sys.argv[3], journal="/run/netdevns", on_step=step)
"""


def say(text: str) -> None:
    print(f"{time.monotonic():7.2f} {text}", flush=True)


def run(*words: str | Path, check: bool = True, stdin: str = "") -> str:
    done = subprocess.run([*map(str, words)], input=stdin, text=True, capture_output=True, check=False)
    if check and done.returncode:
        raise SystemExit(f"{' '.join(map(str, words))}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def netdevns(*words: str) -> str:
    return run(*PROGRAM, *words)


def dump() -> dict[str, Any]:
    found: dict[str, Any] = rawdump.everything(rawdump.Socket())
    for link in found["links"].values():
        for type_ in (IFLA_MAP, IFLA_PERM_ADDRESS):  # the driver's own business
            link.attrs.pop(type_, None)
    return found


def must_be(before: dict[str, Any], what: str) -> None:
    """Waits until all is as before, and nothing is on loan."""
    started = time.monotonic()
    while differences := [*rawdump.differences(before, dump()), *records()]:
        if time.monotonic() > started + PATIENCE_S:
            say(f"WRONG: {what}")
            print(*differences, run("journalctl", "-b", "--no-pager", "-n", "60"), sep="\n", flush=True)
            end(1)
        time.sleep(0.02)
    say(f"ok after {time.monotonic() - started:.2f} s: {what}")


def records() -> list[str]:
    return [str(path) for name in ("txn", "loan") for path in Path("/run/netdevns", name).glob("*")]


def started(unit: str) -> int:
    """How often a unit was started since the boot."""
    lines = run("journalctl", "-b", "--no-pager", "-o", "cat", "-u", unit).splitlines()
    return sum(line.startswith("Starting ") for line in lines)


def end(code: int) -> None:
    time.sleep(0.5)  # until what is printed has left
    Path("/dev/console").write_text(f"@@netdevns exit {code}\n")
    Path("/proc/sysrq-trigger").write_text("o")
    time.sleep(60)


# ---- devices and containers -----------------------------------------------------------------------------------------


def make_devices() -> None:
    """Virtual functions with names, addresses and so on, as an operator would give them."""
    run("modprobe", "igb")
    run("modprobe", "igbvf")
    run("udevadm", "settle")
    (card,) = Path("/sys/bus/pci/drivers/igb").glob("0*")
    (physical,) = (path.name for path in (card / "net").iterdir())
    run("ip", "link", "set", physical, "up")
    (card / "sriov_numvfs").write_text(str(len(NAMES)))
    until(lambda: len([*card.glob("virtfn*/net/*")]) == len(NAMES), "the functions are there")
    run("udevadm", "settle")
    for n, name in enumerate(NAMES):
        (was,) = (path.name for path in (card / f"virtfn{n}" / "net").iterdir())
        say(f"udev called function {n} {was}")
        lines = [f"link set {was} down", f"link set {was} name {name}", f"link property add dev {name} altname up{n}"]
        if n < 2:  # igbvf then sets the permanent MAC to the present one, udev's; of the last one, when it is moved
            lines += [f"link set {name} mtu {1400 + n}"]
        lines += [f"address add 192.0.{n}.10/24 brd + dev {name}"]
        lines += [f"link set {name} up", f"address add 2001:db8:{n}::10/64 nodad dev {name}"]
        lines += [f"route add 198.51.{n}.0/24 via 192.0.{n}.1"]
        run("ip", "-batch", "-", stdin="\n".join(lines))
    run("udevadm", "settle")
    time.sleep(3)  # for DAD and carriers


def until(holds: Any, what: str) -> None:
    limit = time.monotonic() + PATIENCE_S
    while not holds():
        if time.monotonic() > limit:
            say(f"WRONG: never: {what}")
            print(run("journalctl", "-b", "--no-pager", "-n", "60"), flush=True)
            end(1)
        time.sleep(0.01)


class Container:
    """One that crun runs, with a device by our createRuntime hook alone: no poststop."""

    count = 0

    def __init__(self, device: str, inside: str = "net0") -> None:
        Container.count += 1  # crun keeps the name of one that was killed
        self.name = name = f"c{Container.count}"
        bundle = Path("/run/bundles", name)
        (bundle / "rootfs").mkdir(parents=True, exist_ok=True)
        for folder in ("proc", "dev", "sys"):
            (bundle / "rootfs" / folder).mkdir(exist_ok=True)
        (bundle / "rootfs/busybox").write_bytes(Path("/usr/bin/busybox").read_bytes())
        (bundle / "rootfs/busybox").chmod(0o755)
        document = json.loads(
            netdevns("cdi", "vendor.com/nic", f"{device}={inside}", "--python").split("\nnetdevns: ")[0]
        )
        (hook,) = [
            {key: h[key] for key in ("path", "args")}
            for h in document["devices"][0]["containerEdits"]["hooks"]
            if h["hookName"] == "createRuntime"
        ]
        config = {
            "ociVersion": "1.0.2",
            "root": {"path": "rootfs"},
            "process": {"args": ["/busybox", "sleep", "3600"], "cwd": "/", "user": {"uid": 0, "gid": 0}},
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
            ],
            "linux": {"namespaces": [{"type": kind} for kind in ("mount", "network", "pid")]},
            "hooks": {"createRuntime": [hook]},
        }
        (bundle / "config.json").write_text(json.dumps(config))
        self.device = device
        argv = ["crun", "--cgroup-manager=disabled", "run", "-b", str(bundle), name]
        self.runtime = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        until(lambda: self.runtime.poll() is not None or self.pid(), f"{name} runs")
        if self.runtime.poll() is not None:
            assert self.runtime.stderr is not None
            say(f"WRONG: {name}: {self.runtime.stderr.read()}")
            end(1)

    def pid(self) -> int:
        said = subprocess.run(["crun", "state", self.name], capture_output=True, text=True, check=False).stdout
        state = json.loads(said) if said else {}
        return state["pid"] if state.get("status") == "running" else 0

    def kill(self) -> None:
        """The runtime and the container: no hook runs."""
        pid = self.pid()
        self.runtime.kill()
        self.runtime.wait()
        os.kill(pid, signal.SIGKILL)


# ---- the trial ------------------------------------------------------------------------------------------------------


def first() -> None:
    make_devices()
    print(netdevns("units", "--install"), run("systemctl", "daemon-reload"), flush=True)
    print(run("udevadm", "verify", "/etc/udev/rules.d/90-netdevns.rules"), flush=True)
    units = [f"/etc/systemd/system/netdevns-{name}.service" for name in ("arrival", "recover", "return")]
    print("systemd-analyze verify:", run("systemd-analyze", "verify", "--man=no", *units), flush=True)
    before = dump()

    with open("/run/monitor", "w") as file:
        monitor = subprocess.Popen(["udevadm", "monitor", "--kernel", "--udev", "--property", "-s", "net"], stdout=file)
    one = Container("port0")
    until(lambda: "port0" not in rawdump.links(rawdump.Socket()), "port0 is away")
    one.kill()
    must_be(before, "the runtime and its container were killed")
    run("ip", "link", "add", "net0", "type", "veth", "peer", "name", "peer0")
    run("udevadm", "settle")  # which gives it a MAC
    other = dump()
    one = Container("port0")
    until(lambda: "port0" not in rawdump.links(rawdump.Socket()), "port0 is away")
    one.kill()
    must_be(other, "the name that it had in the container is taken on the host")
    run("ip", "link", "del", "net0")
    monitor.terminate()
    monitor.wait()
    shown = re.findall(
        r"^(?:KERNEL|UDEV).*|^DEVPATH_OLD.*|^INTERFACE.*|^SYSTEMD_WANTS.*", Path("/run/monitor").read_text(), re.M
    )
    print("what udev saw:", *shown, sep="\n", flush=True)

    for n in range(int(os.environ["ROUNDS"])):
        containers = [Container(name) for name in NAMES[:2]]
        for i, container in enumerate(containers):
            time.sleep(i * n * APART_S)
            container.kill()
        must_be(before, f"two containers, killed {n * APART_S} s apart")
        counts = [started(f"netdevns-{unit}") for unit in ("arrival", "recover", "return")]
        say(f"starts of arrival, recover, return: {counts}")

    stays = Container("port2")
    lent = dump(), records()
    one = Container("port0")
    one.kill()
    until(lambda: len(records()) == 1, "port0 is home")
    until(lambda: not rawdump.differences(lent[0], dump()), "all but port2 as before")
    say("ok: port0 is home, and port2 stays where it is")
    stays.kill()
    must_be(before, "port2, too")

    process = subprocess.Popen(["unshare", "--net", "sleep", "3600"])
    until(lambda: os.readlink(f"/proc/{process.pid}/ns/net") != os.readlink("/proc/self/ns/net"), "a namespace")
    run(sys.executable, "-c", KILLED_MOVE, "port1", "net0", f"pid:{process.pid}", check=False)
    assert records(), "the move has left a record"
    process.kill()
    process.wait()
    must_be(before, "a move was killed, and its target ended")
    virtual()

    run("ip", "netns", "add", "red")
    run(sys.executable, "-c", KILLED_MOVE, "port1", "net0", "red", check=False)
    assert records(), "the move has left a record"
    STATE.write_text(json.dumps({"next": "second"}))
    say("port1 is in the namespace red, and its move was killed: systemctl soft-reboot")
    Path("/run/before").write_bytes(pickle.dumps(before))
    run("systemctl", "soft-reboot")
    time.sleep(60)


def virtual() -> None:
    """Virtual devices start nothing, while something is on loan."""
    stays = Container("port2")
    count = started("netdevns-arrival")
    run("ip", "-batch", "-", stdin="\n".join(f"link add a{n} type veth peer name b{n}" for n in range(10)))
    run("udevadm", "settle")
    run("ip", "-batch", "-", stdin="\n".join(f"link del a{n}" for n in range(10)))
    run("udevadm", "settle")
    if started("netdevns-arrival") != count:
        say("WRONG: a veth starts netdevns-arrival")
        end(1)
    say("ok: 20 devices of veth pairs came and went, and nothing was started")
    stays.kill()
    until(lambda: not records(), "port2 is home")


def second() -> None:
    before = pickle.loads(Path("/run/before").read_bytes())
    must_be(before, "userland was restarted after a killed move")
    print(run("journalctl", "-b", "--no-pager", "-o", "short-monotonic", "-t", "netdevns", "-n", "1"), flush=True)
    assert "netdevns-arrival.service" in run("systemctl", "show", "-P", "Wants", "multi-user.target"), "wanted at boot"
    run("ip", "netns", "del", "red", check=False)  # systemd has unmounted it
    print(netdevns("units", "blue", "port0=net0", "--install"), run("systemctl", "daemon-reload"), flush=True)
    print(
        "verify:",
        run("systemd-analyze", "verify", "--man=no", "/etc/systemd/system/netdevns-prepare-blue.service"),
        flush=True,
    )
    run("systemctl", "enable", "--now", "netdevns-prepare-blue.service")
    say(run("ip", "-n", "blue", "-br", "address", "show", "net0").strip())
    run("systemctl", "stop", "netdevns-prepare-blue.service")
    must_be(before, "the unit of the namespace blue was started and stopped")
    STATE.write_text(json.dumps({"next": "third"}))
    run("systemctl", "soft-reboot")
    time.sleep(60)


def third() -> None:
    before = pickle.loads(Path("/run/before").read_bytes())
    until(lambda: "port0" not in rawdump.links(rawdump.Socket()), "port0 is in blue after the start of userland")
    until(
        lambda: run("systemctl", "is-active", "netdevns-prepare-blue", check=False) == "active\n", "the unit is active"
    )
    say(run("ip", "-n", "blue", "-br", "address", "show", "net0").strip())
    run("systemctl", "disable", "--now", "netdevns-prepare-blue.service")
    must_be(before, "the unit of the namespace blue was stopped")
    print(netdevns("units", "blue", "--uninstall"), netdevns("units", "--uninstall"), flush=True)
    left = [str(path) for path in Path("/etc").rglob("*netdevns*")]
    if left:
        say(f"WRONG: left by --uninstall: {left}")
        end(1)
    end(0)


def main() -> None:
    which = json.loads(STATE.read_text())["next"] if STATE.exists() else "first"
    if which == "first":
        Path("/dev/console").write_text(f"@@netdevns start {os.uname().release}\n")
    say(f"{which} start of userland")
    {"first": first, "second": second, "third": third}[which]()


if __name__ == "__main__":
    try:
        main()
    except BaseException as e:
        import traceback

        traceback.print_exc()
        say(f"WRONG: {e!r}")
        end(1)

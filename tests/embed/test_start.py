"""A start by the small runtime: the devices are there before the process is; and on any failure all is as before."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.csrc.compilers import BUILDS
from tests.csrc.faulty import Faulty
from tests.csrc.ways import Start, starter
from tests.support.processes import wait_until

from .scene import ARRIVED, DEVICES, STAYS, Scene


@pytest.fixture
def fast(scene: Scene, tmp_path: Path) -> Start:
    """In one way: for what the program decides, and no compiler."""
    return starter("gcc", tmp_path, scene.run)


def network(path: str) -> dict[str, str]:
    return {"type": "network", "path": path}


def fails(scene: Scene, done: subprocess.CompletedProcess[str], code: int, says: str) -> None:
    """All is as before; one line says why."""
    assert (done.returncode, done.stdout, done.stderr) == (code, "", f"embed: {says}\n")
    scene.is_as_before()


def test_devices_arrive(embed: Start, scene: Scene, complete: dict[str, Any]) -> None:
    """As `netdevns apply` leaves them, to the last attribute; the container runs, and nothing else is left."""
    done = embed("embed", "start", str(scene.bundle.path))
    assert (done.returncode, done.stderr) == (0, "")
    scene.is_complete(int(done.stdout), complete)
    assert Path(f"/proc/{done.stdout.strip()}/comm").read_text() == "sleep\n"


def test_process_sees_its_world(fast: Start, scene: Scene) -> None:
    """The devices are up with their addresses when it begins; root, name, folder, environment and pid are its own."""
    script = "ip -o addr show dev net0; hostname; pwd; echo $$ $A; ls /; cat /proc/1/comm; true"
    (scene.bundle.rootfs / "bin" / "hostname").symlink_to("busybox")
    (scene.bundle.rootfs / "bin" / "ls").symlink_to("busybox")
    process = {"args": ["sh", "-c", script], "env": ["PATH=/bin", 'A=\u00e9\U0001f600"\\'], "cwd": "/proc/sys"}
    scene.bundle.write(DEVICES, process=process, hostname="box")
    done = fast("embed", "start", str(scene.bundle.path))

    def printed() -> str:
        """Without the process id, which `embed start` prints at a moment of its own."""
        return "".join(x for x in (scene.folder / "out").read_text().splitlines(True) if not x.strip().isdigit())

    wait_until(lambda: "proc\nsh\n" in printed(), "all was printed")
    seen = printed()
    assert (done.returncode, done.stderr) == (0, "")
    assert "inet 10.0.0.1/24 brd 10.0.0.255 scope global net0:vip" in seen
    # Not the link-local address, which the kernel makes there: DAD may not have begun, be under way, or be over.
    moved = [line for line in seen.splitlines() if "inet6 2001:db8:" in line]
    assert len(moved) == 2
    assert not any("tentative" in line for line in moved)
    assert 'box\n/proc/sys\n1 \u00e9\U0001f600"\\\nbin\ndev\nproc\nsh\n' in seen


def test_no_devices(embed: Start, scene: Scene) -> None:
    """A container like any other; no record is made."""
    scene.bundle.write(process=STAYS)
    done = embed("embed", "start", str(scene.bundle.path))
    assert (done.returncode, done.stderr) == (0, "")
    scene.end_containers()
    scene.is_as_before()


def test_joins_a_namespace(fast: Start, scene: Scene, complete: dict[str, Any]) -> None:
    """That of a pod: the devices are there, and stay when the container ends."""
    with scene.machine.named_namespace("pod") as pod:
        pod.sysctl("ipv6/conf/default/addr_gen_mode", 0)
        scene.mounts = scene.machine.mounts()
        scene.bundle.write(DEVICES, process=STAYS, network=network("/run/netns/pod"))
        done = fast("embed", "start", str(scene.bundle.path))
        assert (done.returncode, done.stderr) == (0, "")
        scene.is_complete(int(done.stdout), complete)
        scene.end_containers()
        assert pod.names() == ARRIVED


def test_numbers_that_are_taken(fast: Start, scene: Scene) -> None:
    """The pod has devices with the same numbers: others are chosen, and all arrives."""
    with scene.machine.named_namespace("pod") as pod:
        pod.batch(
            [f"link add {name} index {index} type ifb" for name, index in {"x1": 4711, "x2": 4712, "x3": 4713}.items()]
        )
        scene.bundle.write(DEVICES, process=STAYS, network=network("/run/netns/pod"))
        done = fast("embed", "start", str(scene.bundle.path))
        assert (done.returncode, done.stderr) == (0, "")
        assert pod.names() == {"x1", "x2", "x3", *ARRIVED}


# ---- failures ----


def test_process_that_cannot_be_executed(embed: Start, scene: Scene) -> None:
    """The last that can fail: the devices were there, and come back."""
    scene.bundle.write(DEVICES, process=STAYS | {"args": ["nothing"]})
    fails(scene, embed("embed", "start", str(scene.bundle.path)), 1, "nothing: No such file or directory")


def test_folder_that_is_not_there(fast: Start, scene: Scene) -> None:
    scene.bundle.write(DEVICES, process=STAYS | {"cwd": "/none"})
    fails(scene, fast("embed", "start", str(scene.bundle.path)), 1, "/none: No such file or directory")


def test_name_that_is_taken(embed: Start, scene: Scene) -> None:
    """The check refuses the batch before anything changes."""
    scene.bundle.write({"eth1": {"name": "net0"}, "low": {"name": "net0"}}, process=STAYS)
    fails(scene, embed("embed", "start", str(scene.bundle.path)), 2, 'low: "net0" is also wanted for eth1')


def test_immovable_device(fast: Start, scene: Scene) -> None:
    scene.bundle.write({"eth1": {}, "lo": {"name": "lo2"}}, process=STAYS)
    says = "lo: the kernel never moves it into another network namespace"
    fails(scene, fast("embed", "start", str(scene.bundle.path)), 2, says)


@pytest.mark.parametrize(
    ("config", "says"),
    [
        pytest.param({"devices": {"none": {}}}, "none: no such device", id="no-device"),
        pytest.param(
            {"devices": {"low": {"name": "x" * 16}}},
            'low: "xxxxxxxxxxxxxxxx" is no valid name: it has more than 15 bytes', id="name",
        ),
        pytest.param({"root": {"path": "none"}}, "none: No such file or directory", id="no-root"),
        pytest.param({"network": network("/none")}, "/none: No such file or directory", id="no-ns"),
        pytest.param({"network": network("/dev/null")}, "/dev/null: Invalid argument", id="no-netns"),
        pytest.param(
            {"network": network("/proc/self/ns/net")},
            "target and source are one network namespace", id="host",
        ),
    ],
)  # fmt: skip
def test_refused(fast: Start, scene: Scene, config: dict[str, Any], says: str) -> None:
    """Nothing was touched, and not a single notification was sent."""
    scene.bundle.write(config.pop("devices", DEVICES), process=STAYS, **config)
    with scene.host.monitor() as monitor:
        fails(scene, fast("embed", "start", str(scene.bundle.path)), 2, says)
        assert monitor.seen() == []


def test_interrupted(scene: Scene) -> None:
    """SIGTERM while the devices move: they come back, the container does not start."""
    scene.bundle.write(DEVICES, process=STAYS)
    program = str(BUILDS["gcc"].program("embed"))
    inject = ["strace", "-o", "/dev/null", "-e", "trace=linkat", "-e", "inject=linkat:signal=TERM:when=1"]
    fails(scene, scene.run([*inject, program, "start", str(scene.bundle.path)]), -signal.SIGTERM, "interrupted")


def test_usage(fast: Start) -> None:
    for arguments in ([], ["start"], ["recover", "x"], ["stop", "x"]):
        done = fast("embed", *arguments)
        assert (done.returncode, done.stderr) == (2, "embed: usage: embed start BUNDLE | embed recover\n")


@pytest.mark.sampled(3)
@pytest.mark.parametrize("call", ["send", "recvmmsg", "setns"])
def test_one_call_fails(scene: Scene, complete: dict[str, Any], call: str) -> None:
    """Whichever exchange with the kernel fails, before it acted (send) or after it (recvmmsg): all is as before."""
    faulty, codes = Faulty("embed"), []
    while 0 not in codes:
        at = len(codes) + 1
        done = scene.run(faulty.argv(call, at, at, "start", str(scene.bundle.path)))
        codes.append(done.returncode)
        if done.returncode:
            assert done.stderr.startswith("embed: "), at
            assert (done.returncode in (1, 2), scene.not_as_before()) == (True, []), (at, done.stderr)
        assert at < 60
    scene.is_complete(int(done.stdout), complete)
    assert set(codes[:-1]) == ({2} if call == "setns" else {1, 2})
    assert codes == [*sorted(codes[:-1], reverse=True), 0]


def test_recover_with_nothing_to_do(fast: Start, scene: Scene) -> None:
    done = fast("embed", "recover")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    scene.is_as_before()

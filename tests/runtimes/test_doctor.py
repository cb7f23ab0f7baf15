"""`netdevns doctor` on a machine of its own: exit codes, JSON, the system calls, and each runtime that is installed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from netdevns import __version__
from netdevns.oci.hook_line import PACKAGE
from tests.support.installation import Installation
from tests.support.namespaces import Namespace
from tests.support.require import require

from .container import CONTAINER, NETDEVNS, Bundle, Machine, Runtime

RUN = "/run/netdevns"
ETH1 = "link add eth1 type veth peer name wire1\naddress add 192.0.2.10/24 dev eth1"


@pytest.fixture
def machine(host: Namespace) -> Iterator[Machine]:
    """A machine whose /run is empty, and whose /etc can be written."""
    prepare = "mkdir /run/u /run/w && mount -t overlay overlay -o lowerdir=/etc,upperdir=/run/u,workdir=/run/w /etc"
    try:
        machine = Machine(host, prepare)
    except OSError as e:
        require("netns", str(e))
    with machine:
        yield machine


@pytest.mark.thorough
def test_command(machine: Machine, host: Namespace) -> None:
    """On a real machine: a CDI file whose device is missing, then found; exit codes 1 and 0, and the JSON document."""
    path = machine.path("/etc/cdi/vendor.com-nic.json")
    machine.run(["mkdir", "-p", "/etc/cdi"]).check_returncode()
    document = json.loads(machine.netdevns("cdi", "vendor.com/nic", "eth1=net0", "--python").stdout)
    path.write_text(json.dumps(document))
    done = machine.netdevns("doctor", "--json")
    answer = json.loads(done.stdout)
    assert (done.returncode, done.stderr, answer["ok"]) == (1, "", False)
    missing = [each for each in answer["findings"] if each["subject"] == "eth1"]
    assert [(each["check"], each["severity"], each["hint"]) for each in missing] == [
        ("devices", "error", "netdevns show")
    ]
    host.ip("link add eth1 type ifb")
    done = machine.netdevns("doctor")
    assert "ok       eth1: here, ifb; asked for by /etc/cdi/vendor.com-nic.json\n" in done.stdout
    assert done.returncode == int("\nerror " in f"\n{done.stdout}")
    assert not machine.path(RUN).exists()


@pytest.mark.thorough
def test_installation(machine: Machine, host: Namespace, tmp_path: Path) -> None:
    """Of an installation as pip makes it: its own file runs; then its hook, or the package beside it, is broken."""
    made = Installation(tmp_path / "opt")
    host.ip("link add eth1 type ifb")
    machine.run(["env", "-i", str(made.command), "cdi", "vendor.com/nic", "eth1=net0", "--install"]).check_returncode()

    def found() -> tuple[int, list[str]]:
        done = machine.run(["env", "-i", str(made.command), "doctor"])
        return done.returncode, [line for line in done.stdout.splitlines() if " /etc/cdi/vendor.com-nic.json: " in line]

    code, lines = found()
    assert code == 0
    runs = f"runs netdevns-hook {__version__}, {made.hook}"
    assert lines == [f"ok       /etc/cdi/vendor.com-nic.json: CDI vendor.com/nic, devices vendor.com/nic=eth1; {runs}"]
    module = made.site / "netdevns/oci/hook.py"
    module.chmod(0o666)
    code, (line,) = found()
    assert code == 1
    assert f"not tried: {module}: other users may write to it (mode 0666)" in line
    module.chmod(0o644)
    (made.site / "netdevns/cli/show.py").unlink()
    code, (line,) = found()
    assert code == 1
    assert f"cannot hand over to {made.command}" in line
    made.hook.unlink()
    code, (line,) = found()
    assert (code, f"there is no {made.hook}" in line) == (1, True)


def test_no_call_changes_anything(machine: Machine, tmp_path: Path) -> None:
    """Of its own calls none opens a file for writing, makes, removes or locks one, or enters a namespace."""
    if not shutil.which("strace"):
        require("netns", "no strace here")
    machine.run(["mkdir", "-p", "/run/netdevns/txn", "/run/netdevns/loan"]).check_returncode()
    trace = tmp_path / "trace"
    under = ["strace", "-f", "-o", str(trace), "-e", "trace=!read,lseek,fstat,newfstatat,close,mmap,brk"]
    done = machine.run([*under, *NETDEVNS, "doctor"])
    assert done.returncode in (0, 1), done.stderr
    calls = trace.read_text().splitlines()
    main = calls[0].split()[0]
    others = {line.split()[0] for line in calls} - {main}
    assert others, "no runtime was started: the test shows nothing"
    own = [line.partition(" ")[2].strip() for line in calls if line.split()[0] == main]
    changing = (
        "mkdir", "unlink", "rename", "link", "symlink", "chmod", "fchmod", "chown", "fchown", "truncate", "ftruncate",
        "mount", "umount", "setns", "unshare", "flock", "init_module", "finit_module", "mknod", "utime", "setxattr",
    )  # fmt: skip
    assert [line for line in own if line.startswith(changing)] == []
    opened = [line for line in own if line.startswith("open") and ("O_WRONLY" in line or "O_RDWR" in line)]
    assert [line for line in opened if '"/dev/null"' not in line] == []
    assert not [line for line in own if "F_OFD_SETLK" in line or "F_SETLK" in line]


def test_no_module_of_its_own_is_compiled(tmp_path: Path) -> None:
    """The first run after an installation that compiles nothing leaves none beside its modules."""
    folder = tmp_path / "netdevns"
    shutil.copytree(PACKAGE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    words = [sys.executable, "-P", "-m", "netdevns", "doctor"]
    done = subprocess.run(words, env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=False)
    assert str(folder) in done.stdout
    assert not (folder / "doctor/__pycache__").exists()


def test_runtime(runtime: Runtime) -> None:
    """An installed runtime is found, and its version is its own answer; no folder of it is made in /run."""
    said = runtime.machine.run([runtime.name, "--version"]).stdout.splitlines()[0]
    before = sorted(map(str, runtime.machine.path("/run").rglob("*")))
    answer = json.loads(runtime.machine.netdevns("doctor", "--json").stdout)
    (found,) = [each for each in answer["findings"] if each["subject"].endswith(f"/{runtime.name}")]
    assert (found["check"], found["severity"]) == ("runtimes", "ok")
    assert found["text"].startswith(f"{said}: does not know linux.netDevices")
    assert sorted(map(str, runtime.machine.path("/run").rglob("*"))) == before


def test_container_that_ended_without_poststop(runtime: Runtime, bundle: Bundle) -> None:
    """The loan of a killed container is found, with the command that settles it; then all is well."""
    machine = runtime.machine
    machine.host.batch(ETH1)
    bundle.write({"eth1": {"name": "net0"}})  # the createRuntime hook only

    def errors() -> list[dict[str, str]]:
        answer = json.loads(machine.netdevns("doctor", "--json", str(bundle.path)).stdout)
        return [each for each in answer["findings"] if each["severity"] == "error" and each["check"] == "records"]

    done = runtime.run(bundle)
    assert done.returncode == 0, done.stderr
    (found,) = errors()
    assert found["subject"] == f"{RUN}/loan/{CONTAINER}"
    assert found["hint"] == f"netdevns return {CONTAINER}"
    machine.netdevns(*found["hint"].split()[1:]).check_returncode()
    assert errors() == []

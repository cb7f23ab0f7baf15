"""A container outlives the netdevns that moved its device: upgraded, deleted or damaged, the device comes home.

A device that software made dies with its namespace, so the container joins one that has a path, and the tests give the
device back before the container's end, as the kernel does with hardware.
"""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from netdevns.netlink import wire
from netdevns.recovery import layout
from tests.support.namespaces import Namespace
from tests.support.restored import assert_equal_soon

from .container import CONTAINER, Bundle, Runtime, cable
from .test_home import LOANS, loans
from .versions import NEXT, NOW, Venv

pytestmark = [pytest.mark.thorough, pytest.mark.timeout(600)]  # a wheel is compiled for each version
ADDRESSES = "address add 192.0.2.10/24 dev eth1\naddress add 2001:db8::10/64 dev eth1"


class Lent:
    """A running container whose device an installed netdevns has moved, by the hook lines that it writes."""

    def __init__(self, host: Namespace, runtime: Runtime, bundle: Bundle, output: Path) -> None:
        self.host, self.runtime, self.machine, self.bundle = host, runtime, runtime.machine, bundle
        self.blue = self.machine.named_namespace("blue")
        self.venv = Venv(bundle.path.parent / "opt", NOW)
        cable(host, ["eth1"], ADDRESSES)
        self.before = host.dump()
        bundle.write(None, network={"type": "network", "path": "/run/netns/blue"})
        path = bundle.path / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"hooks": self.venv.hooks("eth1=net0")}))
        done = runtime("create", "--bundle", str(bundle.path), CONTAINER, output=output)
        assert done.returncode == 0, output.read_text()
        assert loans(self.machine) == [CONTAINER]
        assert "net0" in self.blue.names()

    def end(self) -> tuple[int, str]:
        """The device comes back as hardware does, and the container ends; what the runtime says."""
        self.blue.batch(["link set net0 down", "address flush dev net0"])
        self.blue.give("net0", self.host)
        done = self.runtime("delete", "--force", CONTAINER)
        return done.returncode, done.stdout + done.stderr

    def assert_home(self) -> None:
        assert_equal_soon(self.before, self.host)
        assert loans(self.machine) == []

    def assert_waiting(self) -> None:
        """The device is down in the host, under the container's name, and still on loan."""
        assert not self.host.links()["net0"].up
        assert loans(self.machine) == [CONTAINER]

    def return_(self, venv: Venv) -> str:
        """What `netdevns return` of an installation says."""
        done = self.machine.run([str(venv.bin / "netdevns"), "return"])
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout


@pytest.fixture
def lent(host: Namespace, runtime: Runtime, bundle: Bundle, tmp_path: Path) -> Iterator[Lent]:
    made = Lent(host, runtime, bundle, tmp_path / "output")
    yield made
    runtime("delete", "--force", CONTAINER)
    made.blue.close()


@pytest.mark.sampled(1, 2)
def test_upgraded(lent: Lent) -> None:
    """P5: the new version's hook is at the same path, reads the old one's loan, and restores the device."""
    lent.venv.install(NEXT)
    assert lent.end() == (0, "")
    lent.assert_home()
    assert lent.machine.hook_log() == ""


def test_deleted(lent: Lent, tmp_path: Path) -> None:
    """P5: the loan stays, and another installation's `return` restores. runc reports the missing hook, crun nothing."""
    shutil.rmtree(lent.venv.folder)
    _, said = lent.end()
    assert (f"{lent.venv.bin}/netdevns-hook: no such file or directory" in said) == (lent.runtime.name == "runc"), said
    lent.assert_waiting()
    another = lent.runtime("create", "--bundle", str(lent.bundle.path), "another")
    assert another.returncode != 0
    # crun up to 1.16 may be killed before it says why: it writes to a hook that could not be started (its issue 1551).
    is_killed = lent.runtime.name == "crun" and another.returncode == -signal.SIGPIPE
    assert is_killed or f"{lent.venv.bin}/netdevns-hook" in another.stderr
    again = Venv(tmp_path.resolve() / "again", NEXT)
    assert "eth1: undone: restored" in lent.return_(again)
    lent.assert_home()


def test_interpreter_gone(lent: Lent, tmp_path: Path) -> None:
    """P7: the hook in C, which needs none, says in its log what to type; so it is where Python was upgraded."""
    (lent.venv.bin / "python3").unlink()
    lent.end()
    lent.assert_waiting()
    log = lent.machine.hook_log()
    assert f"the container's devices are not restored: run `netdevns return {CONTAINER}`" in log
    assert (
        f"{lent.venv.bin}/netdevns: cannot be started: No such file or directory; install netdevns there again" in log
    )
    assert "eth1: undone" in lent.return_(Venv(tmp_path.resolve() / "again", NOW))
    lent.assert_home()


def test_loan_of_another_form(lent: Lent) -> None:
    """P7: what this version does not understand is set aside, with its reason; nothing is done by it."""
    path = lent.machine.path(f"{LOANS}/{CONTAINER}")
    data = path.read_bytes()
    now, later = (wire.attr(layout.A_VERSION, layout.U64.pack(layout.VERSION + more)) for more in (0, 1))
    assert now in data
    path.write_bytes(data.replace(now, later, 1))  # judged before the checksum, which another form may not have
    lent.end()
    why = f"its format is version {layout.VERSION + 1}, this netdevns reads version {layout.VERSION}"
    lines = [line for line in lent.machine.hook_log().splitlines() if why in line]
    assert len(lines) == 1, lent.machine.hook_log()
    assert "/run/netdevns/aside" in lines[0]
    assert not lent.host.links()["net0"].up
    # By the version that wrote it.
    (aside,) = lent.machine.path("/run/netdevns/aside").iterdir()
    aside.rename(path)
    path.write_bytes(data)
    assert "eth1: undone: restored" in lent.return_(lent.venv)
    lent.assert_home()

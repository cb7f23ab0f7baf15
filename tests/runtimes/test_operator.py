"""docs/operator.md: its commands, as they stand, and what it has for docker."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from netdevns.oci import cdi, hook_line, hook_log, hooks_dir
from tests.support import readme
from tests.support.installation import without_notes
from tests.support.namespaces import Namespace

from . import manual
from .container import ARRIVED, Bundle, Runtime, Seen, furnish
from .podman import Podman

BLOCKS = [block for block in manual.BLOCKS if not manual.needs_annotations(block)]
RUNTIME = "/usr/local/sbin/runc-cdi"


@pytest.mark.thorough
@pytest.mark.parametrize("block", BLOCKS, ids=[block[0].partition(" --")[0] for block in BLOCKS])
def test_commands_do_what_they_say(block: list[str], host: Namespace, podman: Podman) -> None:
    """Each line of a block succeeds; a container that is started has its device.

    Without a complaint: what a move of a device does not carry over is none, nor is a note about its kind.
    """
    manual.furnish(host, podman)
    folder = podman.machine.path(cdi.FOLDER)
    was_there = folder.exists()
    for line in block:
        done = manual.typed(podman, line)
        said = [each for each in without_notes(done.stderr).splitlines() if ": not carried: " not in each]
        assert (done.returncode, said) == (0, []), line
        if line.startswith("podman"):
            assert "192.0.2.10/24 scope global net0" in done.stdout
    assert folder.exists() == was_there


def test_the_page_has_them_all() -> None:
    """Each way that the page is about has commands, which tests run: none of them has lost its block."""
    lines = [line for block in manual.BLOCKS for line in block]
    for beginning in "netdevns show", "netdevns cdi", "netdevns hooks-dir", "netdevns recover", "podman run":
        assert any(line.startswith(beginning) for line in lines), beginning
    assert any(manual.needs_annotations(block) for block in manual.BLOCKS)
    assert all(line.split()[0] in ("netdevns", "podman") for line in lines)


def test_its_places_and_numbers_are_ours() -> None:
    """Where things are, as the page says it."""
    page = readme.OPERATOR.read_text(encoding="utf-8")
    said = [
        f"`{cdi.FOLDER}/{cdi.file_name('vendor.com/nic')}`",
        f"`{hooks_dir.FOLDER}`",
        f"`{hook_log.JOURNAL_DIR}/{hook_log.NAME}`",
    ]
    for each in *said, f"time-out ({hook_line.TIMEOUT_S} s)", f"`--cdi-version {cdi.NATIVE}`":
        assert each in page


@pytest.mark.thorough
@pytest.mark.parametrize("runtime", ["runc"], indirect=True)
def test_dockers_runtime(host: Namespace, runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    """The runtime for docker, started as docker starts it, adds both stages of the device that daemon.json names."""
    (program,) = readme.snippets("python", readme.OPERATOR)
    (daemon,) = readme.snippets("json", readme.OPERATOR)
    ((_, described),) = json.loads(daemon)["runtimes"].items()
    assert described["path"] == RUNTIME
    run = runtime.machine.run
    copy = "mkdir -p /run/e /run/sbin && cp -a /etc/. /run/e && mount --bind /run/e /etc && mount --bind /run/sbin {}"
    run(["sh", "-c", copy.format(Path(RUNTIME).parent)]).check_returncode()
    script = runtime.machine.path(RUNTIME)
    script.write_text(program)
    script.chmod(0o755)
    furnish(host)
    installed = runtime.machine.netdevns("cdi", "vendor.com/nic", "eth1=net0", "eth2", "--install")
    assert (installed.returncode, without_notes(installed.stderr)) == (0, "")
    bundle.write(hooks=[])
    runtime.prefix[:1] = [RUNTIME, *described["runtimeArgs"]]
    output = tmp_path / "output"
    with runtime.created(bundle, output):
        hooks = json.loads((bundle.path / "config.json").read_text())["hooks"]
        assert [hooks[stage][0]["args"][-1] for stage in ("createRuntime", "poststop")] == ["eth1=net0", "poststop"]
        runtime.start()
        assert Seen.parse(output.read_text()).addresses == {"net0": ARRIVED["net0"]}

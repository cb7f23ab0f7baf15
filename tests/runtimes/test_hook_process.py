"""The createRuntime hook as a process, started as a runtime starts it: what it reads, says and returns."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import netdevns
from tests.support.namespaces import Namespace
from tests.support.restored import Restored, Untouched

from .container import ARRIVED, DEVICES, ENV, NETDEVNS, TIMEOUT_S, WIRES, Bundle, Machine, furnish, opened


@dataclass
class Container:
    """A process in a network namespace of its own, and the state that a runtime sends about it."""

    pid: int
    bundle: Bundle
    namespace: Namespace

    def state(self, **more: object) -> dict[str, object]:
        state = {
            "ociVersion": "1.0.2",
            "id": "c1",
            "status": "created",
            "pid": self.pid,
            "bundle": str(self.bundle.path),
        }
        return {name: value for name, value in (state | more).items() if value is not None}


@contextlib.contextmanager
def sleeping(machine: Machine, *wrapper: str) -> Iterator[int]:
    """A process that sleeps; yields its pid."""
    argv = [*wrapper, "sh", "-c", "echo $$; exec cat"]
    with machine.popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        yield int(process.stdout.readline())
        process.stdin.close()


@pytest.fixture
def container(host: Namespace, machine: Machine, bundle: Bundle) -> Iterator[Container]:
    """A container without a runtime; the three devices wait on the host, config.json asks for them."""
    furnish(host)
    bundle.write(DEVICES)
    with sleeping(machine, "unshare", "--net") as pid, opened(f"/proc/{pid}/ns/net", "container") as namespace:
        yield Container(pid, bundle, namespace)


def refused(machine: Machine, stdin: object, *lines: str, arguments: tuple[str, ...] = ()) -> None:
    """Exit code 2, these lines on stderr and in the log, nothing on stdout, and the host as it was."""
    with Untouched(machine.host):
        done = machine.hook(stdin, *arguments)
    assert done.stderr.splitlines() == [f"netdevns: {line}" for line in (*lines, "nothing was touched")]
    assert (done.returncode, done.stdout) == (2, "")
    logged = [re.sub(r"^\S+Z (c1: )?", "", line) for line in machine.hook_log().splitlines()]
    assert logged == [*lines, "nothing was touched"]


# ---- what it does ---------------------------------------------------------------------------------------------------


def test_moves_what_config_json_asks_for(host: Namespace, machine: Machine, container: Container) -> None:
    """S1: the devices are moved by the state's pid and bundle alone; the hook says nothing and returns 0."""
    done = machine.hook(container.state())
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert container.namespace.names() == set(ARRIVED)
    assert host.names() == WIRES


@pytest.mark.parametrize(
    ("argument", "name"),
    [("eth1=net0", "net0"), ("eth1", "eth1"), ("eth1=", "eth1"), ("eth1=x%d", "x0"), ("eth1=a=b", "a=b")],
)
def test_argument(machine: Machine, container: Container, argument: str, name: str) -> None:
    """DESIGN 4.2: an argument is DEV or DEV=NAME; a name may be a template, or contain a "="."""
    container.bundle.write(None)
    assert machine.hook(container.state(), argument).returncode == 0
    assert container.namespace.names() == {name}


def test_argument_and_configuration_agree(machine: Machine, container: Container) -> None:
    """DESIGN 4.2: the same device under the same name from both sources is one device."""
    assert machine.hook(container.state(), "eth1=net0").returncode == 0
    assert container.namespace.names() == set(ARRIVED)


def test_second_run_finds_all_done(host: Namespace, machine: Machine, container: Container) -> None:
    """S1: what is there under its name and gone from the host is done; the hook changes nothing and returns 0."""
    container.bundle.write({"eth1": {"name": "net0"}, "eth2": {}})
    assert machine.hook(container.state()).returncode == 0
    with Restored(host, container.namespace):
        done = machine.hook(container.state())
    assert (done.returncode, done.stderr) == (0, "")


def test_default_route_is_no_obstacle(host: Namespace, machine: Machine, container: Container) -> None:
    """DESIGN 4.1: the operator named the device for this container, so it goes although it carries a default route.

    The route stays behind, which the log says.
    """
    host.ip("route add default via 192.0.2.1 dev eth1")
    done = machine.hook(container.state())
    assert (done.returncode, done.stderr) == (0, "")
    assert machine.hook_log().endswith(" c1: eth1: not carried: 1 route\n")
    assert container.namespace.names() == set(ARRIVED)


def test_annotations_name_no_device(host: Namespace, machine: Machine, container: Container) -> None:
    """DESIGN 4.2: any user may set annotations; without the operator's permission they do nothing."""
    annotations = {"org.netdevns.device.eth1": "net0"}
    container.bundle.write(None, annotations=annotations)
    with Restored(host):
        done = machine.hook(container.state(annotations=annotations))
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("status", ["creating", "created"])
def test_status_may_be_creating_or_created(machine: Machine, container: Container, status: str) -> None:
    """S14: runc says "creating", crun "created" and a root; neither matters."""
    state = container.state(status=status, root="/nowhere", ociVersion="1.0")
    assert machine.hook(state).returncode == 0
    assert container.namespace.names() == set(ARRIVED)


# ---- what it refuses ------------------------------------------------------------------------------------------------


def test_argument_against_configuration(machine: Machine, container: Container) -> None:
    """DESIGN 4.2: one device under two names is an error that names both."""
    refused(
        machine,
        container.state(),
        'eth1: the hook\'s argument says "other", config.json says "net0"; give one name',
        arguments=("eth1=other",),
    )


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("eth1=a", "eth1=b"), "eth1: this device is given twice"),
        (("=net0",), '"=net0": no device is given; write DEV or DEV=NAME'),
        (("",), '"": no device is given; write DEV or DEV=NAME'),
    ],
    ids=["twice", "no-device", "empty"],
)
def test_bad_arguments(machine: Machine, container: Container, arguments: tuple[str, ...], line: str) -> None:
    """DESIGN 4.2: arguments that make no sense are a refusal before anything is looked at."""
    refused(machine, container.state(), line, arguments=arguments)


@pytest.mark.parametrize("arguments", [[], ["poststart"], ["createruntime"]], ids=["none", "unknown", "lower-case"])
def test_stage(machine: Machine, container: Container, arguments: list[str]) -> None:
    """DESIGN 4.2: a hook without a stage that it knows does nothing and says how to write it."""
    done = machine.run([*NETDEVNS, "hook", *arguments], stdin=json.dumps(container.state()).encode())
    assert done.returncode == 2
    assert "write: netdevns hook createRuntime" in done.stderr
    assert "write: netdevns hook createRuntime" in machine.hook_log()
    assert machine.host.names() == WIRES | set(DEVICES)


@pytest.mark.parametrize(
    ("stdin", "reason"),
    [
        (b"", "not valid JSON: Expecting value: line 1 column 1 (char 0)"),
        (b"eth1", "not valid JSON: Expecting value: line 1 column 1 (char 0)"),
        (b'{"id": "c1", "pid": 1', "not valid JSON: Expecting ',' delimiter: line 1 column 22 (char 21)"),
        (b'{"id": "c\xff"}', None),
        (b"[" * 100_000, None),
        (b"[]", "a JSON object is needed, not an array"),
        (b"null", "a JSON object is needed, not null"),
    ],
    ids=["empty", "no-json", "truncated", "no-utf-8", "deep", "array", "null"],
)  # fmt: skip
def test_stdin_is_no_state(machine: Machine, container: Container, stdin: bytes, reason: str | None) -> None:
    """S14: what is not state JSON is refused with one line that says where it is wrong."""
    if reason is None:  # the decoder's own words differ between versions
        done = machine.hook(stdin)
        assert done.returncode == 2
        assert done.stderr.splitlines()[0].startswith("netdevns: state on stdin: not valid JSON: ")
        assert len(done.stderr.splitlines()) == 2
        assert machine.host.names() == WIRES | set(DEVICES)
    else:
        refused(machine, stdin, f"state on stdin: {reason}")
    assert container.namespace.names() == set()


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("member", "value", "reason"),
    [
        ("id", None, "id: a string is needed"),
        ("id", 7, "id: a string is needed"),
        ("bundle", None, "bundle: an absolute path is needed"),
        ("bundle", "bundle", "bundle: an absolute path is needed"),
        ("pid", None, "pid: a createRuntime hook needs the container's process"),
        ("pid", 0, "pid: a createRuntime hook needs the container's process"),
        ("pid", -1, "pid: a positive number is needed"),
        ("pid", "1", "pid: a positive number is needed"),
        ("pid", True, "pid: a positive number is needed"),
        ("pid", 1.5, "pid: a positive number is needed"),
        ("pid", 1 << 31, "pid: a positive number is needed"),
    ],
)
def test_state_without_what_is_needed(
    machine: Machine, container: Container, member: str, value: object, reason: str
) -> None:
    """S14: a state without a usable id, bundle or pid is refused, and the line names the member."""
    refused(machine, container.state(**{member: value}), f"state on stdin: {reason}")


def test_process_that_is_gone(machine: Machine, container: Container) -> None:
    """S14: a process that has ended has no namespace to move into."""
    with sleeping(machine) as pid:
        pass
    with Restored(machine.host):
        done = machine.hook(container.state(pid=pid))
    assert done.returncode == 2
    assert done.stderr.splitlines()[0] == f"netdevns: pid:{pid}: no such process"
    assert f"pid:{pid}: no such process" in machine.hook_log()


def test_process_in_the_hosts_own_namespace(machine: Machine, container: Container) -> None:
    """S1: the hook's own namespace is no target: `--network host` must not rename the host's devices."""
    with sleeping(machine) as pid:
        refused(
            machine,
            container.state(pid=pid),
            f"container c1 has no network namespace of its own: its process {pid} is in the host's, where the "
            "devices are already",
        )


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (None, "cannot be read: No such file or directory"),
        ("{", "not valid JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
        ("[]", "a JSON object is needed, not an array"),
    ],
    ids=["absent", "truncated", "array"],
)
def test_bundle_without_a_configuration(
    machine: Machine, container: Container, config: str | None, reason: str
) -> None:
    """S2: a config.json that cannot be read or is none is refused, and the line says which file it was."""
    path = container.bundle.path / "config.json"
    path.unlink() if config is None else path.write_text(config)
    refused(machine, container.state(), f"{path}: {reason}")


def test_text_from_outside_stays_on_one_line(machine: Machine, container: Container) -> None:
    """DESIGN 4.2: one line a fact, whatever a configuration contains, so that no line of the log can be forged."""
    container.bundle.write_raw('{"linux": {"netDevices": {"a\\nnetdevns: \\ud800\\u0000": 5}}}')
    refused(
        machine,
        container.state(),
        'linux.netDevices.a\\nnetdevns: \\ud800\\x00: an object such as {"name": "net0"} is needed, not 5',
    )


def test_all_reasons_are_reported(machine: Machine, container: Container) -> None:
    """S3: one refusal lists every reason."""
    container.bundle.write({"nope": {}, "lo": {}, "eth1": {"name": "a/b"}})
    done = machine.hook(container.state())
    assert done.returncode == 2
    for reason in ("nope: no such device", "lo: the kernel never moves", 'eth1: "a/b" is no valid name'):
        assert reason in done.stderr
        assert reason in machine.hook_log()


@pytest.mark.parametrize("capability", ["sys_admin", "net_admin"])
def test_hook_without_a_capability(machine: Machine, container: Container, capability: str) -> None:
    """S3: a hook that may not do it says so, and touches nothing."""
    with Restored(machine.host):
        done = machine.run(
            ["setpriv", f"--bounding-set=-{capability}", "--", *NETDEVNS, "hook", "createRuntime"],
            stdin=json.dumps(container.state()).encode(),
        )
    assert done.returncode == 2
    assert f"CAP_{capability.upper()}" in done.stderr


# ---- stdin ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "head", "code"),
    [
        (["hook", "createRuntime"], "state", 0),
        (["hook", "createRuntime"], "{", 2),
        (["hook", "createRuntime", "=x"], "state", 2),
        (["hook", "poststart"], "state", 2),
        (["hook"], "state", 2),
    ],
    ids=["done", "no-json", "bad-argument", "unknown-stage", "no-stage"],
)
def test_stdin_is_read_to_its_end(
    machine: Machine, container: Container, arguments: list[str], head: str, code: int
) -> None:
    """S14: crun fails at random when a hook leaves its stdin unread: the writer of 1 MiB meets no broken pipe."""
    more = {"x": "y" * (1 << 20)}
    data = json.dumps(container.state(annotations=more)) if head == "state" else head + json.dumps(more)
    with machine.popen([*NETDEVNS, *arguments], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdin is not None
        process.stdin.write(data.encode())  # a BrokenPipeError fails the test
        process.stdin.close()
        assert process.wait(TIMEOUT_S) == code


def test_refusal_with_a_broken_stderr(machine: Machine, container: Container) -> None:
    """S11, S14: a hook whose stderr is a broken pipe still fails, or a container would start without its devices."""
    read, write = os.pipe()
    os.close(read)
    argv = [*NETDEVNS, "hook", "createRuntime", "nope"]
    with open(write, "wb") as stderr, machine.popen(argv, stdin=subprocess.PIPE, stderr=stderr) as process:
        process.communicate(json.dumps(container.state()).encode(), timeout=TIMEOUT_S)
    assert process.returncode == 2


def test_missing_core_is_logged(machine: Machine, container: Container, tmp_path: Path) -> None:
    """S14: any error must survive crun: that of a hook that cannot even be loaded is in the log."""
    shutil.copytree(Path(ENV["PYTHONPATH"]) / "netdevns", tmp_path / "netdevns", ignore=shutil.ignore_patterns("*.so"))
    # -S: the finder of an editable installation would still find the core in the checkout.
    argv = ["env", f"PYTHONPATH={tmp_path}", NETDEVNS[0], "-S", *NETDEVNS[1:], "hook", "createRuntime"]
    done = machine.run(argv, stdin=json.dumps(container.state(annotations={"x": "y" * (1 << 20)})).encode())
    assert done.returncode != 0
    assert "the compiled core cannot be loaded" in done.stderr
    assert "the compiled core cannot be loaded" in machine.hook_log()


# ---- the log --------------------------------------------------------------------------------------------------------


def test_log_is_for_root_alone(machine: Machine) -> None:
    """DESIGN 4.2: the contents of a container's configuration are private."""
    machine.hook(b"")
    assert machine.path("/run/netdevns").stat().st_mode & 0o777 == 0o700
    assert machine.path("/run/netdevns/hook.log").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("id_", "label"),
    [("web/1", "web/1"), ("a\nb\x1b", r"a\\(n|x0a)b\\x1b"), ("é" * 100, "é+"), ("x" * 5000, "x{64,128}(… .*)?")],
    ids=["plain", "control characters", "no ASCII", "long"],
)
def test_log_names_the_container(machine: Machine, container: Container, id_: str, label: str) -> None:
    """Each line has the container's id, printable and shortened: several containers may start at once."""
    done = machine.hook(container.state(id=id_), "nope")
    assert done.returncode == 2
    for line, said in zip(machine.hook_log().splitlines(), done.stderr.splitlines(), strict=True):
        assert re.fullmatch(rf"\S+Z {label}: {re.escape(said.removeprefix('netdevns: '))}", line), line


def test_log_grows(machine: Machine) -> None:
    """DESIGN 4.2: an error is added to the log; those before it stay."""
    machine.hook(b"")
    first = machine.hook_log()
    machine.hook(b"")
    assert machine.hook_log().startswith(first)
    assert len(machine.hook_log().splitlines()) == 2 * len(first.splitlines())


@pytest.mark.parametrize(
    "obstacle",
    [
        "ln -s /run/elsewhere /run/netdevns/hook.log",
        "mkfifo /run/netdevns/hook.log",
        "mkdir /run/netdevns/hook.log",
        "rmdir /run/netdevns; echo >/run/netdevns",
    ],
    ids=["symlink", "fifo", "folder", "no-folder"],
)
def test_log_that_cannot_be_written(machine: Machine, container: Container, obstacle: str) -> None:
    """DESIGN 4.2: the error still reaches stderr and the exit code; nothing is written where a link leads."""
    machine.run(["sh", "-c", f"mkdir /run/netdevns; {obstacle}"]).check_returncode()
    done = machine.hook(container.state(pid=None))
    assert done.returncode == 2
    first, *_, last = done.stderr.splitlines()
    assert last.startswith("netdevns: /run/netdevns/hook.log: cannot be written: ")
    assert first == "netdevns: state on stdin: pid: a createRuntime hook needs the container's process"
    assert not machine.path("/run/elsewhere").exists()


# ---- the file ------------------------------------------------------------------------------------------------------


def test_the_file_without_site(container: Container, machine: Machine, tmp_path: Path) -> None:
    """`python -I -S .../site-packages/netdevns/__main__.py hook createRuntime`, as hook lines start it."""
    packages = tmp_path / "site-packages"
    packages.mkdir()
    backend = next(Path(path) for path in sys.path if [*Path(path or ".").glob("_cffi_backend*")])
    for found in (Path(netdevns.__file__).parent, *backend.glob("_cffi_backend*")):
        (packages / found.name).symlink_to(found)
    argv = [sys.executable, "-I", "-S", str(packages / "netdevns/__main__.py"), "hook", "createRuntime"]
    done = machine.run(argv, stdin=json.dumps(container.state()).encode())
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert container.namespace.names() == {*ARRIVED}

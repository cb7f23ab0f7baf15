"""Annotations as a source of devices, with runc and crun, and how a user who may start containers could abuse them."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.support.namespaces import Namespace
from tests.support.restored import Restored, Untouched

from .container import ARRIVED, NETDEVNS, Bundle, Machine, Runtime, furnish, hook
from .test_container import refused as container_refused
from .test_container import started
from .test_hook_process import Container, opened, sleeping

PREFIX = "org.netdevns.device."
ANNOTATED = {f"{PREFIX}eth1": "net0", f"{PREFIX}mv0": "eth%d", f"{PREFIX}eth2": ""}


# ---- runc and crun --------------------------------------------------------------------------------------------------


def test_container_with_annotations(host: Namespace, runtime: Runtime, bundle: Bundle) -> None:
    """DESIGN 4.2: devices that annotations name are there when the process starts, where the operator allows them."""
    furnish(host)
    bundle.write(None, hooks=[hook("--allow", "eth?", "--allow=mv0")], annotations=ANNOTATED)
    assert started(runtime, bundle).addresses == ARRIVED
    assert runtime.machine.hook_log() == ""


def test_annotations_beside_the_other_sources(host: Namespace, runtime: Runtime, bundle: Bundle) -> None:
    """DESIGN 4.2: arguments, annotations and config.json are one batch; the same name from two is one device."""
    furnish(host)
    given = {f"{PREFIX}mv0": "eth%d", f"{PREFIX}eth1": "net0"}
    bundle.write({"eth2": {}, "eth1": {"name": "net0"}}, hooks=[hook("eth1=net0", "--allow", "*")], annotations=given)
    assert started(runtime, bundle).addresses == ARRIVED


def test_annotation_that_is_not_allowed(host: Namespace, runtime: Runtime, bundle: Bundle) -> None:
    """DESIGN 4.2: a device that no glob matches stays on the host, and the container starts without it."""
    furnish(host)
    bundle.write({"eth2": {}}, hooks=[hook("--allow", "mv*")], annotations={f"{PREFIX}eth1": "net0"})
    assert set(started(runtime, bundle).links) == {"eth2"}
    assert "eth1" in host.names()


def test_annotation_for_the_default_route(host: Namespace, runtime: Runtime, bundle: Bundle) -> None:
    """DESIGN 4.2: no annotation takes the device of a default route, whatever the operator allows."""
    furnish(host)
    host.ip("route add default via 192.0.2.1 dev eth1")
    bundle.write({"eth2": {}}, hooks=[hook("--allow", "*")], annotations={f"{PREFIX}eth1": "net0"})
    reason = "eth1: it carries a default route of this network namespace; no annotation can ask for it"
    with Restored(host):
        container_refused(runtime, bundle, reason)


# ---- the hook as a process ------------------------------------------------------------------------------------------


@pytest.fixture
def container(host: Namespace, machine: Machine, bundle: Bundle) -> Iterator[Container]:
    """A container without a runtime; the three devices wait on the host, and nothing asks for them."""
    furnish(host)
    bundle.write(None)
    with sleeping(machine, "unshare", "--net") as pid, opened(f"/proc/{pid}/ns/net", "container") as namespace:
        yield Container(pid, bundle, namespace)


def asked(container: Container, annotations: object, *, by: str = "state") -> dict[str, object]:
    """The state of a container with these annotations, in the state or in its config.json."""
    if by == "state":
        return container.state(annotations=annotations)
    container.bundle.write(None, annotations=annotations)
    return container.state()


@pytest.mark.parametrize("by", ["state", "config.json"])
def test_either_place(machine: Machine, container: Container, by: str) -> None:
    """DESIGN 4.2: annotations of the state and of config.json count alike."""
    done = machine.hook(asked(container, ANNOTATED, by=by), "--allow", "*")
    assert (done.returncode, done.stderr) == (0, "")
    assert container.namespace.names() == set(ARRIVED)


@pytest.mark.sampled(20, 4)
@pytest.mark.parametrize("by", ["state", "config.json"])
@pytest.mark.parametrize(
    ("device", "name", "reason"),
    [
        ("", "net0", "no device can have that name: it is empty"),
        ("..", "net0", "no device can have that name"),
        ("../eth1", "net0", "no device can have that name"),
        ("eth1/../eth2", "net0", "no device can have that name"),
        ("eth1\n", "net0", "no device can have that name"),
        ("eth1\x00", "net0", "no device can have that name"),
        ("\x1b[2Jeth1", "net0", "no such device"),
        ("eth%d", "net0", "no device can have that name"),
        ("eth*", "net0", "no such device"),
        ("eth?", "net0", "no such device"),
        ("[e]th1", "net0", "no such device"),
        ("eth1 ", "net0", "no device can have that name"),
        ("ETH1", "net0", "no such device"),
        ("\ud800", "net0", '"\\ud800" has a lone surrogate, so it is not text'),
        ("\udcff", "net0", '"\\xff" has a lone surrogate, so it is not text'),
        ("eth1", "\ud800", "has a lone surrogate, so it is not text"),
        ("e" * 16, "net0", "no device can have that name"),
        ("e" * 5000, "net0", "no device can have that name"),
        ("lo", "lo", "the kernel never moves it"),
        ("eth1", "a/b", "no valid name"),
        ("eth1", "..", "no valid name"),
        ("eth1", ".", "no valid name"),
        ("eth1", "a\nb", "no valid name"),
        ("eth1", "a\x00b", "no valid name"),
        ("eth1", "n" * 16, "no valid name"),
        ("eth1", "n" * 5000, "no valid name"),
        ("eth1", "%d%d", "is no template"),
        ("eth1", "a%s", "is no template"),
        ("eth1", "all", "no valid name"),
        ("eth1", " ", "no valid name"),
        ("eth1", "lo", "is taken"),
    ],
)  # fmt: skip
def test_names_of_an_attacker(
    host: Namespace, machine: Machine, container: Container, by: str, device: str, name: str, reason: str
) -> None:
    """DESIGN 4.2: no name does anything but be refused, on printable lines, with nothing touched."""
    with Untouched(host):
        done = machine.hook(asked(container, {f"{PREFIX}{device}": name}, by=by), "--allow", "*")
    assert (done.returncode, done.stdout) == (2, "")
    lines = done.stderr.splitlines()
    assert reason in done.stderr
    assert all(line.startswith("netdevns: ") and line.isprintable() for line in lines)
    assert lines[-1] == "netdevns: nothing was touched"
    assert len(machine.hook_log().splitlines()) == len(lines) <= 4
    assert container.namespace.names() == set()


@pytest.mark.sampled(9)
@pytest.mark.parametrize("glob", ["eth1", "eth[12]", "et*"])
@pytest.mark.parametrize("device", ["mv0", "../mv0", "*", "", "x\neth1", "\x00", "e" * 9999])
def test_what_no_glob_is_for(host: Namespace, machine: Machine, container: Container, glob: str, device: str) -> None:
    """DESIGN 4.2: it is as if it were not there: nothing is touched, said, or logged."""
    if device.startswith("e") and glob == "et*":
        device = f"x{device}"
    with Restored(host):
        done = machine.hook(asked(container, {f"{PREFIX}{device}": 7}), "--allow", glob)
    assert (done.returncode, done.stderr, machine.hook_log()) == (0, "", "")


@pytest.mark.sampled(2)
@pytest.mark.parametrize("setting", ["itself", "altname", "lower", "port", "ipv6", "nexthop"])
def test_device_of_a_default_route(host: Namespace, machine: Machine, container: Container, setting: str) -> None:
    """DESIGN 4.2: neither under its own nor under an alternative name, nor from below another one that carries it."""
    device = "eth1"
    if setting == "altname":
        device = "spare"
        host.ip("link property add dev eth1 altname spare")
    if setting == "lower":
        host.ip("route add default via 198.51.100.6 dev mv0")
        device = "wire1"
    elif setting == "port":
        host.batch(["link add br0 type bridge", "link set br0 up", "link set eth1 master br0",
                    "address add 192.0.2.77/24 dev br0", "route add default via 192.0.2.1 dev br0"])  # fmt: skip
    elif setting == "ipv6":
        device = "eth2"
        host.ip("-6 route add default via 2001:db8:2::1 dev eth2")
    elif setting == "nexthop":
        host.batch(["nexthop add id 7 via 192.0.2.1 dev eth1", "route add default nhid 7"])
    else:
        host.ip("route add default via 192.0.2.1 dev eth1")
    with Restored(host):
        done = machine.hook(asked(container, {f"{PREFIX}{device}": "net0"}), "--allow", "*")
    assert done.returncode == 2
    reason = "this is an alternative name of eth1" if setting == "altname" else "no annotation can ask for it"
    assert reason in done.stderr


def test_device_on_top_of_a_default_route(host: Namespace, machine: Machine, container: Container) -> None:
    """DESIGN 4.2: what only lies on the uplink may go: the default route is none of its own."""
    host.ip("route add default via 192.0.2.77 dev wire1 onlink")
    done = machine.hook(asked(container, {f"{PREFIX}mv0": "net0"}), "--allow", "mv*")
    assert (done.returncode, done.stderr) == (0, "")
    assert container.namespace.names() == {"net0"}
    assert "wire1" in host.names()


@pytest.mark.parametrize("source", ["argument", "config.json"])
def test_operator_names_it_too(machine: Machine, host: Namespace, container: Container, source: str) -> None:
    """DESIGN 4.2: what the operator names goes with its default route; an annotation may say the same."""
    host.ip("route add default via 192.0.2.1 dev eth1")
    annotations = {f"{PREFIX}eth1": "net0"}
    container.bundle.write({"eth1": {"name": "net0"}} if source == "config.json" else None, annotations=annotations)
    arguments = ["eth1=net0"] if source == "argument" else []
    done = machine.hook(container.state(annotations=annotations), *arguments, "--allow", "*")
    assert (done.returncode, done.stderr) == (0, "")
    assert container.namespace.names() == {"net0"}


@pytest.mark.parametrize(
    ("arguments", "configured", "state", "config", "line"),
    [
        (["eth1=a"], {}, {"eth1": "b"}, {}, 'eth1: the hook\'s argument says "a", an annotation of the state says "b"'),
        ([], {"eth1": {}}, {"eth1": "b"}, {}, 'eth1: config.json says "eth1", an annotation of the state says "b"'),
        ([], {"eth1": {}}, {}, {"eth1": "b"}, 'eth1: config.json says "eth1", an annotation of config.json says "b"'),
        ([], {}, {"eth1": "a"}, {"eth1": "b"},
         'eth1: an annotation of the state says "a", an annotation of config.json says "b"'),
    ],
    ids=["argument", "config", "own-config", "two-annotations"],
)  # fmt: skip
def test_conflicts(
    host: Namespace,
    machine: Machine,
    container: Container,
    arguments: list[str],
    configured: dict[str, object],
    state: dict[str, str],
    config: dict[str, str],
    line: str,
) -> None:
    """DESIGN 4.2: one device under two names is refused, and the line names both sources."""
    wanted = [{f"{PREFIX}{device}": name for device, name in which.items()} for which in (state, config)]
    container.bundle.write(configured, annotations=wanted[1])
    with Restored(host):
        done = machine.hook(container.state(annotations=wanted[0]), *arguments, "--allow", "eth*")
    assert (done.returncode, done.stderr) == (2, f"netdevns: {line}; give one name\nnetdevns: nothing was touched\n")


def test_two_spellings_of_one_device(host: Namespace, machine: Machine, container: Container) -> None:
    """DESIGN 4.2: bytes that are no text have two spellings in JSON; neither is taken for a device's name."""
    host.ip("link add \udced\udca1\udc80 type ifb")
    with Restored(host):
        for spelling in ("\ud840", "\udced\udca1\udc80"):
            done = machine.hook(
                json.dumps(container.state(annotations={f"{PREFIX}{spelling}": "x"})).encode(), "--allow", "*"
            )
            assert done.returncode == 2
            assert "has a lone surrogate, so it is not text" in done.stderr


@pytest.mark.thorough
def test_thousands(host: Namespace, machine: Machine, container: Container) -> None:
    """DESIGN 4.2: thousands of annotations are one refusal, not thousands of lines of the log."""
    state = asked(container, {f"{PREFIX}eth{i}": "" for i in range(20_000)})
    with Restored(host):
        done = machine.hook(state, "--allow", "eth*")
    assert done.returncode == 2
    assert done.stderr.splitlines()[0].endswith("annotations: 20000 of them name devices; at most 256 may")
    assert len(machine.hook_log().splitlines()) == 2
    done = machine.hook(state, "--allow", "eth1")
    assert (done.returncode, container.namespace.names()) == (0, {"eth1"})


# ---- the process ----------------------------------------------------------------------------------------------------


def test_number_of_another_process(host: Namespace, machine: Machine, container: Container) -> None:
    """S14: where config.json names the namespace, a pid that now belongs to another process is refused."""
    with machine.named_namespace("blue"):
        container.bundle.write({"eth1": {}}, network={"type": "network", "path": "/run/netns/blue"})
        with Restored(host):
            done = machine.hook(container.state())
        assert done.returncode == 2
        assert f"its process {container.pid} is not in the network namespace that config.json names" in done.stderr


def test_zombie(host: Namespace, machine: Machine, container: Container) -> None:
    """S14: a process that has ended and was not waited for has no namespace any more."""
    script = "sh -c 'echo $$; exit' & exec sleep 5"
    with machine.popen(["unshare", "--net", "sh", "-c", script], stdout=-1) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        process.stdout.read(0)
        state = f"/proc/{pid}/stat"
        while open(state).read().rpartition(")")[2].split()[0] != "Z":  # noqa: SIM115
            pass
        with Restored(host):
            done = machine.hook(container.state(pid=pid), "eth1")
        process.terminate()
    assert done.returncode == 2
    assert f"pid:{pid}" in done.stderr


def test_process_of_another_user_namespace(host: Namespace, machine: Machine, container: Container) -> None:
    """S3: a hook without rights over the container's namespace says so, and touches nothing."""
    argv = ["unshare", "--user", "--map-root-user", *NETDEVNS, "hook", "createRuntime", "eth1=net0"]
    with Restored(host):
        done = machine.run(argv, stdin=json.dumps(container.state()).encode())
    assert done.returncode == 2
    assert "nothing was touched" in done.stderr
    assert "Operation not permitted" in done.stderr or "Permission denied" in done.stderr
    assert container.namespace.names() == set()


def test_container_in_a_user_namespace(machine: Machine, container: Container) -> None:
    """S14: the hook of a privileged runtime reaches into the user namespace of its container."""
    with (
        sleeping(machine, "unshare", "--user", "--map-root-user", "--net") as pid,
        opened(f"/proc/{pid}/ns/net", "theirs") as namespace,
    ):
        done = machine.hook(container.state(pid=pid), "eth1=net0")
        assert (done.returncode, done.stderr) == (0, "")
        assert namespace.names() == {"net0"}


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("network", "reason"),
    [
        ({"path": "/run/netns/nope"}, "cannot open the network namespace: No such file or directory"),
        ({"path": "/proc/999999999/ns/net"}, "cannot open the network namespace: No such file or directory"),
        ({"path": "/run/netns/a\ud800"}, "has a lone surrogate, so it is not text"),
        ({"path": "/run/fifo"}, "this is not a namespace; a network namespace is needed"),
        ({"path": "/dev/zero"}, "this is not a namespace; a network namespace is needed"),
        ({"path": "/run"}, "this is not a namespace; a network namespace is needed"),
        ({"path": "/etc/passwd"}, "this is not a namespace; a network namespace is needed"),
        ({"path": "/proc/self/ns/mnt"}, "this is a namespace of another kind; a network namespace is needed"),
        ({"path": "netns/blue"}, 'the path "netns/blue" must be absolute'),
        ({"path": 5}, "the network namespace's path must be a string, not 5"),
    ],
    ids=[
        "absent",
        "no-process",
        "surrogate",
        "fifo",
        "device",
        "folder",
        "file",
        "mount-namespace",
        "relative",
        "type",
    ],
)
def test_path_that_is_no_network_namespace(
    host: Namespace, machine: Machine, container: Container, network: dict[str, object], reason: str
) -> None:
    """S1: a path that cannot be that of the container's namespace is refused at once, and a FIFO is not waited for."""
    machine.run(["mkfifo", "/run/fifo"]).check_returncode()
    container.bundle.write({"eth1": {}}, network={"type": "network"} | network)
    with Restored(host):
        done = machine.hook(container.state())
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 2)
    assert reason in done.stderr


def test_path_of_the_containers_namespace(machine: Machine, container: Container) -> None:
    """S1: paths by which runtimes name the namespace: through a symbolic link, and of a process."""
    machine.run(["ln", "-s", f"/proc/{container.pid}/ns/net", "/run/link"]).check_returncode()
    for device, path in (("eth1", "/run/link"), ("eth2", f"/proc/{container.pid}/ns/net")):
        container.bundle.write({device: {}}, network={"type": "network", "path": path})
        done = machine.hook(container.state())
        assert (done.returncode, done.stderr) == (0, "")
    assert container.namespace.names() == {"eth1", "eth2"}

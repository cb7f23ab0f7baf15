"""examples/go: a Go package with vendored C sources, and its command: all devices arrive, or all is as before."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support import require
from tests.support.attacks import CHANCE
from tests.support.namespaces import Namespace, fresh
from tests.support.readme import snippets
from tests.support.restored import Untouched, assert_equal_soon

pytestmark = pytest.mark.thorough  # only --full installs Go

TOP = Path(__file__).parents[2]
GO = TOP / "examples" / "go"
ENVIRONMENT = os.environ | {
    "GOCACHE": str(TOP / ".cache" / "go"), "GOFLAGS": "", "GOPROXY": "off", "GO111MODULE": "on", "GOTOOLCHAIN": "local",
    "CGO_ENABLED": "1",
}  # fmt: skip
FURNISH = """
    link set lo up
    link add eth1 index 101 type veth peer name peer1 index 201
    link add eth2 index 102 type ifb
    link set peer1 up
    link set eth2 mtu 1400 alias uplink
    link set eth1 up
    link set eth2 up
    addr add 10.1.0.1/24 brd + label eth1:vip dev eth1
    addr add 2001:db8:1::1/64 nodad dev eth1
    addr add 10.2.0.1/24 metric 50 dev eth2
    addr add 10.2.0.2/24 dev eth2
    addr add 10.2.0.3/32 scope host dev eth2
    addr add 2001:db8:2::1/64 nodad preferred_lft 0 dev eth2
"""
MOVED = ["eth1", "eth2=net%d"]
ARRIVED = """\
eth1 -> eth1 (ifindex 101) 10.1.0.1/24 2001:db8:1::1/64
eth2 -> net0 (ifindex 102) 10.2.0.1/24 10.2.0.2/24 2001:db8:2::1/64
"""
# The way back from the target is the third setns: a visit tries the way back, goes, and returns. The source needs none.
WAY_BACK = "setns:error=EPERM:when=3"
# A thread whose way back from the target is refused: the process prints the namespaces of its other threads.
ASTRAY = """
package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"netdevns"
)

func main() {
	_, err := netdevns.Check([]netdevns.Device{{Name: "eth1"}}, os.Args[1])
	fmt.Println(errors.Is(err, syscall.ENOTRECOVERABLE))
	time.Sleep(100 * time.Millisecond) // the thread ends after its goroutine
	tasks, _ := filepath.Glob("/proc/self/task/*/ns/net")
	for _, task := range tasks {
		namespace, _ := os.Readlink(task)
		fmt.Println(namespace)
	}
}
"""
# The start of a container fails, or the process is killed in it; SOURCE TARGET RECORDS fail|kill|recover.
LATE = """
package main

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"netdevns"
)

func main() {
	source, target, records := os.Args[1], os.Args[2], os.Args[3]
	if os.Args[4] == "recover" {
		_, err := netdevns.Recover(records, netdevns.UndoComplete())
		fmt.Println(err)
		return
	}
	failed := errors.New("no such program")
	_, err := netdevns.Move([]netdevns.Device{{Name: "eth1"}, {Name: "eth2", Target: "net%d"}}, target,
		netdevns.From(source), netdevns.Record(records), netdevns.Then(func(moved []netdevns.Moved) error {
			kept, _ := os.ReadDir(records)
			fmt.Println(moved[0].Name, moved[1].Name, len(kept))
			if os.Args[4] == "kill" {
				syscall.Kill(os.Getpid(), syscall.SIGKILL)
			}
			return failed
		}))
	fmt.Println(err == failed)
}
"""


@dataclass(frozen=True)
class Sides:
    """A host with two devices, a target, and a directory for records."""

    program: Path
    host: Namespace
    target: Namespace
    records: Path

    def run(self, *words: str, under: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        """The command, in the host."""
        with self.host.entered():
            argv = [*under, str(self.program), *words]
            return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)

    @property
    def path(self) -> str:
        """A path that names the target in any process."""
        return f"/proc/{os.getpid()}/fd/{self.target.fd}"

    def move(self, **options: Any) -> subprocess.CompletedProcess[str]:
        return self.run("-record", str(self.records), self.path, *MOVED, **options)


@contextlib.contextmanager
def furnished(program: Path, records: Path) -> Iterator[Sides]:
    with fresh("host") as host, fresh("target") as target:
        host.batch(FURNISH)
        host.wait_until_quiet()
        yield Sides(program, host, target, records)


def go(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Runs a tool of Go's, which has nothing to complain of."""
    done = subprocess.run(words, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stderr) == (0, ""), f"{' '.join(words)}\n{done.stdout}{done.stderr}"
    return done


def build(package: Path, name: str, text: str) -> Path:
    """Builds a program that uses the package."""
    folder = package / "cmd" / name
    folder.mkdir()
    (folder / "main.go").write_text(text.lstrip())
    go(package, "go", "build", f"./cmd/{name}")
    return package / name


def strace(inject: str) -> tuple[str, ...]:
    """The words before a command of which one system call is disturbed, counted in each thread for itself."""
    if shutil.which("strace") is None:
        require("compilers", "there is no strace")
    return ("strace", "-f", "-o", "/dev/null", "-e", f"trace={inject.partition(':')[0]}", "-e", f"inject={inject}")


def each_of_many(count: int = 1000) -> range:
    """Numbers of requests to disturb: every second one, from the first or the second on."""
    return range(CHANCE.randrange(1, 3), count + 1, 2)


def requests(sides: Sides, trace: Path) -> int:
    """How many a move sends, by the one thread that does."""
    done = sides.move(under=("strace", "-f", "-o", str(trace), "-e", "trace=sendto"))
    assert done.returncode == 0, done.stderr
    return max(Counter(line.split()[0] for line in trace.read_text().splitlines() if " sendto(" in line).values())


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package, with the C sources that it vendors."""
    if shutil.which("go") is None:
        require("compilers", "there is no go")
    copy = shutil.copytree(GO, tmp_path_factory.mktemp("go") / "netdevns", ignore=shutil.ignore_patterns("*.c", "*.h"))
    go(copy, "./vendor.sh", str(TOP / "csrc"))
    return copy


@pytest.fixture(scope="module")
def program(package: Path) -> Path:
    """The command, built."""
    go(package, "go", "build", "./cmd/netdevns-move")
    return package / "netdevns-move"


@pytest.fixture
def records(tmp_path: Path) -> Path:
    folder = tmp_path / "records"
    folder.mkdir(mode=0o700)
    return folder


@pytest.fixture
def sides(program: Path, records: Path) -> Iterator[Sides]:
    with furnished(program, records) as found:
        yield found


@pytest.mark.exhaustive
@pytest.mark.thorough
@pytest.mark.timeout(600)  # the first build compiles Go's standard library
def test_tools_have_no_complaint(package: Path) -> None:
    """gofmt, go vet and the package's own tests; the program in docs/embedding.md is vetted, too."""
    page = package / "cmd" / "page"
    page.mkdir()
    (page / "main.go").write_text(*snippets("go", TOP / "docs" / "embedding.md"))
    assert go(package, "gofmt", "-l", ".").stdout == ""
    go(package, "go", "vet", "./...")
    go(package, "go", "test", "./...")


def test_all_arrive(sides: Sides) -> None:
    """Each device is in the target, up, with its protected addresses; the command prints them as read back."""
    done = sides.move()
    assert (done.returncode, done.stdout, done.stderr) == (0, ARRIVED, "")
    assert sides.host.names() == {"peer1"}
    for name in ("eth1", "net0"):
        (link,) = sides.target.ip_json(f"link show dev {name}")
        assert "UP" in link["flags"]
    assert (link["mtu"], link["ifalias"]) == (1400, "uplink")
    (shown,) = sides.target.ip_json("addr show dev net0 scope global")
    assert [a["local"] for a in shown["addr_info"]] == ["10.2.0.1", "10.2.0.2", "2001:db8:2::1"]
    assert list(sides.records.iterdir()) == []


def test_clash_is_refused(sides: Sides) -> None:
    """A taken name is found before anything changes, and one line says so."""
    sides.target.ip("link add net0 type ifb")
    with Untouched(sides.host, sides.target):
        done = sides.run(sides.path, "eth1", "eth2=net0")
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(r"netdevns-move: eth2: .*net0.*\n", done.stderr)


def test_check_lists_findings(sides: Sides) -> None:
    """Every reason, not only the first, and nothing changes; -accept takes those that are state."""
    sides.host.ip("route add default via 10.2.0.9")
    sides.target.ip("link add eth1 type ifb")
    with Untouched(sides.host, sides.target):
        done = sides.run("-check", sides.path, *MOVED)
        accepted = sides.run("-check", "-accept", "5", sides.path, "eth2=net0")
    assert (done.returncode, accepted.returncode) == (2, 0), accepted.stderr
    codes = ["name.taken", "device.default-route", "loss.routes"]
    errors = [line for line in codes_of(done) if not line.startswith("loss loss.addresses")]
    assert errors == [f"error {code}:" for code in codes]
    assert codes_of(accepted) == [f"loss {code}:" for code in (*codes[1:], "loss.addresses")]


def codes_of(done: subprocess.CompletedProcess[str]) -> list[str]:
    """Severity and code of each finding."""
    return [" ".join(line.split()[:2]) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("error", ["ENOBUFS", "EPERM"])
def test_failure_restores_all(
    program: Path, records: Path, error: str, show: Callable[[str], None], tmp_path: Path
) -> None:
    """A request cannot be sent: the move fails and says which step it was, and all is as before."""
    ends: Counter[int] = Counter()
    with furnished(program, records) as sides:
        count = requests(sides, tmp_path / "trace")
    for number in each_of_many(count):
        with furnished(program, records) as sides:
            before = sides.host.dump()
            done = sides.move(under=strace(f"sendto:error={error}:when={number}"))
            if done.returncode == 0:  # several look-ups in one request are sent once more, in two halves
                assert (error, sides.target.names()) == ("ENOBUFS", {"eth1", "net0"})
                continue
            ends[done.returncode] += 1
            assert done.returncode in (1, 2), done.stderr
            assert_equal_soon(before, sides.host)
            assert sides.target.names() == set()
            assert list(records.iterdir()) == []
    show(f"Go, a request fails with {error}: {dict(ends)} by exit code, all as before")
    assert ends[1]


def test_undo_that_fails_is_recovered(sides: Sides) -> None:
    """No request from the last ones of a move on can be sent: exit code 3, a line for each device, the record stays."""
    before = sides.host.dump()
    with furnished(sides.program, sides.records) as clean:
        trace = sides.records.parent / "trace"
        assert clean.move(under=("strace", "-f", "-o", str(trace), "-e", "trace=sendto")).returncode == 0
    count = trace.read_text().count("sendto(")
    done = sides.move(under=strace(f"sendto:error=ENOBUFS:when={count - 2}+"))
    assert done.returncode == 3, done.stderr
    first, *others = done.stderr.splitlines()
    assert os.strerror(errno.ENOBUFS) in first
    assert [line.split()[3] for line in others if " not restored: " in line] == ["eth1", "eth2"]
    done = sides.run("-recover", str(sides.records))
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert sides.target.names() == set()
    assert_equal_soon(before, sides.host)
    assert list(sides.records.iterdir()) == []


def test_killed_and_recovered(program: Path, records: Path, show: Callable[[str], None]) -> None:
    """Killed at a request, its devices are restored by another process, or the batch is complete."""
    ends: Counter[str] = Counter()
    for number in each_of_many():
        with furnished(program, records) as sides:
            before = sides.host.dump()
            done = sides.move(under=strace(f"sendto:signal=KILL:when={number}"))
            if done.returncode == 0:
                break  # there are no more
            assert done.returncode == -signal.SIGKILL
            had_begun = bool(sides.target.names())
            done = sides.run("-recover", str(records))
            assert (done.returncode, done.stderr) == (0, ""), done.stdout
            if sides.target.names() == {"eth1", "net0"}:
                ends["complete"] += 1
                assert sides.host.names() == {"peer1"}
            else:
                ends["restored" if had_begun else "as before"] += 1
                assert sides.target.names() == set()
                assert_equal_soon(before, sides.host)
            assert list(records.iterdir()) == []
    show(f"Go, killed at a request and recovered: {dict(ends)}")
    assert ends["restored"]


@pytest.fixture(scope="module")
def late(package: Path) -> Path:
    return build(package, "late", LATE)


def test_failed_start_takes_devices_back(late: Path, sides: Sides) -> None:
    """Then fails: the devices are restored in the namespace of From, and its error is the result."""
    before = sides.host.dump()
    host = f"/proc/{os.getpid()}/fd/{sides.host.fd}"
    with fresh("elsewhere") as elsewhere, elsewhere.entered():
        argv = [late, host, sides.path, sides.records, "fail"]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("eth1 net0 1\ntrue\n", "")
    assert sides.target.names() == set()
    assert list(sides.records.iterdir()) == []
    assert_equal_soon(before, sides.host)


def test_killed_start_is_undone_on_request(late: Path, sides: Sides) -> None:
    """Killed in Then, the batch is complete and stays in the target; UndoComplete restores it."""
    before = sides.host.dump()
    host = f"/proc/{os.getpid()}/fd/{sides.host.fd}"
    argv = [late, host, sides.path, sides.records]
    done = subprocess.run([*argv, "kill"], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, "eth1 net0 1\n")
    assert sides.target.names() == {"eth1", "net0"}
    done = subprocess.run([*argv, "recover"], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("<nil>\n", "")
    assert sides.target.names() == set()
    assert list(sides.records.iterdir()) == []
    assert_equal_soon(before, sides.host)


def test_thread_in_the_wrong_namespace_ends(package: Path, sides: Sides) -> None:
    """ENOTRECOVERABLE: the process goes on, and none of its threads is in the target."""
    argv = [*strace(WAY_BACK), str(build(package, "astray", ASTRAY)), sides.path]
    with sides.host.entered():
        home = os.readlink("/proc/thread-self/ns/net")
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    is_unrecoverable, *namespaces = done.stdout.splitlines()
    assert is_unrecoverable == "true"
    assert set(namespaces) == {home}

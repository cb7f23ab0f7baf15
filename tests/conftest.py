"""What every folder of tests can use: the fixtures `host`, `target` and `show`, and the marker `kinds`."""

from __future__ import annotations

import compileall
import os
import signal
import sys
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from netdevns import JOURNAL_DIR
from tests.support import kinds, require
from tests.support.attacks import CHANCE, LONG
from tests.support.namespaces import GRAVES, Namespace, current, fresh, setns
from tests.support.require import required

DESELECTED = pytest.StashKey[set[str]]()  # the kinds


# By a number of the test; the third is of the half.
PARTS: dict[str, Callable[[int], bool]] = {
    "all": lambda _: True,
    "half": lambda number: number % 2 == 0,
    "other-half": lambda number: number % 2 == 1,
    "third": lambda number: number % 6 in (0, 2),
}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--each", type=int, default=1, metavar="N", help="smoke, and each N-th of the other tests")
    parser.addoption("--part", choices=PARTS, default="all", help="of the tests")


def pytest_configure(config: pytest.Config) -> None:
    # A shell starts what runs in its background with SIGINT ignored, nohup with SIGHUP, and programs inherit that:
    # tests send both.
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, handler)
    config.stash[DESELECTED] = set()
    # Tests count the system calls of one command, to disturb those of the next: the first one of a fresh checkout would
    # make more of them, to compile the modules.
    compileall.compile_dir(Path(__file__).parents[1] / "netdevns", quiet=2)


@pytest.fixture(autouse=True)
def same_signals() -> Iterator[None]:
    """A command that is called in this process holds signals back for what is left of its own."""
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    yield
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)


@pytest.fixture(autouse=True)
def same_chance(request: pytest.FixtureRequest) -> None:
    """What chance decides in a test does not depend on the tests that ran before it in this process."""
    if not LONG:
        CHANCE.seed(zlib.crc32(request.node.nodeid.encode()))


@pytest.fixture(autouse=True, scope="module")
def no_records() -> None:
    """No test comes upon a record, a loan or a log that another module's left in this process.

    Only where /run is the tests' own: elsewhere what is there is an operator's. The folders stay: a command that has to
    make them makes other calls, and tests count those of one for the next.
    """
    if "NETDEVNS_OWN_RUN" in os.environ:
        for path in Path(JOURNAL_DIR).glob("**/*"):
            if not path.is_dir():
                path.unlink()


def _lacks(item: pytest.Item) -> set[str]:
    """The kinds that a test needs and this kernel does not have."""
    wanted = tuple(name for marker in item.iter_markers("kinds") for name in marker.args)
    return kinds.missing(wanted) if wanted else set()


def _is_of_the_other_runtime(item: pytest.Item) -> bool:
    """Of a test of each runtime one is the default: of half of the tests the one, of half the other."""
    name = item.nodeid.partition("[")[0]
    given = getattr(item, "callspec", None)
    used = {"runtime", "podman"} & given.params.keys() if given else set()
    other = ("runc", "crun")[zlib.crc32(name.encode()) % 2]
    return any(given.params[each] == other for each in used)


def _spread(items: list[pytest.Item], n: int) -> set[pytest.Item]:
    """One item in n, rounded up, such that each value of a parameter is in as many of them as the others, if possible.

    Each n-th would always have the same value of a parameter that alternates.
    """
    if n == 1:
        return {*items}
    values = {item: [*_parameters(item)] for item in items}
    chosen: set[pytest.Item] = set()
    used: Counter[tuple[str, str]] = Counter()
    for _ in range(-(-len(items) // n)):
        one = min((item for item in items if item not in chosen), key=lambda item: sum(used[v] for v in values[item]))
        chosen.add(one)
        used.update(values[one])
    return chosen


def _parameters(item: pytest.Item) -> Iterator[tuple[str, str]]:
    given = getattr(item, "callspec", None)
    for name, value in given.params.items() if given else ():
        yield name, repr(value)


def _sample(items: list[pytest.Item]) -> None:
    """Marks what is left out of tests that are marked `sampled` or `smoke`, and of those of each runtime."""
    by_test: dict[str, list[pytest.Item]] = {}
    for item in items:
        by_test.setdefault(item.nodeid.partition("[")[0], []).append(item)
    for same in by_test.values():
        sampled, smoke = (same[0].get_closest_marker(name) for name in ("sampled", "smoke"))
        default, full = (*sampled.args, -(-sampled.args[0] // 2))[:2] if sampled else (1, 1)  # half, rounded up
        candidates = [item for item in same if not item.get_closest_marker("exhaustive")]
        for item in {*candidates} - _spread(candidates, full):
            item.add_marker("exhaustive")
        for item in same:
            if item.get_closest_marker("exhaustive") or _is_of_the_other_runtime(item):
                item.add_marker("thorough")
        quick = [item for item in same if not item.get_closest_marker("thorough")]
        for item in {*quick} - _spread(quick, default):
            item.add_marker("thorough")
        if smoke:
            for item in {*same} - _spread(same, (*smoke.args, 1)[0]):
                item.own_markers.remove(smoke)


@pytest.hookimpl(tryfirst=True)  # before -m is looked at
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A test of a device kind that this kernel lacks runs on another: it is deselected, not skipped."""
    _sample(items)
    if hasattr(config, "workerinput"):
        # One of several processes, each with another part at a time: what waits for the kernel beside what computes.
        items.sort(key=lambda item: zlib.crc32(item.nodeid.partition("::")[0].encode()))
    here, elsewhere = [], []
    native = os.environ.get("NETDEVNS_ENGINE", "native") == "native"
    each, is_of_part = config.getoption("each"), PARTS[config.getoption("part")]
    for item in items:
        number = zlib.crc32(item.nodeid.encode())
        is_chosen = item.get_closest_marker("smoke") or number % each == 0
        is_chosen = is_chosen and is_of_part(number)
        if not is_chosen or (not native and item.get_closest_marker("native")):
            elsewhere.append(item)
            continue
        lacks = _lacks(item)
        if lacks and kinds.offered() and not (lacks & kinds.REQUIRED and required("kinds")):
            elsewhere.append(item)
            config.stash[DESELECTED] |= lacks
        else:
            here.append(item)
    if elsewhere:
        config.hook.pytest_deselected(items=elsewhere)
        items[:] = here


def pytest_runtest_setup(item: pytest.Item) -> None:
    lacks = _lacks(item)
    if lacks and kinds.offered():
        require("kinds", f"this kernel has no {', '.join(sorted(lacks))}")


def pytest_sessionfinish(session: pytest.Session) -> None:
    GRAVES.close()
    if hasattr(session.config, "workeroutput"):  # one of several processes
        session.config.workeroutput["deselected"] = sorted(session.config.stash[DESELECTED])


def pytest_unconfigure() -> None:
    compilers = sys.modules.get("tests.csrc.compilers")
    if compilers:  # at its end, one of several processes runs nothing that was left for it
        compilers.scratch.cleanup()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:  # noqa: ARG001  # the hook's arguments
    node.config.stash[DESELECTED].update(getattr(node, "workeroutput", {}).get("deselected", ()))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for report in (each for reports in terminalreporter.stats.values() for each in reports):
        if getattr(report, "when", "") == "teardown":
            for line in (value for key, value in report.user_properties if key == "counted"):
                terminalreporter.write_line(line)
    lacks = config.stash[DESELECTED]
    if lacks:
        terminalreporter.write_line(
            f"device kinds that Linux {os.uname().release} lacks here: {', '.join(sorted(lacks))}; "
            "their tests are deselected, tools/kernels runs them on other kernels"
        )


@pytest.fixture
def show(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Shows a line with what a test counted at the end of the run."""
    return lambda line: record_property("counted", line)


@pytest.fixture
def host() -> Iterator[Namespace]:
    """A fresh network namespace that the test's thread is in: the source."""
    with fresh("host") as namespace:
        home = current()
        setns(namespace.fd)
        try:
            yield namespace
        finally:
            setns(home)
            os.close(home)
            GRAVES.take(namespace)


@pytest.fixture
def target() -> Iterator[Namespace]:
    """A fresh network namespace: the container's."""
    with fresh("target") as namespace:
        yield namespace
        GRAVES.take(namespace)

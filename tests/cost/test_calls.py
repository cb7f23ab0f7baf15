"""The system calls of a move, exactly: for one device and for ten, UP with two IPv4 addresses each, with a record and
without. The numbers of today are here, so that none is added unseen.
"""

from __future__ import annotations

import functools
import struct
from collections import Counter

import pytest

from tests.support import kinds, rawdump
from tests.support.namespaces import fresh

from . import trace
from .shown import by_name
from .source import Source
from .trace import ENGINES, FURTHER

# A move of one device.
ONE = Counter(
    bind=3, close=7, fcntl=1, getsockname=2, ioctl=2, newfstatat=2, openat=3, read=1, readlink=1, recvmmsg=16,
    rt_sigprocmask=2, sendto=15, setns=3, setsockopt=9, socket=3,
)  # fmt: skip
# Excluding other movers: which devices they are, the folder, and for source and target a file, lock, pid, unlock.
EXCLUSION = Counter(close=3, fcntl=4, geteuid=3, getpid=2, newfstatat=5, openat=3, pwrite64=2, recvmmsg=1, sendto=1)
EXCLUSION_OF_TEN = Counter({FURTHER: 1})
SHIELD = Counter(rt_sigprocmask=3)  # a library call: no signal handler strikes once all has arrived
EACH_MORE = Counter(recvmmsg=2, sendto=2)  # for each device more: move, replay
SEVERAL = Counter(recvmmsg=2, sendto=2)  # a batch of several: all links down in one send; links apart from addresses
OF_TEN = Counter({FURTHER: 3})  # ten devices: three look-ups of all of them have more answers than a burst has room
RECORD = Counter(
    close=5, fcntl=3, flock=1, getdents64=2, geteuid=2, getpid=1, getrandom=1, getsockopt=2, linkat=1, lseek=1,
    newfstatat=7, openat=4, read=1, unlink=1, write=1,
)  # fmt: skip
REFERENCE = Counter(rt_sigprocmask=1)  # that engine besides: it reads the mask before it sets it

# Attributes that a kernel leaves out of its dumps, and the calls that ask for them then.
ASKS_IMMUTABLE, ASKS_IMMUTABLE_OF_TEN = Counter(recvmmsg=1, sendto=1), Counter({FURTHER: 1})  # before 6.15
ASKS_TOKENS = Counter(recvmmsg=1, sendto=1)  # 5.10: not with the links
RENAMES_APART = Counter(recvmmsg=1, sendto=1)  # of each device, before 5.13: the ifindex cannot be asked for

PER_DEVICE = {"native": 12, "reference": 24}  # system calls, all included: promised

IFLA_AF_SPEC, IFLA_EXT_MASK, IFLA_NETNS_IMMUTABLE, IFLA_INET6_TOKEN, AF_INET6 = 26, 29, 67, 7, 10
SKIP_STATS = 1 << 3


@functools.cache
def dump_has() -> tuple[bool, bool]:
    """Whether a link dump without statistics has IFLA_NETNS_IMMUTABLE and IFLA_INET6_TOKEN. Tried."""
    head = struct.pack("=BxHiII", 0, 0, 0, 0, 0)
    with fresh("scratch") as scratch:
        scratch.ip("link add probe type ifb")
        with scratch.socket() as socket:
            asked = head + rawdump.attribute(IFLA_EXT_MASK, struct.pack("=I", SKIP_STATS))
            found = dict(rawdump.attributes([*socket.dump(rawdump.RTM_NEWLINK, asked)][-1], len(head)))
    families = dict(rawdump.attributes(found[IFLA_AF_SPEC], 0))
    return IFLA_NETNS_IMMUTABLE in found, IFLA_INET6_TOKEN in dict(rawdump.attributes(families[AF_INET6], 0))


def expected(engine: str, count: int, *, record: bool) -> Counter[str]:
    calls = ONE + EXCLUSION + SHIELD
    for _ in range(count - 1):
        calls += EACH_MORE
    calls += SEVERAL if count > 1 else Counter()
    calls += OF_TEN + EXCLUSION_OF_TEN if count == 10 else Counter()
    calls += REFERENCE if engine == "reference" else Counter()
    calls += RECORD if record else Counter()
    if not trace.random_is_a_call():
        del calls[trace.RANDOM]
    has_immutable, has_token = dump_has()
    if not has_immutable:
        calls += ASKS_IMMUTABLE + (ASKS_IMMUTABLE_OF_TEN if count == 10 else Counter())
    calls += Counter() if has_token else ASKS_TOKENS
    if not kinds.honours_new_ifindex():
        for _ in range(count):
            calls += RENAMES_APART
    return calls


@functools.cache
def calls(engine: str, count: int, record: bool) -> tuple[Counter[str], Counter[str]]:
    """Of the first and of the second move of a process."""
    trace.need_strace()
    first, later = trace.costs(Source(batches=(count, count)), engine, journal=record)
    return first.calls, later.calls


@pytest.mark.parametrize("record", [False, True], ids=["without", "record"])
@pytest.mark.parametrize("count", [1, 10])
@pytest.mark.parametrize("engine", ENGINES)
def test_calls_are_those_of_the_table(engine: str, count: int, record: bool) -> None:
    """Each call of a move is one that is known, in the first move of a process and in a later one."""
    first, later = calls(engine, count, record)
    should = [expected(engine, count, record=record)] * 2
    columns = {"expected": should[0], "first": first, "expected later": should[1], "later": later}
    text = f"{engine}, {count} devices, record {record}; the table at the top of this file is to be adapted:\n"
    assert [first, later] == should, text + by_name(columns)
    print(f"\n{text}{by_name(columns)}")


@pytest.mark.parametrize("record", [False, True], ids=["without", "record"])
@pytest.mark.parametrize("engine", ENGINES)
def test_calls_for_each_device_are_within_the_bound(engine: str, record: bool) -> None:
    """Steady: what nine devices more cost, looking-up, dumps and all included."""
    one, ten = calls(engine, 1, record), calls(engine, 10, record)
    for which in (0, 1):
        slope = (ten[which].total() - one[which].total()) / 9
        assert slope <= PER_DEVICE[engine], by_name({"1 device": one[which], "10 devices": ten[which]})
        print(f"\n{engine}: {slope:.2f} system calls a device, {one[which].total() - slope:.1f} a batch")

"""A batch of devices, moved by both engines of netdevns, `ip -batch` and pyroute2, in alternating rounds; system calls.

Run by tools/bench inside fresh namespaces. CPU time is that of the process and of those that it starts, kernel time
included; what is imported before the clock starts does not count, as in a runtime that embeds it. netdevns' checks and
its reading back count; the others check nothing. `ip` needs one process for each namespace, and is given the list of
the addresses. Each one's work is verified by `ip -j` afterwards, and one that lost something is thrown out.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

from tests.support.namespaces import Namespace

Times = tuple[float, float]  # wall and CPU, seconds


Run = Callable[[], None]
Prepare = Callable[[Namespace, int], Run]  # imports what is needed; the clock runs for what it returns


def addresses(n: int) -> list[str]:
    return [f"10.{k}.{n // 250}.{n % 250 + 1}/24" for k in (1, 2)]


def furnish(host: Namespace, count: int) -> None:
    """UP devices with two IPv4 addresses each."""
    lines = []
    for n in range(count):
        lines.append(f"link add d{n} type ifb")
        lines.append(f"link set d{n} up")
        lines += [f"addr add {address} brd + dev d{n}" for address in addresses(n)]
    host.batch(lines)


def netdevns_with(engine: str) -> Prepare:
    """One engine of netdevns, embedded."""

    def prepare(target: Namespace, count: int) -> Run:
        os.environ["NETDEVNS_ENGINE"] = engine
        from netdevns import Moved, move  # both now: names are loaded on first use

        def run() -> None:
            moved = move({f"d{n}": f"net{n}" for n in range(count)}, target.fd)
            assert all(isinstance(m, Moved) for m in moved)

        return run

    return prepare


def ip_batch(target: Namespace, count: int) -> Run:
    def run() -> None:
        away = [f"link set dev d{n} netns /proc/{os.getpid()}/fd/{target.fd} name net{n}" for n in range(count)]
        there = []
        for n in range(count):
            there += [f"addr add {address} brd + dev net{n}" for address in addresses(n)]
            there.append(f"link set net{n} up")
        for command, lines in ((["ip"], away), (["nsenter", f"--net={target.path}", "ip"], there)):
            text = "\n".join(lines) + "\n"
            subprocess.run([*command, "-batch", "-"], input=text, text=True, check=True, pass_fds=[target.fd])

    return run


def pyroute2(target: Namespace, count: int) -> Run:
    """As its documentation has it: link_lookup, get_addr, link("set", net_ns_fd=...), a NetNS for the other side."""
    from pyroute2 import IPRoute, NetNS

    def run() -> None:
        with IPRoute() as here, NetNS(f"/proc/{os.getpid()}/fd/{target.fd}") as there:
            for n in range(count):
                (index,) = here.link_lookup(ifname=f"d{n}")
                found = list(here.get_addr(index=index, scope=0))
                here.link("set", index=index, net_ns_fd=target.fd, ifname=f"net{n}")
                (index,) = there.link_lookup(ifname=f"net{n}")
                for a in found:
                    local, broadcast = a.get_attr("IFA_LOCAL"), a.get_attr("IFA_BROADCAST")
                    there.addr("add", index=index, address=local, prefixlen=a["prefixlen"], broadcast=broadcast)
                there.link("set", index=index, state="up")

    return run


CONTESTANTS: dict[str, Prepare] = {
    "native": netdevns_with("native"),
    "reference": netdevns_with("reference"),
    "ip -batch": ip_batch,
    "pyroute2": pyroute2,
}


def complete(target: Namespace, count: int) -> bool:
    found = {
        link["ifname"]: (
            "UP" in link["flags"],
            [(a["local"], a["prefixlen"], a.get("broadcast")) for a in link["addr_info"] if a["family"] == "inet"],
        )
        for link in target.ip_json("addr show")
    }
    return all(
        found.get(f"net{n}")
        == (True, [(f"10.{k}.{n // 250}.{n % 250 + 1}", 24, f"10.{k}.{n // 250}.255") for k in (1, 2)])
        for n in range(count)
    )


def cpu_time() -> float:
    """Seconds so far, of this process and of those that it started and that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def measured(name: str, count: int) -> Times | None:
    """One round: None if the contestant lost something."""
    with Namespace.create("host") as host, Namespace.create("target") as target, host.entered():
        furnish(host, count)
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                run = CONTESTANTS[name](target, count)
                start, cpu = time.perf_counter(), cpu_time()
                run()
                os.write(write, f"{time.perf_counter() - start} {cpu_time() - cpu}".encode())
                code = 0
            finally:
                os._exit(code)
        os.close(write)
        told = os.read(read, 128).split()
        os.close(read)
        _, status = os.waitpid(pid, 0)
        if status or not complete(target, count):
            return None
        return float(told[0]), float(told[1])


def race(count: int, rounds: int) -> dict[str, object]:
    times: dict[str, list[Times]] = {name: [] for name in CONTESTANTS}
    lost: dict[str, int] = dict.fromkeys(CONTESTANTS, 0)
    for _ in range(rounds):
        for name in CONTESTANTS:
            got = measured(name, count)
            if got is None:
                lost[name] += 1
            else:
                times[name].append(got)
    return {
        "devices": count,
        "rounds": rounds,
        "thrown_out": lost,
        "wall_ms_per_device": {k: round(statistics.median(w for w, _ in v) * 1e3 / count, 3) for k, v in times.items()},
        "cpu_us_per_device": {k: round(statistics.median(c for _, c in v) * 1e6 / count, 1) for k, v in times.items()},
        "wall_ratio": {f"{a} / {b}": ratio(times[a], times[b], 0) for a, b in PAIRS},
        "cpu_ratio": {f"{a} / {b}": ratio(times[a], times[b], 1) for a, b in PAIRS},
    }


PAIRS = [(ours, theirs) for theirs in ("ip -batch", "pyroute2") for ours in ("native", "reference")]


def ratio(ours: list[Times], theirs: list[Times], which: int) -> float | None:
    """The median of the ratios of the rounds; None: one of the two was thrown out each time."""
    ratios = [a[which] / b[which] for a, b in zip(ours, theirs, strict=False)]
    return round(statistics.median(ratios), 3) if ratios else None


# A process that does nothing but one move; what an empty batch costs is start-up.
CHILD = """
import sys
import netdevns
devices, target, journal = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3] or None
netdevns.move, netdevns.Moved  # loaded on first use
import os
try:
    os.stat("/netdevns-mark")
except FileNotFoundError:
    netdevns.move({f"d{n}": f"net{n}" for n in range(devices)}, target, journal=journal)
"""


def system_calls(count: int, *, record: bool = False) -> dict[str, int]:
    """The calls of one move, by strace: those behind the mark, an stat of a file that is not there."""
    with Namespace.create("host") as host, Namespace.create("target") as target, host.entered():
        furnish(host, count)
        host.wait_until_quiet()  # an address that is no longer tentative would be written into the record
        with tempfile.NamedTemporaryFile("r") as trace, tempfile.TemporaryDirectory() as directory:
            os.mkdir(f"{directory}/txn", 0o700)
            words = [str(count), str(target.fd), directory if record else ""]
            command = ["strace", "-o", trace.name, sys.executable, "-c", CHILD, *words]
            subprocess.run(command, check=True, pass_fds=[target.fd], env={**os.environ, "PYTHONPATH": os.getcwd()})
            lines = trace.read().splitlines()
    mark = next(i for i, line in enumerate(lines) if "/netdevns-mark" in line)
    calls: dict[str, int] = {}
    for line in lines[mark + 1 :]:
        name = line.split("(", 1)[0]
        if line.startswith(("rt_sigaction", "exit_group", "+++")):
            break
        if name not in ("brk", "mmap", "munmap"):  # the allocator's, which come and go
            calls[name] = calls.get(name, 0) + 1
    return calls


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    one, ten, recorded = system_calls(1), system_calls(10), system_calls(10, record=True)
    report = {
        "kernel": os.uname().release,
        "system_calls": {
            "1 device": one,
            "10 devices": ten,
            "sum_1": sum(one.values()),
            "sum_10": sum(ten.values()),
            "per_device": round((sum(ten.values()) - sum(one.values())) / 9, 1),
            "record": sum(recorded.values()) - sum(ten.values()),
        },
        "batch": race(args.devices, args.rounds),
    }
    print(json.dumps(report, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())

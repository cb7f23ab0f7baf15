"""A batch of devices, moved by netdevns and by `ip -batch`, in alternating rounds; and netdevns' system calls.

Run by tools/bench inside fresh namespaces. CPU time is that of the call (netdevns) and of the two processes (ip),
kernel time included. Each one's work is verified by `ip -j` afterwards, and one that lost something is thrown out.
netdevns is imported before the clock starts, as in a runtime that embeds it; its checks and its reading back count.
`ip` needs one process for each namespace, and a list of the addresses, which it is given; it checks nothing.
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

from netdevns import Moved  # both now: names are loaded on first use
from netdevns import move as move_devices
from tests.support.namespaces import Namespace

Times = tuple[float, float]  # wall and CPU, seconds


def furnish(host: Namespace, count: int) -> None:
    """UP devices with two IPv4 addresses each."""
    lines = []
    for n in range(count):
        lines.append(f"link add d{n} type ifb")
        lines.append(f"link set d{n} up")
        lines += [f"addr add 10.{k}.{n // 250}.{n % 250 + 1}/24 brd + dev d{n}" for k in (1, 2)]
    host.batch(lines)


def move(host: Namespace, target: Namespace, count: int) -> None:
    del host  # this process is in it
    moved = move_devices({f"d{n}": f"net{n}" for n in range(count)}, target.fd)
    assert all(isinstance(m, Moved) for m in moved)


def ip_batch(host: Namespace, target: Namespace, count: int) -> None:
    del host
    away = [f"link set dev d{n} netns /proc/{os.getpid()}/fd/{target.fd} name net{n}" for n in range(count)]
    there = []
    for n in range(count):
        there += [f"addr add 10.{k}.{n // 250}.{n % 250 + 1}/24 brd + dev net{n}" for k in (1, 2)]
        there.append(f"link set net{n} up")
    for command, lines in ((["ip"], away), (["nsenter", f"--net={target.path}", "ip"], there)):
        text = "\n".join(lines) + "\n"
        subprocess.run([*command, "-batch", "-"], input=text, text=True, check=True, pass_fds=[target.fd])


CONTESTANTS: dict[str, Callable[[Namespace, Namespace, int], None]] = {"netdevns": move, "ip -batch": ip_batch}


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


def cpu_time(name: str) -> float:
    """Seconds so far: of this process, or of the processes that it started and that have ended."""
    used = resource.getrusage(resource.RUSAGE_SELF if name == "netdevns" else resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measured(name: str, count: int) -> Times | None:
    """One round: None if the contestant lost something."""
    with Namespace.create("host") as host, Namespace.create("target") as target, host.entered():
        furnish(host, count)
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                start, cpu = time.perf_counter(), cpu_time(name)
                CONTESTANTS[name](host, target, count)
                os.write(write, f"{time.perf_counter() - start} {cpu_time(name) - cpu}".encode())
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
    ours, theirs = times["netdevns"], times["ip -batch"]
    paired = list(zip(ours, theirs, strict=False))
    return {
        "devices": count,
        "rounds": rounds,
        "thrown_out": lost,
        "wall_ms_per_device": {k: round(statistics.median(w for w, _ in v) * 1e3 / count, 3) for k, v in times.items()},
        "cpu_us_per_device": {k: round(statistics.median(c for _, c in v) * 1e6 / count, 1) for k, v in times.items()},
        "wall_ratio": round(statistics.median(a[0] / b[0] for a, b in paired), 3),
        "cpu_ratio": round(statistics.median(a[1] / b[1] for a, b in paired), 3),
    }


# A process that does nothing but one move; what an empty batch costs is start-up.
CHILD = """
import sys
import netdevns
devices, target = int(sys.argv[1]), int(sys.argv[2])
netdevns.move, netdevns.Moved  # loaded on first use
import os
try:
    os.stat("/netdevns-mark")
except FileNotFoundError:
    netdevns.move({f"d{n}": f"net{n}" for n in range(devices)}, target)
"""


def system_calls(count: int) -> dict[str, int]:
    """The calls of one move, by strace: those behind the mark, an stat of a file that is not there."""
    with Namespace.create("host") as host, Namespace.create("target") as target, host.entered():
        furnish(host, count)
        with tempfile.NamedTemporaryFile("r") as trace:
            command = ["strace", "-o", trace.name, sys.executable, "-c", CHILD, str(count), str(target.fd)]
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
    one, ten = system_calls(1), system_calls(10)
    report = {
        "kernel": os.uname().release,
        "system_calls": {
            "1 device": one,
            "10 devices": ten,
            "sum_1": sum(one.values()),
            "sum_10": sum(ten.values()),
            "per_device": round((sum(ten.values()) - sum(one.values())) / 9, 1),
        },
        "batch": race(args.devices, args.rounds),
    }
    print(json.dumps(report, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())

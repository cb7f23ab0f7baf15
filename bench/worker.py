"""A contestant in Python: a process that prepares itself, prints `ready`, waits for the start, and prints its time.

    python bench/worker.py [--now] JOB [OPTION...] [--warm FD,NAME,...] TARGET_FDS OLD=NEW ...

The protocol, also that of floor.c, launch.c and bench/go: `ready` on stdout; a line on stdin starts the job; the answer
is one line of JSON, {"wall_s": .., "cpu_s": ..}, around the job only; end of file on stdin ends the process. What went
wrong is on stderr, with an exit code that is not 0. --now: the job at once, and no answer: a whole process is measured.
--warm: before it is ready, it moves these devices to another namespace: a job then is not the process's first.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import time
from collections.abc import Callable

Names = dict[str, str]
Run = Callable[[], object]


def move(args: argparse.Namespace, names: Names) -> Run:
    """netdevns, embedded. Modules loaded on first use are imported before, except for `first`, the first move."""
    import netdevns

    if args.first:
        return lambda: netdevns.move(names, args.targets[0], journal=args.journal)
    from netdevns import Moved, move

    def run() -> None:
        moved = move(names, args.targets[0], journal=args.journal)
        assert all(isinstance(m, Moved) for m in moved)

    return run


def check(args: argparse.Namespace, names: Names) -> Run:
    from netdevns import check

    def run() -> None:
        assert check(names, args.targets[0]).ok

    return run


def rollback(args: argparse.Namespace, names: Names) -> Run:
    """A move that is interrupted when the last device has its addresses: all must come back."""
    from netdevns.api import transact

    def interrupt(step: str, done: int, of: int) -> None:
        if step == "replay" and done == of:
            raise KeyboardInterrupt

    def run() -> None:
        try:
            transact(names, args.targets[0], journal=args.journal, results=True, on_step=interrupt)
        except KeyboardInterrupt:
            return
        raise AssertionError("the move was not interrupted")

    return run


def threads(args: argparse.Namespace, names: Names) -> Run:
    """Moves each device in a thread, to a target of its own."""
    from concurrent.futures import ThreadPoolExecutor

    from netdevns import move

    pool = ThreadPoolExecutor(len(names))
    list(pool.map(time.sleep, [0.01] * len(names)))  # the threads exist now

    def run() -> None:
        jobs = [
            pool.submit(move, {old: new}, fd, journal=args.journal)
            for (old, new), fd in zip(names.items(), args.targets, strict=True)
        ]
        for job in jobs:
            job.result()

    return run


def pyroute2(args: argparse.Namespace, names: Names) -> Run:
    """pyroute2 as documented: link_lookup, get_addr, link("set", net_ns_fd=...), a NetNS for the target."""
    from socket import AF_INET, AF_INET6

    from pyroute2 import IPRoute, NetNS  # type: ignore[import-untyped, unused-ignore]

    target = args.targets[0]

    def run() -> None:
        with IPRoute() as here, NetNS(f"/proc/{os.getpid()}/fd/{target}") as there:
            for old, new in names.items():
                (index,) = here.link_lookup(ifname=old)
                found = list(here.get_addr(index=index, scope=0))
                here.link("set", index=index, net_ns_fd=target, ifname=new)
                (index,) = there.link_lookup(ifname=new)
                for a in found:
                    if a["family"] == AF_INET:
                        local, extra = a.get_attr("IFA_LOCAL"), {}
                        if broadcast := a.get_attr("IFA_BROADCAST"):
                            extra["broadcast"] = broadcast
                        there.addr("add", index=index, address=local, prefixlen=a["prefixlen"], **extra)
                there.link("set", index=index, state="up")
                for a in reversed([a for a in found if a["family"] == AF_INET6]):  # the kernel lists new ones first
                    local, flags = a.get_attr("IFA_ADDRESS"), 0x02  # IFA_F_NODAD: usable at once
                    there.addr("add", index=index, address=local, prefixlen=a["prefixlen"], flags=flags)

    return run


def nothing(args: argparse.Namespace, names: Names) -> Run:  # noqa: ARG001
    """The time of a bare Python."""
    return lambda: None


JOBS = {job.__name__: job for job in (move, check, rollback, threads, pyroute2, nothing)}


def cpu_times() -> tuple[float, float]:
    """User and system seconds of this process and of its ended children."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime for each in used), sum(each.ru_stime for each in used)


def peak_kib() -> int:
    """The peak memory of this process; ru_maxrss would include the parent's before the exec."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM:"))


def parsed(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench/worker.py", description=__doc__)
    parser.add_argument("--now", action="store_true")
    parser.add_argument("job", choices=JOBS)
    parser.add_argument("--journal")
    parser.add_argument("--first", action="store_true", help="load nothing of netdevns before the job")
    parser.add_argument("--warm", metavar="FD,NAME,...", help="move these devices there before the job")
    parser.add_argument("targets", type=lambda text: [int(fd) for fd in text.split(",")], metavar="TARGET_FDS")
    parser.add_argument("devices", nargs="*", metavar="OLD=NEW")
    return parser.parse_args(argv)


def main() -> int:
    args = parsed(sys.argv[1:])
    if args.warm:
        fd, *names = args.warm.split(",")
        mover = pyroute2 if args.job == pyroute2.__name__ else move
        mover(argparse.Namespace(**{**vars(args), "targets": [int(fd)]}), {name: name for name in names})()
    run = JOBS[args.job](args, dict(device.split("=") for device in args.devices))
    if args.now:
        run()
        return 0
    print("ready", flush=True)
    if not sys.stdin.readline():
        return 0
    user, system = cpu_times()
    start = time.monotonic()
    run()
    wall = time.monotonic() - start
    user, system = (after - before for after, before in zip(cpu_times(), (user, system), strict=True))
    times = {"wall_s": wall, "cpu_s": user + system, "user_s": user, "system_s": system, "max_rss_kib": peak_kib()}
    print(json.dumps(times), flush=True)
    sys.stdin.read()
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""What guest kernels have in common: the job that tools/kernel-init is given there, and the watch over their output."""

import collections
import os
import re
import selectors
import shlex
import sys
import time

TIMED_OUT, BROKEN, INTERRUPTED = 124, 125, 130
LAST_LINES = 60  # of the console: the registers and the call trace of a panic


def environment():
    """Returns what a command in a guest gets to know of this machine's environment."""
    found = {k: v for k, v in os.environ.items() if re.match("(HOME|USER|LANG|LC_ALL)$|NETDEVNS_", k)}
    found["NETDEVNS_OWN_RUN"] = "yes"  # for tests: an empty one
    found["PATH"] = os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"
    found["TERM"] = os.environ.get("TERM", "dumb") if sys.stdout.isatty() else "dumb"  # dumb: no colours, please
    return found


def job(top, modprobe, tty, variables, command):
    """Returns what kernel-init needs to know, as bytes of shell text.

    `tty`: the guest's device for the command's output. `variables`: the command's environment.
    """
    words = [f"{k}={v}" for k, v in variables.items()] + command
    settings = {"TOP": str(top), "MODPROBE": str(modprobe), "TTY": tty}
    lines = [f"{name}={shlex.quote(value)}\n" for name, value in settings.items()]
    return os.fsencode("".join(lines) + f'run() {{ cd "$TOP" && exec env -i {shlex.join(words)}; }}\n')


class Output:
    """Copies bytes to a stream: as they come, or, with a prefix, in whole lines, so that guests can share it."""

    def __init__(self, stream, prefix):
        self.stream, self.prefix, self.held = stream.buffer, prefix.encode(), b""

    def write(self, data, last=False):
        if self.prefix:
            *lines, self.held = (self.held + data + b"\n" * (last and self.held != b"")).split(b"\n")
            data = b"".join(self.prefix + line + b"\n" for line in lines)
        self.stream.write(data)
        self.stream.flush()


def watch(guest, console, tty, prefix, timeout):
    """Copies a guest's output until it ends or its time is up.

    Returns (the kernel's release, exit status, what that means, the kernel's last lines): the lines are "" unless the
    guest broke, and have been shown. `guest`: its Popen. `console`, `tty`: what the kernel and what the command write.
    `prefix`: of each line, or "".
    """
    out, messages = Output(sys.stdout, prefix), Output(sys.stderr, prefix + "kernel: ")
    deadline, ended, pidfd = time.monotonic() + timeout, False, os.pidfd_open(guest.pid)
    release, code, panic, rest, tail = "", None, b"", b"", collections.deque(maxlen=LAST_LINES)
    with selectors.DefaultSelector() as selector:
        for fd in (console, tty, pidfd):
            os.set_blocking(fd, False)
            selector.register(fd, selectors.EVENT_READ)
        while not ended and time.monotonic() < deadline:
            ready = {key.fd for key, _ in selector.select(deadline - time.monotonic())}
            ended = pidfd in ready
            for fd in (tty, console) if ended else ready:
                try:
                    data = os.read(fd, 1 << 20)  # more than a pipe holds: once the guest has ended, this is the rest
                except BlockingIOError:
                    continue
                if fd == tty:
                    out.write(data)
                    continue
                *lines, rest = (rest + data).replace(b"\r", b"").split(b"\n")
                for line in lines:
                    tail.append(line + b"\n")
                    panic = panic or re.sub(rb".*Kernel panic", b"kernel panic", line) * (b"Kernel panic" in line)
                    if marker := re.search(rb"@@netdevns start (\S+)", line):
                        release = marker[1].decode()
                    elif marker := re.search(rb"@@netdevns exit (\d+)", line):
                        code, deadline = int(marker[1]), min(deadline, time.monotonic() + 10)  # s, to power off
                    elif release and code is None:
                        messages.write(line + b"\n")
    out.write(b"", last=True)
    if code is not None:
        return release, code, f"exit {code}", ""
    if not release:  # else they have been shown
        messages.write(b"".join(tail))
    last = b"".join(tail).decode(errors="replace")
    if panic or ended:
        return release, BROKEN, panic.decode(errors="replace") or "the kernel ended before the command did", last
    return release, TIMED_OUT, f"timed out after {timeout:g} s", last

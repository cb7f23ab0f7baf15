"""Reads files, links and processes of a host, and starts programs that only root could have replaced."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..oci import trust
from ..system import inputs, programs
from ..text.quote import printable

FILE_BYTES = 1 << 20
RUN_S = 5.0
AS_ROOT = "sudo netdevns doctor"
BY_HAND = "run it by hand, with --version"
# As runtimes and their managers search them; the last one is of k3s.
PROGRAM_FOLDERS = (
    "/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin", "/usr/libexec/podman",
    "/usr/lib/podman", "/usr/local/libexec/podman", "/usr/local/lib/podman", "/opt/bin",
    "/var/lib/rancher/k3s/data/current/bin",
)  # fmt: skip


@dataclass(frozen=True)
class Nic:
    """A link of the host's network namespace.

    Attributes:
        name, ifindex, altnames: As the kernel has them.
        kind: "veth", ...; "" for hardware.
        mac, permanent_mac: Hexadecimal digits with colons; "" without one.
        is_immutable: Whether the kernel says that it never moves.
    """

    name: str
    ifindex: int
    kind: str = ""
    mac: str = ""
    permanent_mac: str = ""
    altnames: tuple[str, ...] = ()
    is_immutable: bool = False


class Host:
    """A host, for reading only.

    Attributes:
        nics: Its links by name; None: they could not be read.
        unread: Files that could not be read: path -> reason.
    """

    def __init__(self, root: str = "", nics: Mapping[str, Nic] | None = None) -> None:
        """`root`: the folder of another file system than this machine's, such as a tree made for a test."""
        self.root = root.rstrip("/")
        self.nics = nics
        self.unread: dict[str, str] = {}
        self._processes: list[tuple[int, list[str]]] | None = None

    def path(self, path: str) -> str:
        """Where a path of the host is."""
        return self.root + path

    def names(self, folder: str) -> list[str]:
        """The names in a folder, sorted; none: there is no such folder, or it cannot be read (`unread`)."""
        try:
            return sorted(os.listdir(self.path(folder)))
        except OSError as e:
            self._note(folder, e)
            return []

    def files(self, folders: Sequence[str], suffix: str) -> list[str]:
        """The paths of files with this suffix, folder by folder; a folder under two names counts once."""
        seen, found = set[str](), []
        for folder in folders:
            real = os.path.realpath(self.path(folder))
            if real not in seen:
                seen.add(real)
                found += [f"{folder}/{name}" for name in self.names(folder) if name.endswith(suffix)]
        return found

    def read(self, path: str) -> bytes | None:
        """A regular file of at most FILE_BYTES; None: there is none, or it cannot be read (`unread`)."""
        try:
            return inputs.read_file(self.path(path), FILE_BYTES)
        except OSError as e:
            self._note(path, e)
            return None
        except ValueError:  # a NUL byte or a lone surrogate
            return None

    def text(self, path: str) -> str | None:
        """As `read`, as text; bytes that are not UTF-8 are kept as surrogates."""
        data = self.read(path)
        return None if data is None else data.decode("utf-8", "surrogateescape")

    def exists(self, path: str) -> bool:
        return os.path.lexists(self.path(path))

    def _note(self, path: str, e: OSError) -> None:
        if e.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ESRCH):
            self.unread[path] = e.strerror or str(e)

    def find(self, name: str) -> list[str]:
        """The paths of a program in PROGRAM_FOLDERS, each file once."""
        found: dict[str, str] = {}
        for folder in PROGRAM_FOLDERS:
            path = f"{folder}/{name}"
            if os.access(self.path(path), os.X_OK) and os.path.isfile(self.path(path)):
                found.setdefault(os.path.realpath(self.path(path)), path)
        return [*found.values()]

    def processes(self) -> list[tuple[int, list[str]]]:
        """The pid and the command line of each process, as far as they can be read; kernel threads have none."""
        if self._processes is None:
            self._processes = []
            for name in filter(str.isdigit, self.names("/proc")):
                data = self.read(f"/proc/{name}/cmdline")
                if data:
                    words = data.rstrip(b"\0").split(b"\0")
                    self._processes.append((int(name), [*map(os.fsdecode, words)]))
        return self._processes

    def is_running(self, *programs: str) -> bool:
        """Whether there is a process of one of these programs, by the name of its file."""
        return any(os.path.basename(words[0]) in programs for _, words in self.processes())


class NotRun(Exception):
    """A program was not started, did not end in time, or failed; the text says why."""


class NotIsolated(NotRun):
    """It was not started, as only root can do that so that it changes nothing."""


def run(words: Sequence[str]) -> subprocess.CompletedProcess[bytes]:
    """Runs a program that can change no file, for at most RUN_S seconds; the caller has asked `why_untrusted`.

    Even `crun --version` makes a file in /tmp and a folder in /run (1.8.1).

    Raises:
        NotRun: It does not start, or does not end in time. NotIsolated: It was not started.
    """
    try:
        return programs.run(words, timeout_s=RUN_S, is_isolated=True)
    except programs.NotIsolated as e:
        raise NotIsolated("CAP_SYS_ADMIN is needed, so that it changes nothing") from e
    except OSError as e:
        raise NotRun(e.strerror or str(e)) from None
    except ValueError as e:
        raise NotRun(str(e)) from None


def by_root() -> str:
    """The remedy for what a privilege is missing for, which root may lack as well."""
    return BY_HAND if os.geteuid() == 0 else AS_ROOT


def why_untrusted(*paths: str) -> str:
    """Why root must not start these files: another user could replace one of them; or "".

    A file of which that cannot be found out must not be started, either.
    """
    for path in paths:
        try:
            trust.check(path)
        except trust.Untrusted as e:
            return str(e)
        except OSError as e:
            return f"{printable(e.filename or path)}: {e.strerror}"
    return ""

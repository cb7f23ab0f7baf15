"""Reads configuration files of other programs: TOML of runtimes, and the sections of systemd and NetworkManager."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import TypeGuard

from .host import Host

# A later file overrides an earlier one, key by key. Source: containers.conf(5), crio.conf.d(5), containerd's
# config.toml(5).
_FILES = {
    "containers": ("/usr/share/containers/containers.conf", "/etc/containers/containers.conf"),
    "crio": ("/etc/crio/crio.conf",),
    "containerd": ("/etc/containerd/config.toml", "/var/lib/rancher/k3s/agent/etc/containerd/config.toml"),
}
_FOLDERS = {
    "containers": ("/usr/share/containers/containers.conf.d", "/etc/containers/containers.conf.d"),
    "crio": ("/usr/share/crio/crio.conf.d", "/etc/crio/crio.conf.d"),
    "containerd": (),
}


class Toml:
    """The TOML configuration of podman, CRI-O and containerd.

    Attributes:
        invalid: Files that are no TOML: path -> reason.
    """

    def __init__(self, host: Host) -> None:
        self._host = host
        self._tables: dict[str, list[Mapping[str, object]]] = {}
        self.invalid: dict[str, str] = {}

    def _of(self, program: str) -> list[Mapping[str, object]]:
        if program not in self._tables:
            paths = [*_FILES[program]]
            for folder in _FOLDERS[program]:
                paths += self._host.files([folder], ".conf")
            found = [*filter(None, map(self._read, paths))]
            imported = [path for table in found for path in self._imports(table)]
            self._tables[program] = [*found, *filter(None, map(self._read, imported))]
        return self._tables[program]

    def _imports(self, table: Mapping[str, object]) -> list[str]:
        """The files that a configuration of containerd includes: `imports = ["/etc/containerd/conf.d/*.toml"]`."""
        imports = table.get("imports")
        found = []
        for pattern in filter(_is_path, imports if isinstance(imports, list) else ()):
            folder, _, name = pattern.rpartition("/")
            found += [f"{folder}/{each}" for each in self._host.names(folder) if fnmatchcase(each, name)]
        return found

    def _read(self, path: str) -> Mapping[str, object] | None:
        text = self._host.text(path)
        if text is None:
            return None
        try:
            return tomllib.loads(text)
        except (ValueError, RecursionError) as e:
            self.invalid[path] = str(e) or type(e).__name__
            return None

    def value(self, program: str, *keys: str) -> object:
        """The value of a key in the last file that has it; None: none has."""
        found: object = None
        for table in self._of(program):
            value: object = table
            for key in keys:
                value = value.get(key) if isinstance(value, Mapping) else None
            found = found if value is None else value
        return found

    def string(self, program: str, *keys: str) -> str:
        """The same, if it is a string; else ""."""
        value = self.value(program, *keys)
        return value if isinstance(value, str) else ""

    def paths(self, program: str, *keys: str) -> list[str]:
        """The same, if it is an absolute path or an array: its absolute paths; else none."""
        value = self.value(program, *keys)
        return [*filter(_is_path, value if isinstance(value, list) else [value])]


def _is_path(value: object) -> TypeGuard[str]:
    """Whether it is an absolute path: a NUL byte is in none."""
    return isinstance(value, str) and value.startswith("/") and "\0" not in value


def sections(text: str) -> Iterator[tuple[str, str, str]]:
    """(section, key, value) of each line of a file of systemd or NetworkManager, in order.

    Source: systemd.syntax(7): a line that ends with a backslash goes on in the next one.
    """
    section, begun = "", ""
    for line in text.splitlines():
        line = begun + line.strip()
        if not begun and (not line or line[0] in "#;"):
            continue
        if line.endswith("\\"):
            begun = line[:-1] + " "
            continue
        begun = ""
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1]
            continue
        key, is_set, value = line.partition("=")
        if is_set:
            yield section, key.strip(), value.strip()

"""What tools/sriov's guest starts from: which modules, and the archive that they are in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import PurePath


def with_dependencies(names: Iterable[str], text: str) -> list[str]:
    """The paths of modules and of what they depend on, in the order in which they are loaded; `text`: modules.dep."""
    needs = {}
    for line in text.splitlines():
        path, _, others = line.partition(":")
        needs[path] = others.split()
    by_name = {PurePath(path).name.partition(".")[0]: path for path in needs}
    order = [path for name in names for path in (*reversed(needs[by_name[name]]), by_name[name])]
    return list(dict.fromkeys(order))


def cpio(files: Mapping[str, bytes]) -> bytes:
    """An archive (newc) of a kernel's initial file system; `files`: name -> content, all executable, by root."""
    archive = b""
    for number, (name, content) in enumerate([*files.items(), ("TRAILER!!!", b"")], 1):
        fields = [number, 0o100755, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0]
        head = b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
        for part in head, content:
            archive += part + bytes(-len(part) % 4)
    return archive

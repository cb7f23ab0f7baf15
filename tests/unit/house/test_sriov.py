"""tools/sriov: what it puts together and prints; the rest of it needs a virtual machine."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.support import require
from tools import sriov_image
from tools.sriov_table import Facts

MODULES_DEP = """\
kernel/net/9p/9pnet_virtio.ko.xz: kernel/net/9p/9pnet.ko.xz kernel/fs/netfs/netfs.ko.xz
kernel/net/9p/9pnet.ko.xz: kernel/fs/netfs/netfs.ko.xz
kernel/fs/netfs/netfs.ko.xz:
kernel/fs/9p/9p.ko.xz: kernel/net/9p/9pnet.ko.xz kernel/fs/netfs/netfs.ko.xz
"""


def test_modules_come_after_what_they_need() -> None:
    """depmod names the nearest first: the other way round is the order to load them in, each once."""
    order = sriov_image.with_dependencies(["9pnet_virtio", "9p"], MODULES_DEP)
    assert [Path(path).name for path in order] == ["netfs.ko.xz", "9pnet.ko.xz", "9pnet_virtio.ko.xz", "9p.ko.xz"]


def test_archive_is_one_for_cpio(tmp_path: Path) -> None:
    """The archive unpacks to the same files, of any length, executable."""
    busybox = shutil.which("busybox")
    if busybox is None:
        require("runtimes", "there is no busybox; install busybox-static")
    files = {"init": b"#!/busybox sh\n", "a": b"", "bc": b"x", "def": bytes(range(256)) * 5}
    subprocess.run(
        [busybox, "cpio", "-i"], cwd=tmp_path, input=sriov_image.cpio(files), check=True, capture_output=True
    )
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == files
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o755}


def test_table_counts_what_differs() -> None:
    """A value that was the same each time stands alone; others with their number; a failure is one, however rare."""
    facts = Facts(["native", "reference"])
    facts.must("moved", True)
    facts.seen("name", "net0")
    facts.column = "reference"
    for holds, name in (True, "net0"), (False, "dev3"), (True, "net0"):
        facts.must("moved", holds)
        facts.seen("name", name)
    facts.seen("only here", "1")
    assert facts.table().splitlines() == [
        "           native  reference",
        "moved      yes     yes (2 of 3), NO (1 of 3)",
        "name       net0    net0 (2 of 3), dev3 (1 of 3)",
        "only here  -       1",
    ]
    assert not facts.good

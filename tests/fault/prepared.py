"""A host on which `netdevns prepare` is tried, with one device, in this process' own mount namespace."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.support.attacks import Ended, finish, traced
from tests.support.restored import differences

from .reasons import Place

NAME, PATH = "kill-test", Path("/run/netns/kill-test")
TIDY = f"umount --lazy {PATH} 2>/dev/null; rm -f {PATH}; umount --lazy /run/netns 2>/dev/null"
PREPARE, UNDO = ("prepare", NAME, "eth1=net0"), ("prepare", NAME, "--undo")


class Host(Place):
    """Commands end in the namespace `host`; a context manager."""

    def _make(self) -> None:
        super()._make()
        # As `ip netns` does, it makes the folder a mount of its own, which another test could not remove.
        self.stack.callback(subprocess.run, ["sh", "-c", TIDY], check=False)
        self.host.wait_until_quiet()
        self.was = self.host.dump()

    def command(self, *arguments: str, inject: tuple[str, ...] = ()) -> Ended:
        """`netdevns` under strace."""
        return traced(lambda under: self.python("-m", "netdevns", *arguments, under=under), *inject)[0]

    def plain(self, *arguments: str, under: tuple[str, ...] = ()) -> tuple[str, str, int]:
        """`netdevns`: (stdout, stderr, exit code)."""
        return finish(self.python("-m", "netdevns", *arguments, under=under))

    def differs(self) -> list[str]:
        """What is not as before."""
        return differences(self.host.dump, self.was)

    def left(self) -> list[str]:
        """What says that a namespace was prepared, or a device moved."""
        folders = [Path("/run/netdevns", folder) for folder in ("prepared", "loan", "txn")]
        found = [str(path) for folder in folders if folder.exists() for path in folder.iterdir()]
        return found + ([str(PATH)] if PATH.exists() else [])

"""An installation as pip makes it: an environment with the package, its command, and the hook in C."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import netdevns
from tests.hook.built import program

PACKAGE = Path(netdevns.__file__).parent
COMMAND = """#!{python}
import sys
from netdevns.cli.main import program
sys.exit(program())
"""


class Installation:
    """Makes it in a folder.

    Attributes:
        bin, site: Its folders of programs and of modules.
        hook: netdevns-hook.
    """

    def __init__(self, folder: Path) -> None:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
        folder = folder.resolve()
        self.bin = folder / "bin"
        (self.site,) = (folder / "lib").glob("python*/site-packages")
        shutil.copytree(PACKAGE, self.site / "netdevns", ignore=shutil.ignore_patterns("__pycache__"))
        core = find_spec("_cffi_backend")
        assert core is not None
        assert core.origin is not None
        shutil.copy(core.origin, self.site)
        self.hook = self.bin / "netdevns-hook"
        shutil.copy(program(), self.hook)
        self.command = self.bin / "netdevns"
        self.command.write_text(COMMAND.format(python=self.bin / "python3"))
        self.command.chmod(0o755)
        described = self.site / f"netdevns-{netdevns.__version__}.dist-info"
        described.mkdir()
        (described / "METADATA").write_text(f"Metadata-Version: 2.1\nName: netdevns\nVersion: {netdevns.__version__}\n")
        record = ("netdevns/__init__.py", "../../../bin/netdevns", "../../../bin/netdevns-hook")
        (described / "RECORD").write_text("".join(f"{path},,\n" for path in record))

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Its command."""
        return subprocess.run([self.command, *arguments], env={}, cwd="/", capture_output=True, text=True, check=False)

    def words(self, *options: str) -> list[str]:
        """What `netdevns cdi` writes for the hook of eth1, up to its stage."""
        done = self.run("cdi", "vendor.com/nic", "eth1", *options)
        assert (done.returncode, without_notes(done.stderr)) == (0, "")
        args: list[str] = json.loads(done.stdout)["devices"][0]["containerEdits"]["hooks"][0]["args"]
        return args[: args.index("createRuntime")]


def without_notes(said: str) -> str:
    """What `netdevns cdi` says on stderr, without notes about devices that end with a container."""
    return "".join(line for line in said.splitlines(keepends=True) if not line.startswith("netdevns: note: "))

"""What an installed netdevns does, run by its Python, far from the checkout: python -P -s wheels_smoke.py [SITE].

Moves devices by both engines (`netdevns demo` has a sandbox of its own), and loads itself in sub-interpreters.
SITE: the folder that it was installed into, where that is not an environment's.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import sysconfig

import netdevns

REFUSED = "sub-interpreter with its own GIL"
PAGES = (
    "man/man8/netdevns.8",
    "man/man8/netdevns-hook.8",
    "bash-completion/completions/netdevns",
    "zsh/site-functions/_netdevns",
)
# A check asks both namespaces by netlink.
CHECK = """
import os
try:
    import netdevns
    netdevns.check({"lo": None}, "/proc/self/ns/net")
    result = "works"
except ImportError as e:
    result = str(e)
os.write(%d, result.encode())
"""


def in_interpreter(own_gil: bool) -> str:
    """The result of CHECK in a sub-interpreter."""
    read, write = os.pipe()
    if sys.version_info >= (3, 13):
        # Not by an import statement: the type checkers' stub of it has no result of run_string.
        interpreters = importlib.import_module("_interpreters")
        interpreter = interpreters.create("isolated" if own_gil else "legacy")
        failed = interpreters.run_string(interpreter, CHECK % write)
        assert failed is None, failed
        interpreters.destroy(interpreter)
    else:
        interpreters = importlib.import_module("_xxsubinterpreters")
        interpreter = interpreters.create(isolated=own_gil)
        interpreters.run_string(interpreter, CHECK % write)
        interpreters.destroy(interpreter)
    os.close(write)
    with open(read, encoding="utf-8") as file:
        return file.read()


# The hook logs below /run, which is the machine's.
OWN_RUN = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs tmpfs /run && exec "$@"', "sh"]


def try_hook() -> None:
    """The hook in C is what `netdevns cdi` names, and it hands over to the command beside it."""
    scripts = sysconfig.get_path("scripts")
    hook = os.path.join(scripts, "netdevns-hook")
    said = subprocess.run(
        [os.path.join(scripts, "netdevns"), "cdi", "a.b/nic", "eth1"], text=True, capture_output=True, check=True
    )
    assert f'"path": "{hook}"' in said.stdout, said.stdout
    words = [*OWN_RUN, hook] if os.geteuid() == 0 else [hook]
    done = subprocess.run([*words, "createRuntime", "="], input="{}", text=True, capture_output=True, check=False)
    assert done.returncode == 2, done.stderr
    assert "netdevns: nothing was touched" in done.stderr, done.stderr


def main(site: str = "") -> None:
    assert netdevns.__file__.startswith(site or sysconfig.get_path("platlib")), netdevns.__file__
    for page in PAGES:
        assert os.path.exists(os.path.join(site or sys.prefix, "share", page)), page
    command = [os.path.join(sysconfig.get_path("scripts"), "netdevns")]
    if site:
        command = [sys.executable, "-m", "netdevns"]
    for engine in ("native", "reference"):
        environment = os.environ | {"NETDEVNS_ENGINE": engine}
        done = subprocess.run([*command, "demo"], env=environment, text=True, capture_output=True, check=False)
        assert done.returncode == 0, f"{engine}: {done.stdout}{done.stderr}"
        assert "eth1 -> net0 in " in done.stdout, done.stdout
    if not site:
        try_hook()
    shared, own = in_interpreter(own_gil=False), in_interpreter(own_gil=True)
    assert shared == "works", shared
    assert own == "works" or REFUSED in own, own
    ways = "works in sub-interpreters" + (", not in those with their own GIL" if own != "works" else "")
    print(f"Python {sys.version.split()[0]}{sys.abiflags}: netdevns moves, with both engines; {ways}")


if __name__ == "__main__":
    main(*sys.argv[1:])

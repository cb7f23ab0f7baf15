"""Runs all checks of `netdevns doctor`. No check changes anything: no file, lock, module or namespace."""

from __future__ import annotations

import dataclasses
import errno
import os
import sys
from collections.abc import Callable, Iterable, Iterator

from .. import __version__
from ..netlink.error import EngineError
from ..oci import hook_line
from ..text.output import internal
from ..text.quote import command, printable
from . import installations, kernel, runtimes
from .conf import Toml
from .finding import ERROR, OK, WARNING, Finding
from .host import Host
from .lines import COMMAND, Line, Trials

CHECK = "netdevns"
NAMES = (CHECK, "bundle", installations.CHECK, "devices", runtimes.CHECK, "records", kernel.CHECK, "daemons")


def examine(host: Host, where: str | None = None) -> list[Finding]:
    """Examines a host, and a bundle if one is given.

    Args:
        host: The host.
        where: A bundle, or its config.json.

    Returns:
        The findings, in the order of NAMES. A check that fails is one, too, and stops no other.
    """
    conf, trials = Toml(host), Trials(host)
    found: list[Finding] = []

    def run(name: str, check: Callable[[], Iterable[Finding]]) -> None:
        try:
            found.extend(check())
        except Exception as e:
            found.append(Finding(name, ERROR, CHECK, printable(internal(e)), "report it; the other checks ran"))

    installed: list[installations.Installation] = []

    def search() -> Iterator[Finding]:
        installed.extend(installations.search(host, conf))
        yield from installations.check(host, installed, trials, is_bundle=where is not None)

    run(CHECK, lambda: _itself(host, trials))
    run(installations.CHECK, search)
    run(runtimes.CHECK, lambda: runtimes.check(host, installed, conf))
    run(kernel.CHECK, lambda: kernel.check(host))
    run(CHECK, lambda: _with_core(host, installed, trials, where, run))
    run(CHECK, lambda: _unread(host))
    return sorted(dict.fromkeys(found), key=lambda finding: NAMES.index(finding.check))


def _with_core(
    host: Host,
    installed: list[installations.Installation],
    trials: Trials,
    where: str | None,
    run: Callable[[str, Callable[[], Iterable[Finding]]], None],
) -> Iterator[Finding]:
    """The checks that need the compiled core."""
    try:
        from . import bundle, daemons, devices, records
    except ImportError as e:
        yield Finding(CHECK, ERROR, COMMAND, f"{printable(str(e))}: no hook of it works", "install netdevns again")
        return
    if host.nics is None and not host.root:
        try:
            host.nics = devices.nics()
        except EngineError as e:
            yield Finding(
                CHECK, WARNING, COMMAND, f"the devices cannot be listed: {os.strerror(e.errno)}", "netdevns show"
            )
    config = None if where is None else bundle.Bundle(where)
    asked = {} if config is None else config.devices
    every = devices.wanted(host, installed, asked, "" if config is None else config.path)
    run(devices.CHECK, lambda: devices.check(host, every))
    run(records.CHECK, lambda: records.check(host))
    run(daemons.CHECK, lambda: daemons.check(host, every))
    if config is not None:
        run(bundle.CHECK, lambda: bundle.check(host, config, trials, runtimes.native(host)))


def _itself(host: Host, trials: Trials) -> Iterator[Finding]:
    """This netdevns, and others that a user or a hook may start instead."""
    version = ".".join(map(str, sys.version_info[:3]))
    static = hook_line.static_hook()
    text = f"netdevns {__version__}, Python {version}, {'hook ' + printable(static) if static else 'no hook in C'}"
    yield Finding(CHECK, OK, hook_line.PACKAGE, text)
    if os.geteuid() != 0:
        text = "not run as root: records, loans and some programs cannot be judged"
        yield Finding(CHECK, WARNING, COMMAND, text, "sudo netdevns doctor")
    for path in host.find(COMMAND):
        trial = trials.of(Line((path,), ()))
        yield Finding(CHECK, trial.severity, path, trial.text, trial.hint)


def _unread(host: Host) -> Iterator[Finding]:
    for path, why in host.unread.items():
        hint = "sudo netdevns doctor" if why == os.strerror(errno.EACCES) else command("ls", "-l", path)
        yield Finding(CHECK, WARNING, path, f"cannot be read: {why}", hint)


def documents(found: Iterable[Finding]) -> dict[str, object]:
    """The JSON document: `ok`: no finding has severity "error"; and the findings."""
    every = [*found]
    return {
        "ok": all(finding.severity != ERROR for finding in every),
        "findings": [dataclasses.asdict(finding) for finding in every],
    }

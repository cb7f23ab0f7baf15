"""Makes a udev rule and systemd units that restore lent devices, or prepare a namespace at boot.

A container's network card comes back to the initial namespace as a new device. udev then has systemd start ARRIVAL,
which starts `netdevns recover` and `netdevns return` if there is a record or a loan. While these run, a further start
of ARRIVAL waits for their end (After=) and then starts them again: systemd would merge a further start of theirs into
the running one, which may have missed that device.

Source: udev(7), systemd.unit(5) "OnSuccess=" (systemd 249), systemd.service(5), systemd.device(5) "SYSTEMD_WANTS=".
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Mapping

from ..netlink import ifname
from ..prepare import namespace
from ..system.folders import JOURNAL_DIR
from ..text.output import complain
from ..text.quote import command, printable, quoted
from . import hook_line, install
from .hook_line import Refused
from .install import Place

ROOT = "/etc"  # as below /usr/lib and /run
RULES, SYSTEM, AT_BOOT = "udev/rules.d", "systemd/system", "systemd/system/multi-user.target.d"
RULE = "90-netdevns.rules"
ARRIVAL, RECOVER, RETURN = (f"netdevns-{name}.service" for name in ("arrival", "recover", "return"))
BOOTED = "/run/systemd/system"  # sd_booted(3)
SETTLE_S = 0.2  # several devices of a container come back one after the other, and udev renames them
LONGEST_UNIT = 255  # characters of a unit's name

_MARK = "# Written by `netdevns units"
_HEAD = _MARK + "{words}`; `netdevns units{words} --uninstall` removes it.\n"  # words: quoted for the shell
_RULE = """\
# A container's network card is added again when its namespace ends; virtual devices end with the namespace.
ACTION=="add|move", SUBSYSTEM=="net", DEVPATH!="/devices/virtual/*", TEST=="{journal}", \
TAG+="systemd", ENV{{SYSTEMD_WANTS}}+="{arrival}"
"""
_ARRIVAL = """\
[Unit]
Description=Restores network devices that containers no longer have
Documentation=man:netdevns(8)
ConditionDirectoryNotEmpty=|{journal}/loan
ConditionDirectoryNotEmpty=|{journal}/txn
# A start while these run waits for their end, and starts them again, so that no device is missed.
After={recover} {return_}
OnSuccess={recover} {return_}
StartLimitIntervalSec=0

[Service]
Type=oneshot
# Several devices come back one after the other, and udev renames them.
ExecStart=/bin/sleep {settle}
"""
_WORKER = """\
[Unit]
Description={description}
Documentation=man:netdevns(8)
ConditionDirectoryNotEmpty={folder}
{after}StartLimitIntervalSec=0

# In the host's namespaces, with all rights: no PrivateTmp= and the like.
[Service]
Type=oneshot
SyslogIdentifier=netdevns
TimeoutStartSec=5min
ExecStart={line}
"""
_WANTED = """\
[Unit]
Wants={arrival}
"""
# No BindsTo=: the devices leave the host, and systemd would stop the unit.
_PREPARE = """\
[Unit]
Description=The network namespace {name} and its devices
Documentation=man:netdevns(8)
Wants={units}
After={units} {recover}

# In the host's mount namespace: with PrivateTmp= and the like the namespace's name would end with the unit.
[Service]
Type=oneshot
RemainAfterExit=yes
SyslogIdentifier=netdevns
ExecStart={start}
ExecStop={stop}

[Install]
WantedBy=multi-user.target
"""


def run(args: argparse.Namespace, devices: Mapping[str, str | None]) -> int:
    """Runs the command: shows, installs or removes the files; returns the exit code.

    Args:
        args: `action` and `dir` as for `install.offer`, `dir` instead of /etc; `name`: of the namespace to prepare, or
            None for the units of `return`.
        devices: Of that namespace: host name -> name there; None: the host name.
    """

    def act(done: list[str]) -> list[str]:
        places = _places(args.dir or ROOT, args.name)
        if args.action == "uninstall":
            if devices:
                raise Refused("--uninstall removes the whole file: give the name alone")
            _refuse_enabled(args.dir or ROOT, args.name)
            removed = install.remove_all({place: places[place] for place in reversed(places)}, is_ours, done)
            return removed + _following("systemctl daemon-reload", done)
        is_installed = args.action == "install"
        _need_systemd(args.dir, is_installed)
        words = hook_line.program(is_installed=is_installed)
        texts = common(words) if args.name is None else {unit_of(args.name): prepare(words, args.name, devices)}
        files = {place: {name: texts[name] for name in names} for place, names in places.items()}
        if is_installed:
            written = install.write_all(files, is_ours, done)
            enable = "" if args.name is None else f" && systemctl enable --now '{unit_of(args.name)}'"
            return written + _following(f"systemctl daemon-reload{enable}", done)
        return [f"# {place.folder}/{name}\n{text}" for place, made in files.items() for name, text in made.items()]

    return install.report(act)


def _places(root: str, name: str | None) -> dict[Place, list[str]]:
    """The files' names by folder; the rule, which starts the units, is written last."""
    system = Place(os.path.join(root, SYSTEM), root)
    if name is not None:
        return {system: [unit_of(name)]}
    at_boot, rules = (Place(os.path.join(root, folder), root) for folder in (AT_BOOT, RULES))
    return {system: [RECOVER, RETURN, ARRIVAL], at_boot: ["netdevns.conf"], rules: [RULE]}


def _need_systemd(folder: str | None, is_installed: bool) -> None:
    if folder is not None or os.path.isdir(BOOTED):
        return
    why = f"systemd does not run here (there is no {BOOTED}), so nothing would read these files"
    if is_installed:
        raise Refused(f"{why}; for another system: --dir DIR, as in --dir /mnt/etc")
    complain([f"{why}; --install would refuse"], 0)


def _refuse_enabled(root: str, name: str | None) -> None:
    """Raises Refused while the unit is enabled: the link made by `systemctl enable` would stay."""
    if name is None:
        return
    unit = unit_of(name)
    link = os.path.join(root, SYSTEM, "multi-user.target.wants", unit)
    if os.path.lexists(link):
        raise Refused(f"{printable(unit)}: it is enabled; first: systemctl disable --now '{printable(unit)}'")


def _following(line: str, done: list[str]) -> list[str]:
    """The next command, if systemd runs and files have changed."""
    return [f"next   {line}"] if done and os.path.isdir(BOOTED) else []


def common(words: list[str]) -> dict[str, str]:
    """The rule and the units for returned devices: file name -> text; `words`: the result of `hook_line.program`."""
    names = {"journal": JOURNAL_DIR, "arrival": ARRIVAL, "recover": RECOVER, "return_": RETURN, "settle": SETTLE_S}
    recover = {
        "description": "Undoes moves of network devices whose processes were killed",
        "folder": f"{JOURNAL_DIR}/txn",
        "after": "",
        "line": _line(words, "recover"),
    }
    back = {
        "description": "Restores network devices returned by ended containers",
        "folder": f"{JOURNAL_DIR}/loan",
        "after": f"After={RECOVER}\n",
        "line": _line(words, "return", "--arrived"),
    }
    texts = {RECOVER: _WORKER.format(**recover), RETURN: _WORKER.format(**back), ARRIVAL: _ARRIVAL.format(**names)}
    texts |= {"netdevns.conf": _WANTED.format(**names), RULE: _RULE.format(**names)}
    return {name: _HEAD.format(words="") + text for name, text in texts.items()}


def prepare(words: list[str], name: str, devices: Mapping[str, str | None]) -> str:
    """The unit that prepares a namespace at boot, when its devices are there.

    Raises:
        Refused: A name that the kernel or a unit file does not allow, or no device.
    """
    if not devices:
        raise Refused("give the devices, too: netdevns units NAME DEV[=NAME] ...")
    for device, inside in devices.items():
        if why := ifname.why_invalid(os.fsencode(device)):
            raise Refused(f"{quoted(device)}: no device has this name: {why}")
        wanted = os.fsencode(inside or device)
        judge = ifname.why_invalid_template if ifname.is_template(wanted) else ifname.why_invalid
        if why := judge(wanted):
            raise Refused(f"{quoted(device)}: it cannot be called {quoted(inside or device)}: {why}")
    arguments = [device if inside is None else f"{device}={inside}" for device, inside in devices.items()]
    hook_line.check_text([name, *arguments])
    text = _PREPARE.format(
        name=name.replace("%", "%%"),
        units=" ".join(f"sys-subsystem-net-devices-{_escaped(device)}.device" for device in devices),
        recover=RECOVER,
        start=_line(words, "prepare", name, *arguments),
        stop=_line(words, "prepare", name, "--undo"),
    )
    return _HEAD.format(words=f" {command(name)}") + text


def unit_of(name: str) -> str:
    """The name of the unit that prepares a namespace. Raises Refused: `prepare` does not allow that name."""
    try:
        namespace.path_of(name)
    except namespace.Refused as e:
        raise Refused(str(e)) from None
    unit = f"netdevns-prepare-{_escaped(name, also='-')}.service"
    if len(unit) > LONGEST_UNIT:
        raise Refused(f'"{quoted(name)}": the name of its unit would be longer than {LONGEST_UNIT} characters')
    return unit


def is_ours(content: object) -> bool:
    """Whether a file was written by this command."""
    return isinstance(content, bytes) and content.startswith(_MARK.encode())


def _escaped(name: str, also: str = "") -> str:
    """Escapes as systemd-escape(1) does; `also`: further characters that stay unchanged."""
    plain = rf"[A-Za-z0-9:_.{re.escape(also)}]"
    return "".join(
        c if re.fullmatch(plain, c) and (i or c != ".") else "".join(rf"\x{b:02x}" for b in os.fsencode(c))
        for i, c in enumerate(name)
    )


def _line(words: list[str], *arguments: str) -> str:
    """A command line for systemd.service(5); the prefix ":" keeps "$" literal."""
    if not re.fullmatch(r"[^\x00-\x1f\x7f\\'\"]+", words[0]):
        raise Refused(f"{printable(words[0])}: systemd starts no program whose path has quotes or control characters")
    return ":" + " ".join(map(_word, (*words, *arguments)))


def _word(word: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9_/.,:=+@-]+", word):
        return word
    return '"' + "".join(_character(c) for c in word.replace("%", "%%")) + '"'


def _character(c: str) -> str:
    if c in '"\\':
        return "\\" + c
    return c if c.isprintable() else "".join(rf"\x{b:02x}" for b in c.encode())

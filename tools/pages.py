"""Writes the man page and the completions for bash, zsh and fish, in share/, out of the command's own parser."""

from __future__ import annotations

import argparse
import re
import sys
import textwrap
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from netdevns import __version__
from netdevns.batch.plan import PRESERVABLE
from netdevns.cli import manual, usage
from tools import pages_completions

TOP = Path(__file__).resolve().parents[1]
MAN = TOP / "share/man/man8/netdevns.8"

# Of the words below and in manual.py: a page that changed with the day it is made could not be compared.
DATE = "2026-11-26"

HEAD = rf"""
.\" Made by tools/pages out of the command's own help: edit netdevns/cli/manual.py, usage.py or tools/pages.py instead.
.TH NETDEVNS 8 {DATE} "netdevns {__version__}" "System Administration"
.SH NAME
netdevns \- move existing network devices into a network namespace
"""

TAIL = r"""
.SH ENVIRONMENT
.TP
.B NETDEVNS_ENGINE
.B reference
chooses the engine that is Python alone: slower, and without the compiled core.
.SH FILES
.TP
.I /run/netdevns/txn
Records of running moves.
One that no process holds is of a killed move:
.B netdevns recover
undoes it.
.TP
.I /run/netdevns/hook.log
The log of the hooks; older lines are in
.IR hook.log.old .
Each has at most 256 KiB.
.TP
.I /run/netns
Named network namespaces, as
.BR ip\-netns (8)
makes them.
.SH SEE ALSO
.BR ip\-link (8),
.BR ip\-netns (8),
.BR setns (2),
.BR rtnetlink (7),
.BR network_namespaces (7);
the OCI runtime\-spec, config\-linux.md, \(lqNetwork Devices\(rq.
"""


def parser() -> argparse.ArgumentParser:
    """The command's, whose commands do nothing."""
    return usage.parser(defaultdict(lambda: lambda _: 0))


def commands(top: argparse.ArgumentParser) -> dict[str, tuple[argparse.ArgumentParser, str]]:
    """The commands with their short descriptions."""
    (chosen,) = (action for action in top._actions if isinstance(action, argparse._SubParsersAction))
    short = {choice.dest: choice.help or "" for choice in chosen._choices_actions}
    return {name: (command, short[name]) for name, command in chosen.choices.items()}


# ---- the man page --------------------------------------------------------------------------------------------------


def escaped(text: str) -> str:
    """Text as roff shows it: a `-` is a minus sign that can be copied, and no line begins with a request."""
    text = text.replace("\\", r"\e").replace("-", r"\-").replace("'", r"\(aq").replace('"', r"\(dq")
    return re.sub(r"^\.", r"\\&.", text, flags=re.MULTILINE)


def marked(text: str) -> str:
    """Options bold, and what stands for something else (NETNS, DEV[=NAME]) italic."""
    text = re.sub(r"(?<![\w\\])((?:\\-){1,2}[a-zA-Z](?:\\-|\w)*)", r"\\fB\1\\fP", escaped(text))
    return re.sub(r"(?<![\w\\/-])([A-Z]{2,}\w*|[A-Z]\b(?=[\] ]))(?![\w(-])", r"\\fI\1\\fP", text)


# Around choices.
BRACES = str.maketrans("", "", "{}")


def synopsis(command: argparse.ArgumentParser) -> Iterator[str]:
    """Each line of a command's usage, which breaks only between arguments."""
    for line in re.split(r"\n +(?=netdevns )", command.format_usage().removeprefix("usage: ").strip()):
        name, arguments = re.match(
            r"(netdevns(?: [a-z-]+)?(?: diff)?) *(.*)", " ".join(line.split()), re.DOTALL
        ).groups()  # type: ignore[union-attr]
        yield f".SY {escaped(name)}".replace(" netdevns", ' "netdevns') + '"' * (" " in name)
        yield from marked(arguments.replace("[-h] ", "").replace("[-h]", "").translate(BRACES)).splitlines()
        yield ".YS"


def body(text: str) -> Iterator[str]:
    """A help text: paragraphs, what is indented as it is, and the meanings of exit codes as a list."""
    for paragraph in filter(None, re.split(r"\n\n+", text.strip("\n"))):
        if paragraph.startswith("exit codes:"):
            yield ".PP"
            yield "Exit codes:"
            yield from exit_codes(paragraph.removeprefix("exit codes:"))
            continue
        yield ".PP"
        indented = False
        for line in paragraph.splitlines():
            if line.startswith("  ") != indented:
                indented = not indented
                yield from (".RS 4", ".EX") if indented else (".EE", ".RE")
            yield (
                escaped(line[2:])
                if indented
                else marked(line[:1].upper() + line[1:] if line.startswith("ex") else line)
            )
        if indented:
            yield from (".EE", ".RE")


def exit_codes(text: str) -> Iterator[str]:
    """`0 done; 1 failed ...`, in lines or separated by semicolons."""
    flat = " ".join(text.split())
    for code, meaning in re.findall(r"(?:^|(?<=[ ;]))(\d) +(.*?)(?:;? (?=\d )|$)", flat):
        yield ".TP"
        yield f".B {code}"
        yield marked(meaning)


def arguments(command: argparse.ArgumentParser) -> Iterator[str]:
    for action in command._actions:
        if isinstance(action, argparse._HelpAction):
            continue
        yield ".TP"
        value = "" if action.nargs == 0 else action.metavar or "|".join(action.choices or ())
        yield marked(", ".join(action.option_strings) + (f" {value}" if action.option_strings and value else "")) or (
            f"\\fI{escaped(str(value))}\\fP" if action.metavar else f"\\fB{escaped(str(value))}\\fP"
        )
        text = (action.help or "").rstrip(".")
        yield marked(text[:1].upper() + text[1:] + ".")


def man() -> str:
    """The page's text."""
    top = parser()
    netns, codes = manual.NETNS, manual.EXIT_CODES
    lines = [HEAD.strip(), ".SH SYNOPSIS"]
    for command, _ in commands(top).values():
        lines += synopsis(command)
    lines += [".SH DESCRIPTION", *marked(manual.ABOUT.strip()).splitlines(), *body(netns), ".SH COMMANDS"]
    for name, (command, _) in commands(top).items():
        lines += [f'.SS "netdevns {name}"']
        lines += [*list(body(command.description or ""))[1:], *arguments(command)]  # no .PP after .SS
    lines += [".SH EXIT STATUS", *list(exit_codes(codes.partition(":")[2])), TAIL.strip()]
    return "\n".join(wrapped(lines)) + "\n"


def wrapped(lines: list[str]) -> Iterator[str]:
    """Lines of at most 80 bytes where they may be filled: not requests, and not what is shown as it is."""
    shown = False
    for line in lines:
        shown = line == ".EX" or (shown and line != ".EE")
        if shown or line.startswith("."):
            yield line
        else:
            for part in textwrap.wrap(line, 80, break_long_words=False, break_on_hyphens=False) or [""]:
                yield f"\\&{part}" if part.startswith(".") else part  # of "..." a line that is no request


# ---- the command ---------------------------------------------------------------------------------------------------


def pages() -> dict[Path, str]:
    """Each file and what is to be in it."""
    made = {MAN: man()}
    for path, shell in pages_completions.FILES.items():
        top = parser()
        made[TOP / path] = pages_completions.text(top, commands(top), tuple(PRESERVABLE), shell)
    return made


def main(arguments: list[str]) -> int:
    stale = [path for path, text in pages().items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    if arguments == ["--check"]:
        for path in stale:
            print(f"{path.relative_to(TOP)} is not what the parser says: run tools/pages", file=sys.stderr)
        return bool(stale)
    for path, text in pages().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        print(path.relative_to(TOP))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Reports what happened to a pod: on stderr, in hook.log and to syslog."""

from __future__ import annotations

from collections.abc import Sequence

from ..oci import hook_log
from ..oci.hook_log import STDERR_WAIT_S
from ..text.outcome import bounded
from ..text.output import complain
from ..text.quote import quoted


def report(label: str, lines: Sequence[str], is_error: bool = True) -> None:
    """Reports lines about a pod; `label`: NAMESPACE/NAME; empty: about none in particular."""
    if not lines:
        return
    who = f"pod {label}" if label else ""
    lines = bounded(lines)
    complain([f"{quoted(who)}: {line}" if who else line for line in lines], 0, STDERR_WAIT_S)
    hook_log.report(lines, container=who, is_error=is_error)

"""One result of `netdevns doctor`."""

from __future__ import annotations

from dataclasses import dataclass

OK, WARNING, ERROR = "ok", "warning", "error"


@dataclass(frozen=True)
class Finding:
    """One result.

    Attributes:
        check: The check's name: one of `checks.NAMES`.
        severity: "error": a container that needs this gets no device, or a device is not where it should be; "warning":
            it may come to that; "ok".
        subject: The file, program, device or record.
        text: One line: the state, and what follows from it.
        hint: The remedy: a command to type, or what to do; None only if the severity is "ok".
    """

    check: str
    severity: str
    subject: str
    text: str
    hint: str | None = None

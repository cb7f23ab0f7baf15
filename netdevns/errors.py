"""The exceptions of this package, which say where each device is."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # dataclasses: half of what a hook without devices would load (`./tools/bench startup`)
    from .reports import Recovered, Report
    from .results import Left


class NetDevError(OSError):
    """An operation on network devices failed.

    Attributes:
        errno: The kernel's, or the one it would have given; 0 if no system call failed.
        extack: The kernel's extended ack text; may be empty.
        device: The host name of the device at fault, or None.
        step: "open", "check", or one of `MoveFailed`; "exchange" (a netlink exchange) outside of these; or None.
        netns: The target namespace as the caller named it, or None.
        rolled_back: True if the state before the call is restored.
        location: Where the device at fault is now: "source", "target", "init", "gone" or "unknown"; None without one.
        left: The devices that are not restored completely, one `Left` each; empty exactly if `rolled_back`.
        earlier: Devices of killed moves and ended containers, tried before the checks: restored, gone, or "kept".
    """

    def __init__(
        self,
        text: str,
        *,
        errno: int = 0,
        extack: str = "",
        device: str | None = None,
        step: str | None = None,
        netns: str | None = None,
        location: str | None = None,
        left: tuple[Left, ...] = (),
        earlier: tuple[Recovered, ...] = (),
    ) -> None:
        super().__init__(errno, text)
        self.text = text
        self.extack = extack
        self.device = device
        self.step = step
        self.netns = netns
        self.location = location
        self.left = left
        self.earlier = earlier

    @property
    def rolled_back(self) -> bool:
        return not self.left

    def __str__(self) -> str:
        return self.text

    def _state(self) -> dict[str, object]:
        names = ("errno", "extack", "device", "step", "netns", "location", "left", "earlier")
        return {name: getattr(self, name) for name in names}

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.text, self._state())


def _rebuild(cls: type[NetDevError], text: str, state: dict[str, object]) -> NetDevError:
    return cls(text, **state)  # type: ignore[arg-type]  # the names are those of _state


class CheckFailed(NetDevError):
    """The checks refuse the move: nothing was touched.

    Attributes:
        report: Every finding; text, errno and device of this exception are those of the first.

    Example:
        >>> import netdevns
        >>> try:
        ...     netdevns.move({"eth9": "net0", "lo": ""}, "blue")
        ... except netdevns.CheckFailed as e:
        ...     [finding.code for finding in e.report.findings if finding.severity == "error"]
        ['device.unknown', 'device.immutable', 'name.taken']
    """

    def __init__(self, text: str, *, report: Report, **state: object) -> None:
        super().__init__(text, **state)  # type: ignore[arg-type]
        self.report = report

    def _state(self) -> dict[str, object]:
        return {**super()._state(), "report": self.report}


class MoveFailed(NetDevError):
    """A step failed after the checks: everything is back in the source, unless `left` says otherwise.

    `step` is "snapshot", "record", "down" (all links set down at once), "move", "watch" (late addresses), "replay"
    (addresses and IFF_UP in the target), "carry" (state of `preserve`), "verify" (errno 0: the result differs from the
    snapshot), "exchange" (a netlink exchange outside of these), "time-out", "interrupt", "process" (the container's
    process, into whose namespace a hook moves devices, has ended) or "target" (its path leads elsewhere or is gone).
    """


class ConfigInvalid(ValueError):
    """A config.json or a hook's state is not valid by the runtime-spec; the text names the place in it.

    Example:
        >>> from netdevns import oci
        >>> oci.net_devices({"linux": {"netDevices": {"eth1": "net0"}}})
        Traceback (most recent call last):
            ...
        netdevns.errors.ConfigInvalid: linux.netDevices.eth1: an object such as {"name": "net0"} is needed, not a string
    """

"""Sets in the target the state that `preserve` asks for: sysctls, neighbours, routes.

State that the target refuses is reported in `not_carried` and does not fail the move; a failed exchange does, as in
every step. An undo needs no counterpart: the kernel drops all this state when the device leaves.
"""

from __future__ import annotations

from collections.abc import Sequence

from .. import state
from ..engine.batch_device import BatchDevice
from ..state.kind import DOWN, WHEN_UP, chosen
from ..state.restore import Restorer
from .plan import Plan, Sides


class Preserver:
    """Preserves state of devices in the target: first while all are down, then when all are up with their addresses.

    Sysctls are set before, as addresses and IFF_UP depend on them (disable_ipv6, addr_gen_mode, ...).
    """

    def __init__(self, plan: Plan, sides: Sides, members: Sequence[BatchDevice]) -> None:
        kinds = [*chosen(state.KINDS, plan.preserve)]
        self._owner = {member.target_ifindex: member for member in members}
        self._here = {member.link.ifindex: member.target_ifindex for member in members}
        before = plan.view(members)
        self._restorer = Restorer(kinds, sides.target_socket, sides.target.fd, before, preserve=True)

    def before_up(self) -> None:
        self._restorer.run([DOWN], self._here)

    def after_up(self) -> None:
        self._restorer.run(WHEN_UP, self._here)
        for each in self._restorer.unrestored(self._here):
            self._owner[each.ifindex].lost.append(each.words)

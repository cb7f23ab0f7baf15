"""State that a device has besides its addresses: one file a kind, and `restore`, which sends the repairs."""

from collections.abc import Collection, Mapping

from ..engine import Socket
from ..netlink import wire
from .kind import Kind
from .link_settings import LinkSettings
from .masters import Masters
from .neigh_parameters import NeighParameters
from .neighbours import Neighbours
from .nexthops import Nexthops
from .ports import Ports
from .qdiscs import Qdiscs
from .routes import Routes
from .sysctls import Sysctls

# In the order of restoring within a stage, and of reporting. A new kind is a file and a line here.
KINDS: list[Kind] = [
    LinkSettings(), Masters(), Sysctls(), NeighParameters(), Ports(), Qdiscs(), Nexthops(), Routes(), Neighbours(),
]  # fmt: skip


def read(socket: Socket, links: Mapping[int, wire.Link], about: Collection[int]) -> dict[str, bytes]:
    """Reads the state of all kinds before a move; arguments as in `Kind.read`. Raises EngineError."""
    return {kind.name: kind.read(socket, links, about) for kind in KINDS if kind.is_read_before}

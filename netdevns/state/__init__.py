"""What a device has besides its link and addresses: one file a kind of state, and `restore`, which puts all back."""

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

# In the order within a stage, and of what is told. A new kind is a file and a line here.
KINDS: list[Kind] = [
    LinkSettings(), Masters(), Sysctls(), NeighParameters(), Ports(), Qdiscs(), Nexthops(), Routes(), Neighbours(),
]  # fmt: skip

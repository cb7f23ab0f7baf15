"""The phases of a batch, of the engine that is used; not in its __init__: they ask by `lookups`, which uses it."""

from . import NAME

TYPE_CHECKING = False
if NAME == "native" or TYPE_CHECKING:
    from .native.phases import Phases
else:
    from .reference.phases import Phases

__all__ = ["Phases"]

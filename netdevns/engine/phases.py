"""The phases of a batch, of the engine that is used; not in its __init__: they ask by `lookups`, which uses it."""

from typing import TYPE_CHECKING

from . import NAME

if NAME == "native" or TYPE_CHECKING:
    from .native.phases import Phases
else:
    from .reference.phases import Phases

__all__ = ["Phases"]

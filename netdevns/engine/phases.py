"""Exports the engine's `Phases`; not in `engine/__init__`, which they import through `lookups`."""

from typing import TYPE_CHECKING

from . import NAME

if NAME == "native" or TYPE_CHECKING:
    from .native.phases import Phases
else:
    from .reference.phases import Phases

__all__ = ["Phases"]

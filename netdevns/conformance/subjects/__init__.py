"""The probes, one or more modules per subject; the modules here are found automatically."""

from __future__ import annotations

import importlib
import pkgutil

from ..probe import Probe, of_module


def every() -> list[Probe]:
    """All probes, in the order of the modules' names."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return [each for name in names for each in of_module(importlib.import_module(f".{name}", package=__name__))]

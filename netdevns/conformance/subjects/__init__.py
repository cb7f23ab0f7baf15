"""The probes, one module a subject. Every module of this folder is found by itself."""

from __future__ import annotations

import importlib
import pkgutil

from ..probe import Probe, of_module


def every() -> list[Probe]:
    """All probes, module after module in the order of their names."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return [each for name in names for each in of_module(importlib.import_module(f".{name}", package=__name__))]

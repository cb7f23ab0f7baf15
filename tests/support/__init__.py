"""What the tests share: namespaces, the raw-dump oracle, device kinds, and what may be missing."""

from .require import require

__all__ = ["require"]

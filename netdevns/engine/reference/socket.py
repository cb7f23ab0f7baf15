"""The reference engine's socket."""

from __future__ import annotations

from collections.abc import Collection

from ...netlink import rtnl
from .filter import Filter


class Socket(rtnl.Socket):
    """`rtnl.Socket`, with dumps filtered by device."""

    def query(
        self,
        request: bytes,
        size: int = 0,  # noqa: ARG002  # a hint for the native engine
        about: Collection[int] | None = None,
        names: Collection[bytes] = (),
    ) -> tuple[int, bytes]:
        """Sends requests that change nothing; returns the first one's seq and all replies, errors included.

        `about`: keeps only messages about these ifindexes and names (nd_filter_keeps in csrc/netdevns-core.h).
        """
        exchange = self._exchange(request, keep=True, keeps=None if about is None else Filter(about, names).rule)
        return exchange.first, bytes(exchange.kept)

    def read(
        self,
        request: bytes,
        size: int = 0,  # noqa: ARG002  # a hint for the native engine
        about: Collection[int] | None = None,
        names: Collection[bytes] = (),
    ) -> memoryview:
        """The same replies, not copied."""
        keeps = None if about is None else Filter(about, names).rule
        return memoryview(self._exchange(request, keep=True, keeps=keeps).kept)

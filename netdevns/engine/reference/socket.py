"""The reference engine's socket."""

from __future__ import annotations

from collections.abc import Collection

from ...netlink import rtnl
from .filter import Filter


class Socket(rtnl.Socket):
    """The client's own socket, with dumps about some devices."""

    def query(  # type: ignore[override]
        self,
        request: bytes,
        size: int = 0,
        about: Collection[int] | None = None,
        names: Collection[bytes] = (),
    ) -> tuple[int, bytes]:
        """Sends requests that change nothing; returns the seq of the first and all answers, refusals included.

        `about`: only what csrc/netdevns-core.h says of nd_filter_keeps, for these ifindexes and names.
        """
        return super().query(request, size, None if about is None else Filter(about, names).rule)

    def read(
        self,
        request: bytes,
        size: int = 0,  # noqa: ARG002  # a hint that is not needed
        about: Collection[int] | None = None,
        names: Collection[bytes] = (),
    ) -> memoryview:
        """The same answers, not copied."""
        keeps = None if about is None else Filter(about, names).rule
        return memoryview(self._exchange(request, keep=True, keeps=keeps).kept)

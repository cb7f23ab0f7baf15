"""Splits netlink dumps into messages with one call of the core for each dump: csrc/binding.h."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ..._ffi import ffi, lib
from ...netlink import wire
from ...netlink.error import EngineError
from .memory import new_raw

ADDRESS_BYTES = 24  # minimum of a message about an address: nlmsghdr, ifaddrmsg


def spans(data: bytes | memoryview) -> Iterator[tuple[int, int, int]]:
    """As wire.spans, but all at once: raises wire.Malformed before the first if any length is wrong."""
    return _spans(lib.nd_spans, data)


def foreign_routes(dumped: bytes | memoryview) -> Iterator[tuple[int, int, int]]:
    """The same for routes that the kernel did not make with an address, and default routes."""
    return _spans(lib.nd_route_spans, dumped)


def _spans(find: Callable[..., int], data: bytes | memoryview) -> Iterator[tuple[int, int, int]]:
    numbers = new_raw("uint32_t[]", 3 * (len(data) // wire.NLMSGHDR.size))
    with ffi.from_buffer(data) as view:  # see address_runs
        found = find(view, len(data), numbers, len(numbers) // 3)
    if found < 0:
        raise wire.Malformed("a netlink message with a wrong length")
    each = iter(ffi.unpack(numbers, 3 * found))
    return zip(each, each, each, strict=True)


def address_runs(messages: bytes | memoryview) -> Iterator[tuple[int, memoryview]]:
    """Runs of consecutive messages about one device's addresses: its ifindex, and the messages.

    Raises:
        EngineError: EBADMSG: a message has a wrong length.
    """
    view = memoryview(messages)
    runs = new_raw("struct nd_run[]", len(view) // ADDRESS_BYTES)
    # Released at once, not with the last traceback that refers to it: CPython before 3.11.8 and 3.12.2 crashes when an
    # exported memoryview is collected with a cycle (gh-77894).
    with ffi.from_buffer(messages) as data:
        found = lib.nd_addr_runs(data, len(view), runs, len(runs))
    if found < 0:
        raise EngineError(-found, "a netlink message with a wrong length", "exchange")
    for run in runs[0:found]:
        yield run.ifindex, view[run.at : run.at + run.len]

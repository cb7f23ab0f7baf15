"""The connection to a runtime: calls that come in, answers that go out, and the plugin's registration."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Iterator, Mapping
from typing import Self

from . import framing, messages
from .framing import Frame, Unpacker
from .messages import Request, Response
from .protobuf import Malformed

PART_BYTES = 1 << 16
SEND_WAIT_S = 5.0  # a runtime that reads nothing for so long is stopped
SOCKET_VARIABLE = "NRI_PLUGIN_SOCKET"  # of a plugin that the runtime starts: a descriptor
_REGISTRATION = 1


class Closed(Exception):
    """The connection is closed, or useless: the reason, or empty where the runtime has just ended it."""


class Connection:
    """A context manager that closes it.

    Args:
        opened: Connected to the runtime.
    """

    def __init__(self, opened: socket.socket) -> None:
        self._socket = opened
        self._socket.settimeout(SEND_WAIT_S)
        self._unpacker = Unpacker()

    @classmethod
    def to(cls, path: str) -> Self:
        """Connects to the runtime's socket. Raises OSError."""
        opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            opened.settimeout(SEND_WAIT_S)
            opened.connect(path)
        except BaseException as e:
            opened.close()
            if isinstance(e, OSError) and e.errno is None:  # TimeoutError, or a path that is too long
                raise OSError(errno.ETIMEDOUT, str(e) or os.strerror(errno.ETIMEDOUT)) from None
            raise
        return cls(opened)

    @classmethod
    def inherited(cls, environment: Mapping[str, str]) -> Self | None:
        """That of a plugin which the runtime has started, or None. Raises OSError: it is no socket."""
        given = environment.get(SOCKET_VARIABLE)
        if given is None:
            return None
        if not (given.isascii() and given.isdigit() and len(given) < 10):
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        os.set_inheritable(int(given), False)
        return cls(socket.socket(fileno=int(given)))

    def fileno(self) -> int:
        return self._socket.fileno()

    def register(self, name: str, index: str) -> None:
        """Asks the runtime to take this plugin. Raises Closed."""
        self._send(Frame(framing.RUNTIME, _REGISTRATION, framing.REQUEST, messages.registration(name, index)))

    def answer(self, number: int, response: Response) -> None:
        """Answers a call. Raises Closed."""
        self._send(Frame(framing.PLUGIN, number, framing.RESPONSE, response.encode()))

    def _send(self, frame: Frame) -> None:
        try:
            self._socket.sendall(frame.packed())
        except OSError as e:
            raise Closed(e.strerror or str(e)) from None

    def calls(self) -> Iterator[tuple[int, Request]]:
        """The calls that are complete with the next PART_BYTES: their numbers, and what they ask. Raises Closed.

        Only when poll has reported data; and no more of them, so that answers go out while a runtime never pauses.
        """
        try:
            data = self._socket.recv(PART_BYTES)
            if not data:
                raise Closed
            for frame in self._unpacker.feed(data):
                yield from self._call(frame)
        except Malformed as e:
            raise Closed(f"the runtime sends no NRI: {e}") from None
        except OSError as e:
            raise Closed(e.strerror or str(e)) from None

    def _call(self, frame: Frame) -> Iterator[tuple[int, Request]]:
        if frame.connection == framing.PLUGIN and frame.kind == framing.REQUEST:
            yield frame.stream, Request.decode(frame.data)
        elif frame.connection == framing.RUNTIME and frame.kind == framing.RESPONSE:
            response = Response.decode(frame.data)
            if response.code != messages.OK:
                raise Closed(f"the runtime refuses this plugin: {response.text}")

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

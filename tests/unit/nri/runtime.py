"""A runtime that a test plays: it accepts the plugin's connection, and calls it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from netdevns.nri import framing, messages
from netdevns.nri.framing import Frame, Unpacker
from netdevns.nri.messages import Request, Response
from netdevns.nri.protobuf import encoded

WAIT_S = 120.0


def pod(netns: str = "", **annotations: str) -> bytes:
    """A PodSandbox default/web, with annotations of devices."""
    parts = [encoded({1: "1" * 64, 2: "web", 4: "default"})]
    for device, name in annotations.items():
        parts.append(encoded({6: encoded({1: f"org.netdevns.device.{device}", 2: name})}))
    if netns:
        parts.append(encoded({8: encoded({5: encoded({1: "network", 2: netns})})}))
    return b"".join(parts)


class Connected:
    """The runtime's end of a connection."""

    def __init__(self, opened: socket.socket) -> None:
        opened.settimeout(WAIT_S)
        self.socket = opened
        self._unpacker = Unpacker()
        self._frames: list[Frame] = []
        self._number = 1

    def receive(self) -> Frame:
        """The next message. Raises EOFError: the plugin has closed the connection."""
        while not self._frames:
            data = self.socket.recv(65536)
            if not data:
                raise EOFError
            self._frames += self._unpacker.feed(data)
        return self._frames.pop(0)

    def registered(self, response: Response | None = None) -> tuple[str, bytes]:
        """Answers the plugin's registration; returns its method and payload."""
        frame = self.receive()
        assert (frame.connection, frame.kind) == (framing.RUNTIME, framing.REQUEST)
        answer = Frame(framing.RUNTIME, frame.stream, framing.RESPONSE, (response or Response()).encode())
        self.socket.sendall(answer.packed())
        request = Request.decode(frame.data)
        return request.method, request.payload

    def send(self, method: str, payload: bytes = b"", service: str = messages.PLUGIN_SERVICE) -> int:
        """Calls the plugin; returns the call's number."""
        (number,) = self.send_at_once((method, payload), service=service)
        return number

    def send_at_once(self, *calls: tuple[str, bytes], service: str = messages.PLUGIN_SERVICE) -> list[int]:
        """Calls the plugin with methods and payloads, none of which waits for another; returns the calls' numbers."""
        numbers, frames = [], []
        for method, payload in calls:
            data = Request(service, method, payload).encode()
            frames.append(Frame(framing.PLUGIN, self._number, framing.REQUEST, data).packed())
            numbers.append(self._number)
            self._number += 2
        self.socket.sendall(b"".join(frames))
        return numbers

    def call(self, method: str, payload: bytes = b"", service: str = messages.PLUGIN_SERVICE) -> Response:
        """Calls the plugin, and waits for the answer."""
        number = self.send(method, payload, service)
        frame = self.receive()
        assert (frame.connection, frame.stream, frame.kind) == (framing.PLUGIN, number, framing.RESPONSE)
        return Response.decode(frame.data)


class Runtime:
    """The runtime's socket, and a plugin that connects to it."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "nri.sock")
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen()
        self.listener.settimeout(WAIT_S)
        self.process: subprocess.Popen[str] | None = None

    def start(self, *arguments: str, **how: object) -> subprocess.Popen[str]:
        """Starts the plugin."""
        words = [sys.executable, "-m", "netdevns", "nri", "--socket", self.path, *arguments]
        self.process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, **how)
        return self.process

    @contextlib.contextmanager
    def connected(self) -> Iterator[Connected]:
        """The plugin's next connection."""
        opened, _ = self.listener.accept()
        with opened:
            yield Connected(opened)

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """Ends the plugin; returns its exit code and what it has printed on stderr."""
        assert self.process is not None
        with self.process:
            os.kill(self.process.pid, number)
            _, said = self.process.communicate(timeout=WAIT_S)
        return self.process.returncode, said

    def close(self) -> None:
        self.listener.close()
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            self.process.communicate()

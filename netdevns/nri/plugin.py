"""The plugin: connects to the runtime, answers its calls in time, and connects again when that has ended."""

from __future__ import annotations

import errno
import os
import select
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import ConfigInvalid, NetDevError
from ..oci import hook_log
from ..system.interrupts import ENDING
from ..text.outcome import FAILED, LEFT, bounded
from ..text.output import complain
from ..text.quote import quoted
from . import messages, pods
from .connection import Closed, Connection
from .messages import Configuration, Pod, Request, Response
from .protobuf import Malformed
from .rules import Rules
from .worker import Job, Worker

NAME = "netdevns"
REQUEST_TIMEOUT_S = 2.0  # plugin_request_timeout, where the runtime does not say
# Parts of that: until then devices are moved, as an undo takes as long; until then a call is answered in any case.
MOVE_PART, ANSWER_PART = 0.4, 0.85
RETRY_S = 1.0
END_WAIT_S = 10.0
STDERR_WAIT_S = 1.0


@dataclass(frozen=True)
class Place:
    """Where the plugin is connected, and its place in the order of plugins.

    Attributes:
        socket: The runtime's; "": the runtime has started this process, and inherited a connection.
        name, index: As for RegisterPlugin; two digits.
    """

    socket: str
    name: str
    index: str


def report(label: str, lines: Sequence[str], is_error: bool = True) -> None:
    """Writes lines about a pod, or none in particular, to stderr, hook.log and syslog."""
    if not lines:
        return
    who = f"pod {label}" if label else ""
    lines = bounded(lines)
    complain([f"{quoted(who)}: {line}" if who else line for line in lines], 0, STDERR_WAIT_S)
    unlogged = hook_log.log(lines, container=who, is_error=is_error)
    complain([unlogged] if unlogged else [], 0, STDERR_WAIT_S)


def _answer_at(timeout_s: float) -> float:
    return time.monotonic() + timeout_s * ANSWER_PART


class Plugin:
    """The plugin; its thread reads and answers.

    Args:
        rules: What the operator grants.
        place: The runtime.
    """

    def __init__(self, rules: Rules, place: Place) -> None:
        self._rules = rules
        self._place = place
        self._is_ending = False
        self._woken, self._waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._timeout_s = REQUEST_TIMEOUT_S
        self._pods: list[Pod] = []  # of a SynchronizeRequest in several parts
        self._open: list[Job] = []
        self._said = ""
        self._worker = Worker(
            self._wake, lambda line: report("", [line]), REQUEST_TIMEOUT_S * MOVE_PART, time.monotonic
        )

    def run(self) -> int:
        """Serves the runtime until a signal ends this process, or the runtime one that it has started; exit code."""
        signal.set_wakeup_fd(self._waker, warn_on_full_buffer=False)
        for number in ENDING:
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup
                signal.signal(number, self._end)
        while not self._is_ending and not self._worker.is_lost:
            try:
                self._connected()
            except Closed as e:
                self._say(f"{self._place.socket or 'the runtime'}: {e}" if str(e) else "the runtime has ended")
            except OSError as e:
                self._say(f"{self._place.socket or 'the runtime'}: {e.strerror}; waiting for the runtime")
            self._pods, self._open = [], []
            if not self._place.socket:
                break
            self._wait(RETRY_S)
        if self._worker.is_lost:
            return LEFT
        return 0 if self._worker.end(END_WAIT_S) else complain(["a move still runs; it is recorded"], FAILED)

    def _end(self, number: int, frame: object) -> None:  # noqa: ARG002  # the signature of a handler
        self._is_ending = True

    def _say(self, line: str) -> None:
        """Reports a line unless it was the last one: a runtime may be away for hours."""
        if line != self._said:
            report("", [line])
        self._said = line

    def _wake(self) -> None:
        try:
            os.write(self._waker, b"\0")
        except BlockingIOError:  # it is awake already
            return

    def _wait(self, seconds: float | None, connection: Connection | None = None) -> bool:
        """Waits for the time, a signal, an answer, or data; whether there are data."""
        poll = select.poll()
        poll.register(self._woken, select.POLLIN)
        if connection is not None:
            poll.register(connection, select.POLLIN)
        ready = [fd for fd, _ in poll.poll(None if seconds is None else max(0.0, seconds) * 1000)]
        if self._woken in ready:
            os.read(self._woken, 4096)
        return connection is not None and connection.fileno() in ready

    # ---- a connection ------------------------------------------------------------------------------------------------

    def _connected(self) -> None:
        """Serves one connection to its end. Raises Closed, OSError."""
        place = self._place
        opened = Connection.to(place.socket) if place.socket else Connection.inherited(os.environ)
        if opened is None:
            raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))
        with opened as connection:
            connection.register(place.name, place.index)
            while not self._is_ending and not self._worker.is_lost:
                self._answer(connection)
                times = [job.answer_at for job in self._open]
                if self._wait(min(times) - time.monotonic() if times else None, connection):
                    for number, request in connection.calls():
                        self._take(connection, number, request)
            if self._worker.end(END_WAIT_S):  # what is being done is done, and answered
                self._answer(connection)

    def _answer(self, connection: Connection) -> None:
        """Sends the answers that are ready, and those whose time is over. Raises Closed."""
        while self._worker.answers:
            job, response = self._worker.answers.popleft()
            if job in self._open:  # and not of an earlier connection
                self._open.remove(job)
                connection.answer(job.number, response)
        now = time.monotonic()
        for job in [each for each in self._open if each.answer_at <= now]:
            if job.claim():
                self._open.remove(job)
                connection.answer(job.number, job.late)

    def _take(self, connection: Connection, number: int, request: Request) -> None:
        try:
            response = self._taken(number, request)
        except Malformed as e:
            response = Response(code=messages.INVALID, text=f"{request.method}: {e}")
        if response is not None:
            connection.answer(number, response)

    def _taken(self, number: int, request: Request) -> Response | None:
        """Answers a call, or gives it to the worker."""
        if request.service != messages.PLUGIN_SERVICE:
            return Response(code=messages.UNIMPLEMENTED, text=f"unknown service {request.service}")
        if request.method == "Configure":
            configuration = Configuration.decode(request.payload)
            self._timeout_s = configuration.request_timeout_s or REQUEST_TIMEOUT_S
            self._say(f"connected to {quoted(configuration.runtime)} {quoted(configuration.version)}")
            return Response(messages.subscription())
        timeout_s = min(request.timeout_s or self._timeout_s, self._timeout_s)
        if request.method == "Synchronize":
            return self._synchronize(number, request, timeout_s)
        if request.method == "Shutdown":
            return Response()
        if request.method not in ("StateChange", messages.RUN, messages.STOP, messages.REMOVE):
            return Response(code=messages.UNIMPLEMENTED, text=f"unknown method {request.method}")
        event, pod = messages.event(request)
        if pod is None or not event:
            return Response()
        if event == messages.RUN:
            text = f"{pod.label}: its devices could not be moved in time; the move is undone"
            late = Response(code=messages.DEADLINE, text=text)
            end = time.monotonic() + timeout_s * MOVE_PART
            job = Job(number, lambda: self._run_pod(pod, end), late, _answer_at(timeout_s), lambda: self._undo(pod))
        else:
            job = Job(number, lambda: self._give_back(pod), Response(), _answer_at(timeout_s))
        self._open.append(job)
        self._worker.submit(job)
        return None

    def _synchronize(self, number: int, request: Request, timeout_s: float) -> Response | None:
        some, has_more, answer = messages.synchronized(request.payload)
        self._pods += some
        if has_more:
            return Response(answer)
        all_pods, self._pods = self._pods, []
        job = Job(number, Response, Response(), _answer_at(timeout_s))
        self._open.append(job)
        self._worker.settle(job, pods.missed(all_pods, self._rules, report))
        return None

    # ---- in the worker's thread --------------------------------------------------------------------------------------

    def _run_pod(self, pod: Pod, end: float) -> Response:
        try:
            report(pod.label, pods.run(pod, self._rules, end), False)
        except (ConfigInvalid, NetDevError) as e:
            if isinstance(e, NetDevError) and e.errno == errno.ENOTRECOVERABLE:
                raise
            lines = bounded(pods.lines_of(e))
            report(pod.label, lines)
            return Response(code=messages.UNKNOWN, text=f"netdevns: {'; '.join(lines)}")
        return Response()

    def _undo(self, pod: Pod) -> None:
        report(pod.label, ["its devices could not be moved in time; they are restored, and the pod fails"])
        self._give_back(pod)

    def _give_back(self, pod: Pod) -> Response:
        lines, is_error = pods.give_back(pod)
        report(pod.label, lines, is_error)
        return Response()

"""The plugin: connects to the runtime, answers its calls in time, and connects again when that has ended."""

from __future__ import annotations

import errno
import os
import select
import signal
import time
from dataclasses import dataclass

from .. import limits
from ..errors import ConfigInvalid, NetDevError
from ..system.interrupts import ENDING
from ..text.outcome import FAILED, LEFT, bounded
from ..text.output import complain
from ..text.quote import quoted
from . import messages
from .connection import SOCKET_VARIABLE, Closed, Connection
from .messages import Configuration, Pod, Request, Response
from .pods import Pods, lines_of
from .protobuf import Malformed
from .report import report
from .rules import Rules
from .worker import Job, Worker

NAME = "netdevns"
REQUEST_TIMEOUT_S = 2.0  # plugin_request_timeout, where the runtime does not say
# Of that: until then devices are moved, so that the reason of a failure is the answer; until then any answer is sent.
MOVE_PART, ANSWER_PART = 0.7, 0.85
LOOK_S = 1.0
RETRY_S = 1.0
CONFIGURE_S = 5.0  # a runtime that does not call Configure for so long is reported
END_WAIT_S = 10.0
PART_WAIT_S = 0.05  # of that: then answers that are ready are sent


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


class Plugin:
    """The plugin; its thread reads and answers.

    Args:
        rules: What the operator grants.
        place: The runtime.
    """

    def __init__(self, rules: Rules, place: Place) -> None:
        self._rules = rules
        self._place = place
        self._is_ending = self._is_configured = False
        self._woken, self._waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._timeout_s = REQUEST_TIMEOUT_S
        self._pods: list[Pod] = []  # of a SynchronizeRequest in several parts
        self._open: list[Job] = []
        self._said = ""
        self._of_runtime = Pods(rules, report)  # of the worker's thread
        self._worker = Worker(self._wake, lambda line: report("", [line]), self._of_runtime.look, LOOK_S)

    def run(self) -> int:
        """Serves the runtime until a signal ends this process, or the runtime one that it has started; exit code."""
        signal.set_wakeup_fd(self._waker, warn_on_full_buffer=False)
        for number in ENDING:
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup
                signal.signal(number, self._end)
        where = self._place.socket or f"{SOCKET_VARIABLE}={os.environ.get(SOCKET_VARIABLE)}"
        while not self._is_ending and not self._worker.is_lost:
            try:
                self._connected()
            except Closed as e:
                self._say(f"{where}: {e}" if str(e) else "the runtime has ended")
            except OSError as e:
                if not self._place.socket:
                    return complain([f"{where}: {e.strerror}"], FAILED)
                is_off = e.errno in (errno.ENOENT, errno.ECONNREFUSED)
                asks = " (is NRI enabled in the runtime's configuration?)" if is_off else ""
                self._say(f"{where}: {e.strerror}; waiting for the runtime{asks}")
            self._forget_calls()
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

    def _forget_calls(self) -> None:
        """Reports the pods whose calls were not answered: the runtime goes on without the plugin."""
        for job in self._open:
            if job.claim() and job.pod:
                report(job.pod, ["the runtime did not wait for an answer: containers may have started without devices"])
        self._pods, self._open = [], []

    def _wait_for_call(self, connection: Connection, until: float | None) -> bool:
        """Waits as `_wait`, until the first answer is due."""
        times = [job.end for job in self._open] + ([] if until is None else [until])
        return self._wait(min(times) - time.monotonic() if times else None, connection)

    # ---- a connection ------------------------------------------------------------------------------------------------

    def _connected(self) -> None:
        """Serves one connection to its end. Raises Closed, OSError."""
        place = self._place
        opened = Connection.to(place.socket) if place.socket else Connection.inherited(os.environ)
        if opened is None:
            raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))
        with opened as connection:
            connection.register(place.name, place.index)
            self._is_configured = False
            until: float | None = time.monotonic() + CONFIGURE_S
            while not self._is_ending and not self._worker.is_lost:
                self._answer(connection)
                until = None if self._is_configured else until
                if until is not None and time.monotonic() >= until:
                    until = None
                    self._say(f"connected, but the runtime has not answered for {CONFIGURE_S:g} s: waiting for it")
                if self._wait_for_call(connection, until):
                    for number, request in connection.calls():
                        self._take(connection, number, request)
            while self._open and not self._worker.end(PART_WAIT_S):  # its current jobs; each has an end
                self._answer(connection)
            self._answer(connection, is_last=True)

    def _answer(self, connection: Connection, *, is_last: bool = False) -> None:
        """Sends the answers that are ready, and those whose time is over, or all. Raises Closed."""
        while self._worker.answers:
            job, response = self._worker.answers.popleft()
            if job in self._open:  # and not of an earlier connection
                self._open.remove(job)
                connection.answer(job.number, response)
        now = time.monotonic()
        for job in [each for each in self._open if is_last or each.end <= now]:
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
            self._is_configured = True
            self._say(f"connected to {quoted(configuration.runtime)} {quoted(configuration.version)}")
            return Response(messages.subscription())
        # Under way, a call's time is running already.
        timeout_s = min(request.timeout_s or self._timeout_s, self._timeout_s)
        now = time.monotonic()
        move_end, end = now + timeout_s * MOVE_PART, now + timeout_s * ANSWER_PART
        if request.method == "Synchronize":
            return self._synchronize(number, request, end)
        if request.method == "Shutdown":
            return Response()
        if request.method not in ("StateChange", *messages.EVENTS.values()):
            return Response(code=messages.UNIMPLEMENTED, text=f"unknown method {request.method}")
        event, pod = messages.event(request)
        if not self._rules.concerns(pod, is_starting=event == messages.CREATE):
            return Response()  # at once: other pods do not wait for the moves of some
        if event == messages.RUN:
            job = Job(number, lambda: self._start(pod, move_end), Response(), end, pod.label)
        elif event == messages.CREATE:
            text = f"netdevns: pod {pod.label}: its devices are not there in time; try again"
            late = Response(code=messages.DEADLINE, text=text)
            job = Job(number, lambda: self._ensure(pod, move_end), late, end, pod.label)
        elif event in (messages.STOP, messages.REMOVE):
            job = Job(number, lambda: self._give_back(pod), Response(), end)
        else:
            return Response()
        self._open.append(job)
        self._worker.submit(job)
        return None

    def _synchronize(self, number: int, request: Request, end: float) -> Response | None:
        some, has_more, answer = messages.synchronized(request.payload)
        self._pods += [pod for pod in some if self._rules.concerns(pod, is_starting=False)]
        if len(self._pods) > limits.PODS:
            self._pods = []
            text = f"more than {limits.PODS} pods have annotations of devices: what was missed is not settled"
            report("", [text])
            return Response(code=messages.INVALID, text=f"netdevns: {text}")
        if has_more:
            return Response(answer)
        all_pods, self._pods = self._pods, []
        job = Job(number, Response, Response(), end)
        self._open.append(job)
        self._worker.settle(job, self._of_runtime.missed(all_pods), self._timeout_s * MOVE_PART)
        return None

    # ---- in the worker's thread --------------------------------------------------------------------------------------

    def _start(self, pod: Pod, end: float) -> Response:
        """Moves the devices of a pod that starts; where that fails, its containers are refused, not the sandbox.

        A containerd before 2.2.6 that gets an error keeps parts of the sandbox, and does not start again (issue 13609).
        """
        try:
            report(pod.label, self._of_runtime.start(pod, end), False)
        except (ConfigInvalid, NetDevError) as e:
            _check_thread(e)
            report(pod.label, ["its containers are refused:", *lines_of(e)])
        return Response()

    def _ensure(self, pod: Pod, end: float) -> Response:
        """Refuses a container of a pod without its devices, after another try to move them."""
        try:
            report(pod.label, self._of_runtime.ensure(pod, end), False)
        except (ConfigInvalid, NetDevError) as e:
            _check_thread(e)
            lines = bounded(lines_of(e))
            report(pod.label, ["a container is refused:", *lines])
            return Response(code=messages.UNKNOWN, text=f"netdevns: {'; '.join(lines)}")
        return Response()

    def _give_back(self, pod: Pod) -> Response:
        self._of_runtime.give_back(pod)
        return Response()


def _check_thread(e: ConfigInvalid | NetDevError) -> None:
    """Raises an error after which the thread is still in a pod's network namespace, and must end."""
    if isinstance(e, NetDevError) and e.errno == errno.ENOTRECOVERABLE:
        raise e

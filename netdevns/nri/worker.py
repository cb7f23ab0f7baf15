"""One thread that does what the runtime asks for, one job after the other, while another one reads and answers.

The kernel, or another mover, may take longer than the runtime waits. A runtime that gets no answer in time drops the
plugin and starts containers without devices, so an answer is sent before that, whatever the job does.
"""

from __future__ import annotations

import errno
import queue
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator

from ..engine import EngineError
from ..errors import NetDevError
from ..system.interrupts import ENDING
from ..text.output import internal
from .messages import INTERNAL, Response
from .pods import Step


class Job:
    """A call that is to be answered, once, by the job itself or because its time is over.

    Args:
        number: The call's.
        work: Does it.
        late: The answer when its time is over; OK: the call is never refused, also after an unexpected error.
        end: The time of the monotonic clock at which that is sent.
        pod: The pod that must not go on without an answer; "": it may.
    """

    def __init__(self, number: int, work: Callable[[], Response], late: Response, end: float, pod: str = "") -> None:
        self.number = number
        self.work = work
        self.late = late
        self.end = end
        self.pod = pod
        self._once = threading.Lock()

    def claim(self) -> bool:
        """Whether the caller is the one to answer: true once."""
        return self._once.acquire(blocking=False)


class Worker:
    """The thread.

    Args:
        wake: Called from the thread when an answer is ready.
        report: Gets the line about an unexpected error.
        look: Called each `look_s` seconds while there is nothing else to do.

    Attributes:
        answers: Those that are ready.
        is_lost: The thread has ended, as it could not leave a pod's network namespace.
    """

    def __init__(
        self, wake: Callable[[], None], report: Callable[[str], None], look: Callable[[], None], look_s: float
    ) -> None:
        self.answers: deque[tuple[Job, Response]] = deque()
        self.is_lost = False
        self._wake, self._report, self._look, self._look_s = wake, report, look, look_s
        self._jobs: queue.SimpleQueue[Job | tuple[Job, Iterator[Step], float] | None] = queue.SimpleQueue()
        self._settling: tuple[Job, Iterator[Step], float] | None = None
        # It inherits the mask: a signal is for the thread that reads.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
        try:
            self._thread = threading.Thread(target=self._run, name="netdevns-nri", daemon=True)
            self._thread.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def submit(self, job: Job) -> None:
        """Takes a job. Jobs are done in their order, before further steps of `settle`."""
        self._jobs.put(job)

    def settle(self, job: Job, steps: Iterator[Step], step_s: float) -> None:
        """Takes the steps of a job, each of `step_s` seconds; they go on after it was answered."""
        self._jobs.put((job, steps, step_s))

    def end(self, wait_s: float) -> bool:
        """Ends the thread after its current jobs; False: they take longer."""
        self._jobs.put(None)
        self._thread.join(wait_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while not self.is_lost:
            try:
                job = self._jobs.get(block=self._settling is None, timeout=self._look_s)
            except queue.Empty:
                self._idle()
                continue
            if job is None:
                break
            if isinstance(job, Job):
                self._do(job)
            else:
                self._settling = job
        self._wake()

    def _do(self, job: Job) -> None:
        try:
            response = job.work()
        except Exception as e:
            text = self._unexpected(e)
            response = Response(code=INTERNAL, text=text) if job.late.code else job.late
        self._answer(job, response)

    def _idle(self) -> None:
        try:
            if self._settling is None:
                return self._look()
            _, steps, step_s = self._settling
            step = next(steps, None)
            if step is not None:
                return step(time.monotonic() + step_s)
        except Exception as e:
            self._unexpected(e)
        if self._settling is not None:
            job, self._settling = self._settling[0], None
            self._answer(job, Response())
        return None

    def _answer(self, job: Job, response: Response) -> None:
        if job.claim():
            self.answers.append((job, response))
            self._wake()

    def _unexpected(self, e: Exception) -> str:
        self.is_lost |= isinstance(e, (EngineError, NetDevError)) and e.errno == errno.ENOTRECOVERABLE
        text = str(e) if isinstance(e, NetDevError) else internal(e)
        self._report(text)
        return text

"""One thread that does what the runtime asks for, one job after the other, while another one reads and answers.

The kernel, or another mover, may take longer than the runtime waits. A runtime that gets no answer in time drops the
plugin and starts the pod without its devices, so an answer is sent before that, whatever the job does.
"""

from __future__ import annotations

import errno
import queue
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator

from ..errors import NetDevError
from ..system.interrupts import ENDING
from ..text.output import internal
from .messages import INTERNAL, OK, Response

Step = Callable[[float], None]


class Job:
    """A call that is to be answered, once, by the job itself or because its time is over.

    Args:
        number: The call's.
        work: Does it.
        late: The answer when its time is over.
        answer_at: The time of the monotonic clock at which that is sent.
        undo: Called where the work succeeded after that.
    """

    def __init__(
        self,
        number: int,
        work: Callable[[], Response],
        late: Response,
        answer_at: float,
        undo: Callable[[], None] | None = None,
    ) -> None:
        self.number = number
        self.work = work
        self.late = late
        self.answer_at = answer_at
        self.undo = undo
        self._once = threading.Lock()

    def claim(self) -> bool:
        """Whether the caller is the one to answer: true once."""
        return self._once.acquire(blocking=False)


class Worker:
    """The thread.

    Args:
        wake: Called from the thread when an answer is ready.
        report: Gets the line about an unexpected error.
        step_s: Seconds for a step of `settle`.
        clock: The monotonic clock.
    """

    def __init__(
        self, wake: Callable[[], None], report: Callable[[str], None], step_s: float, clock: Callable[[], float]
    ) -> None:
        self.answers: deque[tuple[Job, Response]] = deque()
        self.is_lost = False  # the thread could not leave a pod's network namespace
        self._wake, self._report, self._step_s, self._clock = wake, report, step_s, clock
        self._jobs: queue.SimpleQueue[Job | tuple[Job, Iterator[Step]] | None] = queue.SimpleQueue()
        self._steps: Iterator[Step] | None = None
        self._settling: Job | None = None
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

    def settle(self, job: Job, steps: Iterator[Step]) -> None:
        """Takes the steps of a job; they go on after it was answered."""
        self._jobs.put((job, steps))

    def end(self, wait_s: float) -> bool:
        """Ends the thread after its current job; False: that takes longer."""
        self._jobs.put(None)
        self._thread.join(wait_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while not self.is_lost:
            try:
                job = self._jobs.get(block=self._steps is None)
            except queue.Empty:
                self._step()
                continue
            if job is None:
                break
            if isinstance(job, Job):
                self._do(job)
            else:
                self._settling, self._steps = job
        self._wake()

    def _do(self, job: Job) -> None:
        try:
            response = job.work()
        except Exception as e:
            response = Response(code=INTERNAL, text=self._unexpected(e))
        if job.claim():
            self._answer(job, response)
        elif response.code == OK and job.undo is not None:
            try:
                job.undo()
            except Exception as e:
                self._unexpected(e)

    def _step(self) -> None:
        try:
            step = next(self._steps, None) if self._steps is not None else None
            if step is not None:
                return step(self._clock() + self._step_s)
        except Exception as e:
            self._unexpected(e)
        self._steps = None
        if self._settling is not None and self._settling.claim():
            self._answer(self._settling, Response())
        return None

    def _answer(self, job: Job, response: Response) -> None:
        self.answers.append((job, response))
        self._wake()

    def _unexpected(self, e: Exception) -> str:
        self.is_lost |= isinstance(e, NetDevError) and e.errno == errno.ENOTRECOVERABLE
        text = str(e) if isinstance(e, NetDevError) else internal(e)
        self._report(text)
        return text

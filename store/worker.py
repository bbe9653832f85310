"""A thread that writes while the training goes on.

What the training thread submits runs here, in order: work that turns what was
recorded into rows, and commits. A fault of it never reaches the training: it
becomes one warning and a count of what was lost, and later commits try again.

The training's side holds no lock at any moment. A signal may raise in it
anywhere (Ctrl-C, a handler of SIGTERM), also between a lock's taking and the
block that gives it back, and a process may be forked there; what the two
threads share are queues of the interpreter's own and counters that only one of
them changes. May import NumPy.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any, Final

from actrace.errors import ActraceError, ActraceWarning, StoreWriteError
from actrace.store.gradients import GradientInfo
from actrace.store.rows import BatchRows, LayerInfo, OutputInfo, WindowRows
from actrace.store.writer import RunWriter

__all__ = ["WriterThread"]

#: Share of the time that commits may take.
COMMIT_SHARE: Final = 0.01
#: The same of sending them to a bucket, which holds nobody up but takes the network.
SENDING_SHARE: Final = 0.1
LONGEST_INTERVAL: Final = 300.0
#: How long a waiting thread sleeps before it looks whether the writer lives.
WATCH: Final = 0.5
#: How often a training that waits for room looks, seconds.
LOOK: Final = 0.0005
#: How long rows are given up unasked after the disk refused one.
RETRY_SECONDS: Final = 10.0


@dataclass(slots=True)
class _Ticket:
    """Work that somebody waits for: whether it went well."""

    done: SimpleQueue[bool] = field(default_factory=SimpleQueue)


class WriterThread:
    """A `RunWriter` behind a queue, for one training thread.

    Parameters
    ----------
    writer : RunWriter
        Used by this thread alone from now on.
    flush_seconds : float, default 10
        Least time between two commits that `commit_due` asks for.

    Attributes
    ----------
    committed : dict of str to int
        Phase -> batches that readers see.
    failure : BaseException or None
        The last fault, None once a commit has succeeded again.
    waited_seconds : float
        What waiting for the writer cost the training.
    waiting : bool
        The training waits for the writer now.
    processor_seconds : float
        Processor time that the writer's thread has taken, as of its last piece of work.
    idle : callable or None
        Called on the writer's thread where nothing was submitted for a while:
        hands in what lies ready elsewhere.
    """

    def __init__(self, writer: RunWriter, *, flush_seconds: float = 10.0) -> None:
        if not flush_seconds >= 0:
            raise ValueError(f"flush_seconds must be 0 or more, got {flush_seconds}")
        self.committed: dict[str, int] = {p: writer.n_committed(p) for p in writer.phases}
        # By the writer's thread, and by the training's.
        self._lost_here: dict[str, int] = {}
        self._lost_before_handing: dict[str, int] = {}
        self.failure: BaseException | None = None
        self.waited_seconds = 0.0
        self.waiting = False
        self.processor_seconds = 0.0
        self.idle: Callable[[], None] | None = None
        self._writer = writer
        self._process = os.getpid()
        self._flush_seconds = flush_seconds
        self._lost_before: dict[str, int] = dict(writer.attributes.get("lost_batches") or {})
        self._waited_before = float(writer.attributes.get("waited_seconds") or 0.0)
        self._queue: SimpleQueue[tuple[Callable[..., None], tuple[Any, ...]]] = SimpleQueue()
        self._ended = False
        self._end: SimpleQueue[None] = SimpleQueue()
        self._put: dict[str, int] = {}
        self._last_lost: dict[str, int] = {}
        self._unsaved = False
        self._committing = False
        self._commits = 0
        self._last_commit = time.monotonic()
        self._commit_seconds = 0.0
        self._retry_at = 0.0
        self._warning: str | None = None
        self._warned = False
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="actrace-writer", daemon=True)
        self._thread.start()
        self._at_exit = _AtExit(self)
        atexit.register(self._at_exit)

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def declare_layers(self, layers: Sequence[LayerInfo]) -> None:
        """Fix the layer dimension; as `RunWriter.declare_layers`."""
        self.call(self._writer.declare_layers, tuple(layers))

    def declare_gradients(self, info: GradientInfo) -> None:
        """As `RunWriter.declare_gradients`."""
        self.call(self._writer.declare_gradients, info)

    def declare_output(self, phase: str, info: OutputInfo) -> None:
        """As `RunWriter.declare_output`."""
        self.call(self._writer.declare_output, phase, info)

    def update_attributes(self, attributes: Mapping[str, Any]) -> None:
        """As `RunWriter.update_attributes`."""
        self.call(self._set_attributes, dict(attributes))

    def call(self, work: Callable[..., None], *arguments: Any) -> None:
        """Run `work` on the writer's thread, after all that was asked for before.

        At once where that is the caller's.
        """
        if self.on_its_thread():
            work(*arguments)
        elif self.usable:
            self._warn()
            self._queue.put((work, arguments))

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until all that was asked for before is done; return whether it is."""
        if not self.usable:
            return False
        ticket = _Ticket()
        self.call(ticket.done.put, True)
        return self._wait(ticket, timeout)

    def wait_until(self, ready: Callable[[], bool]) -> None:
        """Let the training wait for the writer, and measure it.

        Returns early where the writer is no more.
        """
        began = time.perf_counter()
        self.waiting = True
        try:
            while not ready() and self._alive():
                time.sleep(LOOK)
        finally:
            self.waiting = False
            self.waited_seconds += time.perf_counter() - began

    # For work that runs on the writer's thread.

    def on_its_thread(self) -> bool:
        """Return whether the caller runs on the writer's thread."""
        return threading.current_thread() is self._thread

    def write_batches(self, rows: BatchRows) -> None:
        """Append batches; those that cannot be are counted as lost. On this thread alone."""
        phase, n = rows.phase, len(rows)
        before = self._writer.n_batches(phase)
        self._put[phase] = self._put.get(phase, 0) + n
        self._unsaved = True
        if time.monotonic() < self._retry_at:
            # The disk refused just now: asking it at every batch would hold up the training.
            self._lose(phase, n)
            return
        try:
            self._writer.append_batches(rows)
        except (OverflowError, ValueError) as error:
            self._put[phase] -= n
            if n == 1:
                self._put[phase] += 1
                self._lose(phase, 1)
                self._fail(error)
                return
            # One of them does not fit: the others do.
            for at in range(n):
                self.write_batches(rows.only(at))
        except Exception as error:
            if isinstance(error, StoreWriteError):
                self._retry_at = time.monotonic() + RETRY_SECONDS
            self._lose(phase, n - (self._writer.n_batches(phase) - before))
            self._fail(error)

    def lose_batches(self, phase: str, n: int, error: Exception) -> None:
        """Count batches that could not be made into rows. On this thread alone."""
        self._put[phase] = self._put.get(phase, 0) + n
        self._lose(phase, n)
        self._fail(error)

    def write_windows(self, rows: WindowRows) -> None:
        """Append windows of one group, but those with a lost batch. On this thread alone.

        The sums of a window with a lost batch would not be those of the store's.
        """
        put, lost = self._put.get(rows.phase, 0), self._last_lost.get(rows.phase, 0)
        begins = (put - later - n for n, later in zip(rows.batches, rows.later, strict=True))
        hurt = sum(lost > begin for begin in begins)
        if hurt:
            rows = rows.but(hurt)
        if not len(rows):
            return
        try:
            self._writer.append_windows(rows)
            self._unsaved = True
        except Exception as error:
            self._fail(error)

    def commit(self) -> None:
        """Ask for a commit and return at once."""
        self._committing = True
        self.call(self._commit, None)

    def commit_due(self) -> bool:
        """Return whether it is time to end windows and ask for a commit."""
        if self._closed or self._committing:
            return False
        return time.monotonic() - self._last_commit >= self._interval()

    def flush(self, timeout: float | None = None) -> bool:
        """Commit and wait; return whether all that was put before is in the store.

        Parameters
        ----------
        timeout : float, optional
            Seconds to wait at most.
        """
        if not self.usable:
            return False
        ticket = _Ticket()
        self._committing = True
        self.call(self._commit, ticket)
        succeeded = self._wait(ticket, timeout)
        self._warn()
        return succeeded

    def close(
        self,
        status: str = "finished",
        attributes: Mapping[str, Any] | None = None,
        *,
        timeout: float | None = None,
    ) -> bool:
        """Write everything, close the run and end the thread; twice is once.

        Parameters
        ----------
        status : {"finished", "failed"}
        attributes : mapping, optional
            Root attributes to set with it.
        timeout : float, optional
            Seconds to wait at most.

        Returns
        -------
        bool
            Whether everything handed over is in the store.
        """
        if self.usable:
            self.call(self._close, status, dict(attributes or {}))
            self._closed = True
        if self._process == os.getpid():
            # Also after a close that a signal cut short.
            self._join(timeout)
            if not self._alive():
                atexit.unregister(self._at_exit)
                self._warn()
        return not self._unsaved and not self._alive() and self.failure is None

    def lose(self, phase: str) -> None:
        """Count a batch that the training's side could not hand over."""
        self._lost_before_handing[phase] = self._lost_before_handing.get(phase, 0) + 1

    @property
    def lost(self) -> dict[str, int]:
        """Phase -> batches that were recorded and are not in the store."""
        found = dict(self._lost_here)
        for phase, n in dict(self._lost_before_handing).items():
            found[phase] = found.get(phase, 0) + n
        return found

    @property
    def usable(self) -> bool:
        """Whether work can be handed over: not closed, and not in a forked child.

        A child has no writer thread.
        """
        return not self._closed and self._process == os.getpid()

    def _alive(self) -> bool:
        return not self._ended and self._process == os.getpid()

    def _join(self, timeout: float | None) -> None:
        # Thread.join takes a running thread for ended once a signal has raised in it.
        deadline = None if timeout is None else time.monotonic() + timeout
        while self._alive():
            left = WATCH if deadline is None else min(WATCH, deadline - time.monotonic())
            if left <= 0:
                return
            with contextlib.suppress(Empty):
                self._end.get(timeout=left)
        self._thread.join(timeout)

    def _wait(self, ticket: _Ticket, timeout: float | None) -> bool:
        deadline = None if timeout is None else time.monotonic() + timeout
        while self._alive():
            left = WATCH if deadline is None else min(WATCH, deadline - time.monotonic())
            if left <= 0:
                break
            with contextlib.suppress(Empty):
                return ticket.done.get(timeout=left)
        return False

    def _interval(self) -> float:
        return max(self._flush_seconds, min(LONGEST_INTERVAL, self._commit_seconds / COMMIT_SHARE))

    def _run(self) -> None:
        try:
            self._work()
        finally:
            self._ended = True
            self._end.put(None)

    def _work(self) -> None:
        while True:
            # A pause in the training must not leave its last batches unseen.
            try:
                work, arguments = self._queue.get(timeout=2 * max(self._interval(), 1.0))
            except Empty:
                if self.idle is not None:
                    self._guarded(self.idle)
                due = time.monotonic() - self._last_commit >= self._interval()
                if self._unsaved and due and not self._committing:
                    self._guarded(self._commit, None)
                continue
            self._guarded(work, *arguments)
            if work == self._close:
                return

    def _guarded(self, work: Callable[..., None], *arguments: Any) -> None:
        # Whatever goes wrong here must not stop a training: it is kept, said once and counted.
        try:
            work(*arguments)
        except Exception as error:
            self._fail(error)
        self.processor_seconds = time.thread_time()

    def _fail(self, error: Exception) -> None:
        self.failure = error
        if not self._warned:
            self._warned = True
            kind = "" if isinstance(error, ActraceError) else f"{type(error).__name__}: "
            self._warning = (
                f"recording into {str(self._writer.path)!r} met a fault: {kind}{error}. "
                "The training goes on; what cannot be written is counted in the run's "
                "lost_batches, and later commits try again"
            )

    def _warn(self) -> None:
        text, self._warning = self._warning, None
        if text is not None:
            warnings.warn(text, ActraceWarning, stacklevel=3)

    def _lose(self, phase: str, n: int) -> None:
        self._lost_here[phase] = self._lost_here.get(phase, 0) + n
        self._last_lost[phase] = self._put[phase]

    def _set_attributes(self, attributes: Mapping[str, Any]) -> None:
        self._writer.update_attributes(attributes)
        self._unsaved = True

    def _own_attributes(self) -> dict[str, Any]:
        lost = dict(self._lost_before)
        for phase, n in self.lost.items():
            lost[phase] = lost.get(phase, 0) + n
        return {
            "lost_batches": lost,
            "waited_seconds": round(self._waited_before + self.waited_seconds, 6),
        }

    def _commit(self, ticket: _Ticket | None) -> None:
        began, succeeded = time.monotonic(), False
        self._commits += 1
        if ticket is None and self._writer.behind:
            self._commit_later()
            return
        try:
            self._writer.update_attributes(self._own_attributes())
            self._writer.commit()
            self._saved()
            succeeded = True
        finally:
            self._last_commit = time.monotonic()
            self._commit_seconds = self._last_commit - began
            self._committing = False
            if ticket is not None:
                ticket.done.put(succeeded)

    def _commit_later(self) -> None:
        """Begin a commit that goes on without this thread, and without the training."""
        number = self._commits

        def landed(error: ActraceError | None, seconds: float) -> None:
            self._queue.put((self._landed, (number, error, seconds)))

        began = self._last_commit = time.monotonic()
        try:
            self._writer.update_attributes(self._own_attributes())
            self._writer.commit_later(landed)
        except BaseException:
            self._committing = False
            raise
        self._commit_seconds = time.monotonic() - began
        self._committing = True
        self._unsaved = False  # what comes while it is on its way sets it again

    def _landed(self, number: int, error: ActraceError | None, seconds: float) -> None:
        """Take note of how a commit that was begun went; not if there was one since."""
        if number != self._commits:
            return
        self._last_commit = time.monotonic()
        self._committing = False
        if error is not None:
            self._unsaved = True
            self._fail(error)
            return
        sending = seconds * COMMIT_SHARE / SENDING_SHARE
        self._commit_seconds = max(self._commit_seconds, sending)
        unsaved = self._unsaved
        self._writer.acknowledge()
        self._saved()
        self._unsaved = unsaved

    def _close(self, status: str, attributes: Mapping[str, Any]) -> None:
        try:
            self._writer.close(status, {**self._own_attributes(), **attributes})
        except Exception:
            # There is no later commit: what readers do not see now is lost.
            for phase in self._writer.phases:
                unseen = self._writer.n_batches(phase) - self._writer.n_committed(phase)
                if unseen:
                    self._lost_here[phase] = self._lost_here.get(phase, 0) + unseen
            raise
        self._saved()

    def _saved(self) -> None:
        self.failure = None
        self._retry_at = 0.0
        self._unsaved = False
        self.committed = {p: self._writer.n_committed(p) for p in self._writer.phases}


class _AtExit:
    """Closes a forgotten writer when the interpreter ends, without keeping it alive."""

    def __init__(self, writer: WriterThread) -> None:
        self._writer = weakref.ref(writer)

    def __call__(self) -> None:
        writer = self._writer()
        if writer is None:
            return
        failed = getattr(sys, "last_value", None) is not None
        # The interpreter is going: a warning turned into an error has nobody to catch it.
        with contextlib.suppress(ActraceWarning):
            writer.close("failed" if failed else "finished")

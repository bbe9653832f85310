"""A thread that writes while the training goes on.

The training thread fills rows from a bounded pool and hands them over; this
thread appends and commits them. Memory does not grow with the run: with no
free row the training waits, and the waiting is measured. A fault of the store
never reaches the training: it becomes one warning and a count of what was
lost, and later commits try again.

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
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from queue import Empty, SimpleQueue
from typing import Any, Final

import numpy as np

from actrace.errors import ActraceError, ActraceWarning, StoreWriteError
from actrace.store.gradients import GradientInfo, GradientRow
from actrace.store.rows import BatchRow, LayerInfo, OutputInfo, WindowRow
from actrace.store.writer import RunWriter

__all__ = ["WriterThread"]

POOL_BYTES: Final = 32 * 2**20
FEWEST_ROWS: Final = 8
MOST_ROWS: Final = 256
#: Windows that wait to be written, in bytes; above it the training waits.
WINDOW_BYTES: Final = 32 * 2**20
#: Share of the time that commits may take.
COMMIT_SHARE: Final = 0.01
LONGEST_INTERVAL: Final = 300.0
#: How long a waiting thread sleeps before it looks whether the writer lives.
WATCH: Final = 0.5
#: How often a thread that waits for windows to be written looks.
LOOK: Final = 0.005
#: How long rows are given up unasked after the disk refused one.
RETRY_SECONDS: Final = 10.0


@dataclass(slots=True)
class _Ticket:
    """A commit that somebody may wait for."""

    done: SimpleQueue[bool] = field(default_factory=SimpleQueue)


class WriterThread:
    """A `RunWriter` behind a queue, for one training thread.

    Parameters
    ----------
    writer : RunWriter
        Used by this thread alone from now on.
    capacity : int, optional
        Rows in the pool; by default as many as 32 MB hold, 8 to 256.
    flush_seconds : float, default 10
        Least time between two commits that `commit_due` asks for.

    Attributes
    ----------
    committed : dict of str to int
        Phase -> batches that readers see.
    lost : dict of str to int
        Phase -> batches handed over and not recorded.
    failure : BaseException or None
        The last fault, None once a commit has succeeded again.
    waited_seconds : float
        What waiting for a free row cost the training.
    waiting : bool
        The training waits for the writer now.
    """

    def __init__(
        self, writer: RunWriter, *, capacity: int | None = None, flush_seconds: float = 10.0
    ) -> None:
        if capacity is not None and capacity < 1:
            raise ValueError(f"a pool needs at least 1 row, got {capacity}")
        if not flush_seconds >= 0:
            raise ValueError(f"flush_seconds must be 0 or more, got {flush_seconds}")
        self.committed: dict[str, int] = {p: writer.n_committed(p) for p in writer.phases}
        self.lost: dict[str, int] = {}
        self.failure: BaseException | None = None
        self.waited_seconds = 0.0
        self.waiting = False
        self._writer = writer
        self._process = os.getpid()
        self._capacity = capacity
        self._flush_seconds = flush_seconds
        self._lost_before: dict[str, int] = dict(writer.attributes.get("lost_batches") or {})
        self._waited_before = float(writer.attributes.get("waited_seconds") or 0.0)
        self._shape: tuple[int, int] | None = None
        self._gradients: GradientInfo | None = None
        self._given_capacity = capacity
        self._free: SimpleQueue[BatchRow] = SimpleQueue()
        self._made = 0
        self._queue: SimpleQueue[tuple[Callable[..., None], tuple[Any, ...]]] = SimpleQueue()
        self._busy = False
        self._ended = False
        self._end: SimpleQueue[None] = SimpleQueue()
        # Bytes of windows: handed over by the training, done by the writer.
        self._bytes_put = self._bytes_done = 0
        self._put: dict[str, int] = {}
        self._last_lost: dict[str, int] = {}
        self._unsaved = False
        self._committing = False
        self._last_commit = time.monotonic()
        self._commit_seconds = 0.0
        self._retry_at = 0.0
        self._warning: str | None = None
        self._warned = False
        self._closed = False
        if writer.layers is not None:
            self._size_pool(len(writer.layers))
        self._thread = threading.Thread(target=self._run, name="actrace-writer", daemon=True)
        self._thread.start()
        self._at_exit = _AtExit(self)
        atexit.register(self._at_exit)

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    @property
    def capacity(self) -> int:
        """Rows in the pool, 0 before the layers are declared."""
        return (self._capacity or 0) if self._shape else 0

    def declare_layers(self, layers: Sequence[LayerInfo]) -> None:
        """Fix the layer dimension and size the pool; as `RunWriter.declare_layers`."""
        self._submit(self._writer.declare_layers, tuple(layers))
        if self._shape is None:
            self._size_pool(len(layers))

    def declare_gradients(self, info: GradientInfo) -> None:
        """Let rows have room for gradients; as `RunWriter.declare_gradients`.

        Before the first row is acquired.
        """
        self._submit(self._writer.declare_gradients, info)
        self._gradients = info
        if self._shape is not None:
            self._size_pool(self._shape[0])

    def declare_output(self, phase: str, info: OutputInfo) -> None:
        """As `RunWriter.declare_output`."""
        self._submit(self._writer.declare_output, phase, info)

    def update_attributes(self, attributes: Mapping[str, Any]) -> None:
        """As `RunWriter.update_attributes`."""
        self._submit(self._set_attributes, dict(attributes))

    def acquire_row(self) -> BatchRow:
        """Return an empty row to fill, waiting while none is free.

        Raises
        ------
        ValueError
            The layers are not declared yet.
        """
        if self._shape is None:
            raise ValueError("rows have no size yet; call declare_layers before acquire_row")
        if not self._usable():
            return self._new_row(*self._shape)
        self._warn()
        with contextlib.suppress(Empty):
            return self._free.get_nowait()
        if self._made < self.capacity:
            self._made += 1
            return self._new_row(*self._shape)
        with self._clocked():
            # With none on its way back, rows were lost to signals: another takes their place.
            while self._alive() and (self._busy or not self._queue.empty()):
                with contextlib.suppress(Empty):
                    return self._free.get(timeout=WATCH)
        with contextlib.suppress(Empty):
            return self._free.get_nowait()
        return self._new_row(*self._shape)

    def put_batch(self, row: BatchRow) -> None:
        """Hand a row over; it belongs to the pool again."""
        self._submit(self._append_batch, row)

    def discard(self, row: BatchRow) -> None:
        """Return a row to the pool without recording it."""
        if self._usable():
            self._recycle(row)

    def put_window(self, row: WindowRow) -> None:
        """Hand over a copy of a window, waiting while too many wait already."""
        if not self._usable():
            return
        copy = replace(row, values={name: np.array(v) for name, v in row.values.items()})
        size = sum(value.nbytes for value in copy.values.values())
        if self._no_room(size):
            with self._clocked():
                while self._no_room(size) and self._alive():
                    time.sleep(LOOK)
        self._submit(self._append_window, copy, size)
        self._bytes_put += size

    def commit(self) -> None:
        """Ask for a commit and return at once."""
        self._committing = True
        self._submit(self._commit, None)

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
        if not self._usable():
            return False
        ticket = _Ticket()
        self._committing = True
        self._submit(self._commit, ticket)
        deadline = None if timeout is None else time.monotonic() + timeout
        succeeded = None
        while succeeded is None and self._alive():
            left = WATCH if deadline is None else min(WATCH, deadline - time.monotonic())
            if left <= 0:
                break
            with contextlib.suppress(Empty):
                succeeded = ticket.done.get(timeout=left)
        self._warn()
        return bool(succeeded)

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
        if self._usable():
            self._submit(self._close, status, dict(attributes or {}))
            self._closed = True
        if self._process == os.getpid():
            # Also after a close that a signal cut short.
            self._join(timeout)
            if not self._alive():
                atexit.unregister(self._at_exit)
                self._warn()
        return not self._unsaved and not self._alive() and self.failure is None

    def _usable(self) -> bool:
        # A forked child has no writer thread, and its copy of the lock may be held for ever.
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

    def _no_room(self, size: int) -> bool:
        waiting = self._bytes_put - self._bytes_done
        return bool(waiting) and waiting + size > WINDOW_BYTES

    @contextlib.contextmanager
    def _clocked(self) -> Iterator[None]:
        """Measure what the training waits."""
        began = time.perf_counter()
        self.waiting = True
        try:
            yield
        finally:
            self.waiting = False
            self.waited_seconds += time.perf_counter() - began

    def _interval(self) -> float:
        return max(self._flush_seconds, min(LONGEST_INTERVAL, self._commit_seconds / COMMIT_SHARE))

    def _size_pool(self, n_layers: int) -> None:
        n_bins = self._writer.axis.n_bins
        if self._given_capacity is None:
            info, numbers = self._gradients, n_layers * n_bins
            if info is not None:
                wide = len(info.parameters) + (n_layers if info.outputs else 0)
                numbers += wide * info.axis.n_bins
            rows = POOL_BYTES // max(1, numbers * 8)
            self._capacity = min(MOST_ROWS, max(FEWEST_ROWS, rows))
        self._shape = (n_layers, n_bins)

    def _new_row(self, n_layers: int, n_bins: int) -> BatchRow:
        row, info = BatchRow.empty(n_layers, n_bins), self._gradients
        if info is not None:
            row.gradient = GradientRow.empty(len(info.parameters), info.axis.n_bins)
            if info.outputs:
                row.output_gradient = GradientRow.empty(n_layers, info.axis.n_bins)
        return row

    def _submit(self, work: Callable[..., None], *arguments: Any) -> None:
        if not self._usable():
            return
        self._warn()
        self._queue.put((work, arguments))

    def _recycle(self, row: BatchRow) -> None:
        row.count.fill(0)
        row.counters.fill(0)
        row.moments.fill(np.nan)
        row.phase = ""
        row.step = row.epoch = row.samples = 0
        row.time = row.loss = float("nan")
        row.logged = {}
        for part in (row.gradient, row.output_gradient):
            if part is not None:
                part.clear()
        if self._free.qsize() < self.capacity:
            self._free.put(row)

    def _run(self) -> None:
        try:
            self._work()
        finally:
            self._ended = True
            self._end.put(None)

    def _work(self) -> None:
        while True:
            # A pause in the training must not leave its last batches unseen.
            patience = 2 * max(self._interval(), 1.0) if self._unsaved else None
            try:
                work, arguments = self._queue.get(timeout=patience)
            except Empty:
                if self._unsaved and time.monotonic() - self._last_commit >= self._interval():
                    self._guarded(self._commit, None)
                continue
            self._busy = True
            self._guarded(work, *arguments)
            self._busy = False
            if work == self._close:
                return

    def _guarded(self, work: Callable[..., None], *arguments: Any) -> None:
        # Whatever goes wrong here must not stop a training: it is kept, said once and counted.
        try:
            work(*arguments)
        except Exception as error:
            self._fail(error)

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

    def _append_batch(self, row: BatchRow) -> None:
        phase = row.phase
        self._put[phase] = self._put.get(phase, 0) + 1
        try:
            if time.monotonic() < self._retry_at:
                # The disk refused just now: asking it at every batch would hold up the training.
                self._lose(phase)
                return
            self._writer.append_batch(row)
            self._unsaved = True
        except Exception as error:
            if isinstance(error, StoreWriteError):
                self._retry_at = time.monotonic() + RETRY_SECONDS
            self._lose(phase)
            raise
        finally:
            self._recycle(row)

    def _lose(self, phase: str) -> None:
        self.lost[phase] = self.lost.get(phase, 0) + 1
        self._last_lost[phase] = self._put[phase]
        self._unsaved = True

    def _append_window(self, row: WindowRow, size: int) -> None:
        try:
            # A window that holds a lost batch is lost with it: its sums would not be
            # those of the batches in the store.
            if self._last_lost.get(row.phase, 0) <= self._put.get(row.phase, 0) - row.batches:
                self._writer.append_window(row)
                self._unsaved = True
        finally:
            self._bytes_done += size

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

    def _close(self, status: str, attributes: Mapping[str, Any]) -> None:
        try:
            self._writer.close(status, {**self._own_attributes(), **attributes})
        except Exception:
            # There is no later commit: what readers do not see now is lost.
            for phase in self._writer.phases:
                unseen = self._writer.n_batches(phase) - self._writer.n_committed(phase)
                if unseen:
                    self.lost[phase] = self.lost.get(phase, 0) + unseen
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

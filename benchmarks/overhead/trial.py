"""One variant on one model, beside the same model unwatched, in a process of its own.

So that peers cannot disturb one another, a crash is a row, and memory is the
variant's own. Each process makes its own bare steps, because two processes of the very
same steps differ by several per cent, by where their memory happens to lie. The
parent says through a pipe how many steps to make and is told what they took. May
import torch; actrace and the peers only where they are attached.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import torch
from benchmarks.overhead.models import Task, find_tasks, make_step
from benchmarks.overhead.usage import (
    folder_bytes,
    helpers_cpu_seconds,
    resident_bytes,
    thread_cpu_seconds,
)
from benchmarks.overhead.variants import Variant
from benchmarks.overhead.watching import NotHereError, Place, Watch

__all__ = ["Block", "End", "Order", "Pair", "Ready", "Trial", "on_one_core", "serve", "trial"]

#: Seconds that a variant's own threads may still work after a block, for it to count.
SETTLE = 1.0


@dataclass(frozen=True, slots=True)
class Order:
    """What a process is to try.

    Attributes
    ----------
    task : str
    variant : Variant
    threads : int
        Of torch.
    folder : str
        Where the variant writes; empty.
    turns : int
        Variants that run in turn.
    kernel_cache : str or None
        Where Numba keeps what it compiled; None: where it always does.
    pin : bool
        The training's thread stays on one core in each block, see `on_one_core`.
    """

    task: str
    variant: Variant
    threads: int
    folder: str
    turns: int = 1
    kernel_cache: str | None = None
    pin: bool = False


@dataclass(frozen=True, slots=True)
class Ready:
    """A variant is attached and has made its first step.

    Attributes
    ----------
    start_seconds : float
        Its import, its attaching and the first step.
    """

    start_seconds: float


@dataclass(frozen=True, slots=True)
class Block:
    """What some steps took.

    Attributes
    ----------
    steps : int
    seconds, cpu_seconds : float
        By the clock, until the variant has done what it put off, and of processor time
        of all threads, until those of the variant's own have nothing left to do.
    helper_seconds : float
        Processor time of the processes that the variant started, since the last block.
    writer_seconds : float
        Processor time of actrace's writer thread.
    waited_seconds : float
        The training waited for the writer.
    resident : int or None
        Bytes of memory after it.
    """

    steps: int
    seconds: float
    cpu_seconds: float
    helper_seconds: float
    writer_seconds: float
    waited_seconds: float
    resident: int | None


@dataclass(frozen=True, slots=True)
class Pair:
    """The same steps of the bare and of the watched model, one after the other.

    Attributes
    ----------
    bare, watched : Block
    """

    bare: Block
    watched: Block


@dataclass(frozen=True, slots=True)
class End:
    """A variant came off.

    Attributes
    ----------
    steps : int
        All that were made.
    seconds : float
        What closing took.
    written : int
        Bytes of its files.
    remarks : tuple of str
        What it complained of.
    """

    steps: int
    seconds: float
    written: int
    remarks: tuple[str, ...]


class Trial:
    """A model that is trained while a variant watches, and its twin that nobody watches.

    Attributes
    ----------
    watch : Watch
    steps : int
        Watched so far.
    began : float
        When the variant was about to be attached, on `time.perf_counter`.
    """

    def __init__(
        self,
        bare: Callable[[], torch.Tensor],
        step: Callable[[], torch.Tensor],
        watch: Watch,
        began: float,
        *,
        pin: bool = False,
    ) -> None:
        self._bare = bare
        self.began = began
        self._step = step
        self.watch = watch
        self.steps = 0
        self._turn = 0
        self._pin = pin
        self._helpers = helpers_cpu_seconds()

    def pair(self, steps: int) -> Pair:
        """Make some steps of both models, the one or the other first in turn."""
        self._turn += 1
        if self._turn % 2:
            bare = self.block(steps, watched=False)
            return Pair(bare, self.block(steps))
        watched = self.block(steps)
        return Pair(self.block(steps, watched=False), watched)

    def lead(self, steps: int) -> Pair:
        """Make some steps of the watched model, and one of the other."""
        return Pair(self.block(1, watched=False), self.block(steps))

    def block(self, steps: int, *, watched: bool = True) -> Block:
        """Make some steps of one model and return what they took."""
        writer = thread_cpu_seconds("actrace-writer") or 0.0
        waited = self.watch.waited_seconds() or 0.0
        step = self._step if watched else self._bare
        after = self.watch.after_step if watched else _nothing
        cpu, began = time.process_time(), time.perf_counter()
        with on_one_core() if self._pin else contextlib.nullcontext():
            for _ in range(steps):
                after(step())
            if watched:
                self.watch.catch_up()
        seconds = time.perf_counter() - began
        self.steps += steps if watched else 0
        _settle()
        before, self._helpers = self._helpers, helpers_cpu_seconds()
        return Block(
            steps=steps,
            seconds=seconds,
            cpu_seconds=time.process_time() - cpu,
            helper_seconds=max(0.0, self._helpers - before),
            writer_seconds=(thread_cpu_seconds("actrace-writer") or 0.0) - writer,
            waited_seconds=(self.watch.waited_seconds() or 0.0) - waited,
            resident=resident_bytes(),
        )


@contextlib.contextmanager
def on_one_core() -> Iterator[None]:
    """Keep this thread on the first of its cores, so that the others are left to other threads.

    Some schedulers, those of small virtual machines above all, put two threads of a process on
    one core while another is idle; then whatever a second thread does is paid by the first. Threads
    that begin meanwhile inherit it, so they should have begun before. Does nothing where
    there is no such call.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def _nothing(_loss: torch.Tensor) -> None:
    """Do as a loop that nobody watches."""


def _settle() -> None:
    """Wait until the process's other threads rest, or a second."""
    until = time.monotonic() + SETTLE
    while time.monotonic() < until:
        before = time.process_time()
        time.sleep(0.01)
        if time.process_time() - before < 0.001:
            return


@contextlib.contextmanager
def trial(task: Task, variant: Variant, place: Place, *, pin: bool = False) -> Iterator[Trial]:
    """Give a model in training that a variant watches; then take the variant off."""
    torch.manual_seed(0)
    model, loss_fn = task.build(), task.loss()
    bare, step = _bare_step(task, variant), make_step(task, model, loss_fn)
    if variant.compile:
        model.compile()
    began = time.perf_counter()
    with variant.attach(model, loss_fn, place) as watch:
        yield Trial(bare, step, watch, began, pin=pin)


def _bare_step(task: Task, variant: Variant) -> Callable[[], torch.Tensor]:
    """Return a step of the unwatched twin, made once: what it imports is not the variant's."""
    torch.manual_seed(0)
    model = task.build()
    if variant.compile:
        model.compile()
    step = make_step(task, model, task.loss())
    step()
    return step


def serve(pipe: Connection, order: Order) -> None:
    """Be the process: answer each number of steps with a `Pair`, None with an `End`.

    A number below 0 asks for so many steps in the lead.
    """
    warnings.simplefilter("ignore")  # a peer's are not ours to show
    os.environ["NUMBA_DISABLE_PERFORMANCE_WARNINGS"] = "1"
    if order.kernel_cache is not None:
        os.environ["NUMBA_CACHE_DIR"] = order.kernel_cache
    # What peers print is not for the table.
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    os.dup2(sys.stdout.fileno(), 1)
    os.dup2(sys.stdout.fileno(), 2)
    torch.set_num_threads(order.threads)
    try:
        _serve(pipe, order)
    except NotHereError as error:
        pipe.send(str(error))
    except ModuleNotFoundError as error:
        pipe.send(f"not installed: {error.name}")
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        at = f"{Path(last.filename).name}:{last.lineno}"
        pipe.send(f"{type(error).__name__}: {error} ({at})")
    finally:
        pipe.close()
        if any(not t.daemon for t in threading.enumerate() if t is not threading.main_thread()):
            os._exit(0)  # a peer left threads behind that would keep the process


def _serve(pipe: Connection, order: Order) -> None:
    (task,) = find_tasks([order.task])
    place = Place(Path(order.folder), order.turns)
    with contextlib.ExitStack() as stack:
        running = stack.enter_context(trial(task, order.variant, place, pin=order.pin))
        running.block(1)
        pipe.send(Ready(time.perf_counter() - running.began))
        while (steps := pipe.recv()) is not None:
            pipe.send(running.pair(steps) if steps > 0 else running.lead(-steps))
        remarks = running.watch.remarks()
        began = time.perf_counter()
    seconds = time.perf_counter() - began
    pipe.send(End(running.steps, seconds, folder_bytes(place.folder), remarks))

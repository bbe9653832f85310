"""Runs the variants in turn, a block of steps each, in a new order every round.

Each variant's process makes the same block of bare steps just before or after, so the
machine's drift hits both alike, and each round's ratio is of two neighbours. May
import torch.
"""

from __future__ import annotations

import multiprocessing
import pickle
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path

from benchmarks.overhead.models import Task
from benchmarks.overhead.ratios import Spread, growth, ratios, spread
from benchmarks.overhead.trial import Block, End, Order, Pair, Ready, serve
from benchmarks.overhead.variants import Variant

__all__ = ["Result", "Settings", "measure"]

#: Steps that a variant makes first, before it is known how long they take.
WARM = 3
#: Seconds of a block that are enough, however slow the variant: it makes fewer steps then.
LONGEST = 2.0
#: Steps in the lead that are asked for at once, so that a process is not given up.
_LEAD_BLOCK = 50
#: Seconds that the steps after the rounds may take, of each variant.
MORE_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Settings:
    """How to measure.

    Attributes
    ----------
    rounds : int
    block_seconds : float
        About what a block of bare steps takes; at least two steps.
    threads : int
        Of torch, in each process.
    lead : int
        Steps that each variant makes first, unmeasured: what its start costs is past then.
    more_steps : int
        Steps that each variant makes after the rounds, for the memory to grow; fewer
        where they would take long.
    cold : bool
        Also start each variant with an empty kernel cache.
    pin : bool
        Keep the training's thread on one core, see `trial.on_one_core`.
    patience : float
        Seconds after which a process that says nothing is given up.
    seed : int
        Of the order.
    """

    rounds: int = 25
    block_seconds: float = 0.25
    threads: int = 1
    lead: int = 0
    more_steps: int = 0
    cold: bool = False
    pin: bool = False
    patience: float = 900.0
    seed: int = 0


@dataclass(slots=True)
class Result:
    """What one variant cost on one model.

    Attributes
    ----------
    task : Task
    variant : Variant
    error : str or None
        Why there are no figures.
    start_seconds, cold_seconds : float or None
        Import, attaching and first step; with an empty kernel cache.
    blocks, more : list of Block
        Of the rounds, and of the steps after them.
    bare : list of Block
        Of the bare steps in the same rounds and the same process.
    end : End or None
    """

    task: Task
    variant: Variant
    error: str | None = None
    start_seconds: float | None = None
    cold_seconds: float | None = None
    blocks: list[Block] = field(default_factory=list)
    more: list[Block] = field(default_factory=list)
    bare: list[Block] = field(default_factory=list)
    end: End | None = None

    def join(self, other: Result) -> None:
        """Take the rounds of another start of the same variant, in new processes."""
        self.error = self.error or other.error
        for name in ("blocks", "bare", "more"):
            getattr(self, name).extend(getattr(other, name))
        self.end = other.end or self.end

    def step(self) -> Spread:
        """Return the seconds of a step."""
        return spread(_a_step(self.blocks))

    def ratio(self) -> Spread:
        """Return the time of a step against the bare one's."""
        return spread(ratios(*(_a_step(blocks) for blocks in (self.blocks, self.bare))))

    def best_ratio(self) -> float:
        """Return the time of a step in its fastest block against the bare one's."""
        return min(_a_step(self.blocks)) / min(_a_step(self.bare))

    def cpu_ratio(self) -> Spread:
        """Return the processor time of a step, helpers' included, against the bare one's."""
        return spread(ratios(*(_cpu_a_step(blocks) for blocks in (self.blocks, self.bare))))

    def growth(self) -> float | None:
        """Return the bytes of memory that a step added, None where they are not known.

        Of the later half of the steps after the rounds, where there were any: a
        variant's buffers are full by then.
        """
        blocks = self.more[len(self.more) // 2 :] or self.blocks
        looks = [(block.steps, block.resident) for block in blocks]
        known = [resident for _, resident in looks if resident is not None]
        if len(known) < len(looks):
            return None
        return growth([steps for steps, _ in looks], known)

    def written(self) -> float | None:
        """Return the bytes that a step wrote."""
        return None if self.end is None else self.end.written / self.end.steps

    def writer_share(self) -> float:
        """Return the writer thread's processor time as a share of the training's time."""
        return _sum(self.blocks, "writer_seconds") / _sum(self.blocks, "seconds")

    def waited(self) -> float:
        """Return the seconds that the training waited for the writer."""
        return _sum(self.blocks, "waited_seconds")


def _a_step(blocks: Sequence[Block]) -> list[float]:
    return [block.seconds / block.steps for block in blocks]


def _sum(blocks: Sequence[Block], name: str) -> float:
    return sum(float(getattr(block, name)) for block in blocks)


def _cpu_a_step(blocks: Sequence[Block]) -> list[float]:
    return [(block.cpu_seconds + block.helper_seconds) / block.steps for block in blocks]


class Child:
    """A process that tries a variant."""

    def __init__(self, order: Order, patience: float) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe: Connection
        self._pipe, other = context.Pipe()
        self._patience = patience
        self._process: SpawnProcess = context.Process(target=serve, args=(other, order))
        self._process.start()
        other.close()

    def ask(self, steps: int | None) -> Pair | End | Ready | str:
        """Return the answer to a number of steps, or why there is none."""
        try:
            self._pipe.send(steps)
        except OSError:
            return self._died()
        return self.answer()

    def answer(self) -> Pair | End | Ready | str:
        """Return what the process says next, or why it says nothing."""
        try:
            if not self._pipe.poll(self._patience):
                return f"said nothing for {self._patience:g} s"
            said: Pair | End | Ready | str = self._pipe.recv()
        except (EOFError, OSError):
            return self._died()
        return said

    def stop(self) -> None:
        """End the process, whatever it does."""
        self._pipe.close()
        self._process.join(10)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _died(self) -> str:
        self._process.join(5)
        return f"its process died (exit code {self._process.exitcode})"


def measure(
    task: Task,
    variants: Sequence[Variant],
    settings: Settings,
    say: Callable[[str], None] = lambda _: None,
) -> list[Result]:
    """Return what each variant cost on one model; the first tells how long a block is.

    Parameters
    ----------
    task : Task
    variants : sequence of Variant
    settings : Settings
    say : callable
        Told what is being done.

    Raises
    ------
    RuntimeError
        The first variant did not run.
    """
    results = [Result(task, variant) for variant in variants]
    children: list[tuple[Result, Child]] = []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        try:
            for number, result in enumerate(results):
                say(f"{task.name}: starting {result.variant.name}")
                child = _started(result, Path(folder) / str(number), settings, len(results))
                if child is not None:
                    children.append((result, child))
                elif number == 0:
                    raise RuntimeError(f"{result.variant.name!r} did not run: {result.error}")
            _run(children, settings, lambda text: say(f"{task.name}: {text}"))
        finally:
            for _, child in children:
                child.stop()
    return results


def _started(result: Result, folder: Path, settings: Settings, turns: int) -> Child | None:
    """Return the process of a variant once its first step is made, None where it was not."""
    starts = [False] + ([True] if settings.cold else [])
    for cold in reversed(starts):
        place = folder / ("cold" if cold else "warm")
        place.mkdir(parents=True)
        order = Order(
            result.task.name,
            result.variant,
            settings.threads,
            str(place),
            turns,
            str(folder / "kernels") if cold else None,
            settings.pin,
        )
        try:
            child = Child(order, settings.patience)
        except (AttributeError, TypeError, pickle.PicklingError) as error:
            result.error = f"cannot be sent to another process: {error}"
            return None
        kept = False
        try:
            ready = child.answer()
            if not isinstance(ready, Ready):
                result.error = str(ready)
                return None
            if not cold:
                result.start_seconds = ready.start_seconds
                kept = True
                return child
            result.cold_seconds = ready.start_seconds
            child.ask(None)
        finally:
            if not kept:
                child.stop()
    return None


def _run(
    children: list[tuple[Result, Child]], settings: Settings, say: Callable[[str], None]
) -> None:
    """Run the rounds, then what comes after them."""
    warm: list[Block] = []
    for _ in range(5):
        said = children[0][1].ask(WARM)
        if not isinstance(said, Pair):
            raise RuntimeError(f"the bare step did not run: {said}")
        warm.append(said.bare)
    steps = max(2, round(settings.block_seconds / min(_a_step(warm))))
    for result, child in children:
        # Who keeps nothing has no start.
        left = settings.lead if result.variant.keeps else 0
        while left > 0 and result.error is None:
            say(f"{left} steps of {result.variant.name} in the lead")
            few = min(left, _LEAD_BLOCK)
            said = child.ask(-few)
            if not isinstance(said, Pair):
                result.error = str(said)
            left -= few
    order, chance = list(children), random.Random(settings.seed)
    affordable: dict[str, int] = {}
    for turn in range(-1, settings.rounds):
        say(f"round {turn + 1} of {settings.rounds}, {steps} steps each")
        chance.shuffle(order)
        for result, child in order:
            if result.error is not None:
                continue
            said = child.ask(min(steps, affordable.get(result.variant.name, WARM)))
            if not isinstance(said, Pair):
                result.error = str(said)
                continue
            took = said.watched
            affordable[result.variant.name] = max(1, int(LONGEST * took.steps / took.seconds))
            if turn >= 0:  # the first round warms up
                result.blocks.append(took)
                result.bare.append(said.bare)
    for result, child in children:
        if result.error is not None:
            continue
        if settings.more_steps:
            say(f"{settings.more_steps} more steps of {result.variant.name}")
        until, left = time.monotonic() + MORE_SECONDS, settings.more_steps
        while left > 0 and time.monotonic() < until:
            few = min(left, affordable.get(result.variant.name, WARM))
            said = child.ask(few)
            if not isinstance(said, Pair):
                result.error = str(said)
                break
            result.more.append(said.watched)
            left -= few
        end = child.ask(None) if result.error is None else None
        if isinstance(end, End):
            result.end = end
        elif end is not None:
            result.error = f"when it came off: {end}"

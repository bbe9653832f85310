"""The writer at a steady pace: small layers, a fixed number of batches a second.

What a training waits for is only told apart from what it computes where it has time
to spare: the loop sleeps until the next batch is due. May import torch and actrace.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from benchmarks.overhead.ratios import growth
from benchmarks.overhead.usage import folder_bytes, resident_bytes, thread_cpu_seconds
from torch import nn

__all__ = ["Outcome", "Pace", "pace_lines", "steady"]

#: Batches that differ, so that their statistics do not compress to nothing.
INPUTS = 1009


@dataclass(frozen=True, slots=True)
class Pace:
    """What is kept up.

    Attributes
    ----------
    batches_a_second : float, default 200
    layers : int, default 60
    width : int, default 32
        Units of a layer.
    samples : int, default 16
        Of a batch.
    seconds : float, default 60
    """

    batches_a_second: float = 200.0
    layers: int = 60
    width: int = 32
    samples: int = 16
    seconds: float = 60.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """How it went.

    Attributes
    ----------
    pace : Pace
    threads : int
    batches : int
        Recorded.
    lost : int
    seconds : float
    late : int
        Batches that began more than one period after they were due.
    hooks_seconds : float
        Recording in the training's thread, waiting included.
    waited_seconds : float
        Of these, waiting for the writer.
    first_waited : float
        Of these, in the first fifth of the time.
    writer_seconds : float
        Processor time of the writer thread.
    written : int
        Bytes of the closed run.
    grown : float or None
        Bytes of memory that a batch added after the first fifth.
    close_seconds : float
        What closing the run took.
    """

    pace: Pace
    threads: int
    batches: int
    lost: int
    seconds: float
    late: int
    hooks_seconds: float
    waited_seconds: float
    first_waited: float
    writer_seconds: float
    written: int
    grown: float | None
    close_seconds: float


def steady(pace: Pace, threads: int = 1, say: Callable[[str], None] = lambda _: None) -> Outcome:
    """Record forwards at the pace, and return how it went."""
    import actrace

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    model = nn.Sequential(*(nn.Linear(pace.width, pace.width) for _ in range(pace.layers)))
    for layer in model:
        # So that layers far down see as much as the first.
        nn.init.orthogonal_(layer.weight)
    inputs = torch.randn(INPUTS, pace.samples, pace.width)
    period = 1 / pace.batches_a_second
    looks: list[tuple[int, int]] = []
    late = n = seen = 0
    first_waited: float | None = None
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        recorder = actrace.record(model, Path(folder) / "run")
        model(inputs[0])  # lays the rows out
        recorder.flush()
        waited_before = recorder.report().waited_seconds
        seconds_before = recorder.report().seconds
        writer_before = thread_cpu_seconds("actrace-writer") or 0.0
        began = time.perf_counter()
        while (now := time.perf_counter() - began) < pace.seconds:
            due = n * period
            if now < due:
                time.sleep(due - now)
            elif now > due + period:
                late += 1
            model(inputs[n % INPUTS])
            n += 1
            if n % max(1, int(pace.batches_a_second)) == 0:
                say(f"steady: {now:.0f} of {pace.seconds:g} s")
                if now > pace.seconds / 5:
                    if first_waited is None:
                        first_waited = recorder.report().waited_seconds - waited_before
                    resident = resident_bytes()
                    if resident is not None:
                        looks.append((n - seen, resident))
                        seen = n
        seconds = time.perf_counter() - began
        writer = (thread_cpu_seconds("actrace-writer") or 0.0) - writer_before
        report = recorder.report()
        closing = time.perf_counter()
        recorder.close()
        close_seconds = time.perf_counter() - closing
        after = recorder.report()
        waited = report.waited_seconds - waited_before
        return Outcome(
            pace=pace,
            threads=threads,
            batches=sum(after.batches.values()) - 1,
            lost=sum(after.lost.values()),
            seconds=seconds,
            late=late,
            hooks_seconds=report.seconds - seconds_before,
            waited_seconds=waited,
            first_waited=waited if first_waited is None else first_waited,
            writer_seconds=writer,
            written=folder_bytes(Path(folder)),
            grown=growth(*zip(*looks, strict=True)) if looks else None,
            close_seconds=close_seconds,
        )


def pace_lines(outcome: Outcome) -> Iterator[str]:
    """Yield the table of a steady run."""
    pace, n = outcome.pace, max(1, outcome.batches)
    yield (
        f"**Steady pace**: {pace.layers} linear layers of {pace.width} units, {pace.samples} "
        f"samples, {pace.batches_a_second:g} forwards a second for {pace.seconds:g} s, "
        f"{outcome.threads} {'thread' if outcome.threads == 1 else 'threads'}"
    )
    yield ""
    share = outcome.writer_seconds / outcome.seconds
    grown = "not known" if outcome.grown is None else f"{outcome.grown:,.0f} bytes a batch"
    rows = {
        "batches recorded, lost": f"{outcome.batches:,}, {outcome.lost:,}",
        "pace reached": f"{outcome.batches / outcome.seconds:.1f} a second",
        "batches more than a period late": f"{outcome.late:,}",
        "recording in the training's thread": f"{1e3 * outcome.hooks_seconds / n:.3f} ms a batch",
        "the training waited for the writer": (
            f"{outcome.waited_seconds:.3f} s, of which {outcome.first_waited:.3f} s in the first "
            "fifth"
        ),
        "the writer's share of a processor": f"{100 * share:.1f} %",
        "written": f"{outcome.written / n:,.0f} bytes a batch",
        "memory grown after the first fifth": grown,
        "closing the run": f"{outcome.close_seconds:.2f} s",
    }
    yield "| | |"
    yield "|---|---|"
    for name, value in rows.items():
        yield f"| {name} | {value} |"
    yield ""

"""The tables, in Markdown and as JSON. Standard library, and torch for its version."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.overhead.measure import Result, Settings
from benchmarks.overhead.ratios import Spread

__all__ = ["as_json", "machine", "table_lines", "versions"]


def machine() -> str:
    """Return the processor and its cores, as the tables name it."""
    name = platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                name = f"{name}, {line.partition(':')[2].strip()}"
                break
    except OSError:
        pass
    return f"{name}, {os.cpu_count()} cores, {platform.system()}"


def versions(packages: Iterable[str]) -> str:
    """Return the versions of Python and of what is installed of `packages`."""
    found = [f"Python {platform.python_version()}"]
    for package in dict.fromkeys(packages):
        try:
            found.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return ", ".join(found)


def table_lines(results: Sequence[Result], settings: Settings) -> Iterator[str]:
    """Yield the lines of one model's table and what they say of the peers."""
    bare = results[0]
    step = bare.step().middle
    steps = bare.blocks[0].steps
    yield (
        f"**{bare.task.title}**: bare step {_seconds(step)}, {_threads(settings.threads)}; "
        f"{'on a core of its own; ' if settings.pin else ''}"
        f"{len(bare.blocks)} rounds of {steps} steps"
        f"{f', after {settings.lead} in the lead' if settings.lead else ''}"
    )
    yield ""
    yield (
        "| variant | keeps | step, ratio to bare | at best | processor time, ratio "
        "| memory, a step | written, a step | start |"
    )
    yield "|---|---|---|---|---|---|---|---|"
    for result in results:
        yield f"| {' | '.join(_cells(result))} |"
    yield ""
    notes = list(_notes(results))
    if notes:
        yield "\n".join(notes)
        yield ""


def _cells(result: Result) -> list[str]:
    head = [result.variant.title, result.variant.keeps or "nothing"]
    if result.error is not None:
        # A table's cell is one line without bars.
        return [*head, " ".join(result.error.split()).replace("|", "/"), "", "", "", "", ""]
    grown, written = result.growth(), result.written()
    start = "" if result.start_seconds is None else f"{result.start_seconds:.2f} s"
    if result.cold_seconds is not None:
        start += f" ({result.cold_seconds:.2f} s)"
    return [
        *head,
        str(result.ratio()),
        f"{result.best_ratio():.2f}",
        str(result.cpu_ratio()),
        "not known" if grown is None else _bytes(grown),
        "" if written is None else _bytes(written),
        start,
    ]


def _notes(results: Sequence[Result]) -> Iterator[str]:
    """Yield what the writer did, and how the recorder stands beside the best peer."""
    run = [result for result in results if result.error is None]
    for result in run:
        if result.variant.name.startswith("actrace"):
            yield (
                f"- {result.variant.title}: the writer thread took "
                f"{100 * result.writer_share():.1f} % of a processor, the training waited "
                f"{result.waited():.3f} s for it."
            )
        if result.end is not None and result.end.remarks:
            yield f"- {result.variant.title} remarks: {'; '.join(result.end.remarks)}"
    peers = [result for result in run if result.variant.peer]
    if not peers:
        return
    best = min(peers, key=lambda result: result.ratio().middle)
    for result in run:
        if result.variant.name.startswith("actrace"):
            yield (
                f"- {result.variant.title} beside the best peer that keeps whole histograms "
                f"({best.variant.title}): a step takes {_beside(result.ratio(), best.ratio())}; "
                f"processor time {_beside(result.cpu_ratio(), best.cpu_ratio())}."
            )


def _beside(ours: Spread, theirs: Spread) -> str:
    """Return two additions to the bare step, and how many times the one is the other."""
    more, most = ours.middle - 1, theirs.middle - 1
    times = f", {most / more:.1f} times as much" if more > 0 and most > 0 else ""
    return f"{100 * more:+.1f} % against {100 * most:+.1f} %{times}"


def _threads(n: int) -> str:
    return f"{n} {'thread' if n == 1 else 'threads'}"


def _seconds(seconds: float) -> str:
    return f"{1e3 * seconds:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def _bytes(n: float) -> str:
    for unit, size in (("MB", 1e6), ("kB", 1e3)):
        if abs(n) >= size:
            return f"{n / size:.3g} {unit}"
    return f"{n:.0f} B"


def as_json(results: Sequence[Result], settings: Settings) -> list[dict[str, Any]]:
    """Return everything measured, every block of every round, as JSON can hold it."""
    return [
        {
            "model": result.task.name,
            "variant": result.variant.name,
            "threads": settings.threads,
            "error": result.error,
            "start_seconds": result.start_seconds,
            "cold_seconds": result.cold_seconds,
            "ratio": None if result.error else asdict(result.ratio()),
            "best_ratio": None if result.error else result.best_ratio(),
            "cpu_ratio": None if result.error else asdict(result.cpu_ratio()),
            "memory_bytes_a_step": None if result.error else result.growth(),
            "written_bytes_a_step": None if result.error else result.written(),
            "writer_share": None if result.error else result.writer_share(),
            "waited_seconds": None if result.error else result.waited(),
            "blocks": [asdict(block) for block in result.blocks],
            "bare": [asdict(block) for block in result.bare],
            "more": [asdict(block) for block in result.more],
            "end": None if result.end is None else asdict(result.end),
        }
        for result in results
    ]

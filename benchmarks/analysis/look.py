"""One analysis in a process of its own: time, memory, what it read, and plain zarr reading that.

Usage: python -m benchmarks.analysis.look RUN WHAT THREADS [LAYERS]; prints one line of JSON.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import dask
import dask.array
import zarr
from benchmarks.store.look import peak_megabytes
from numpy.typing import NDArray

import actrace
from actrace.store.manifest import ArrayEntry, read_manifest
from actrace.store.snapshot import SnapshotStore

__all__ = ["ANALYSES"]

ANALYSES: Final[dict[str, Callable[[Any], Any]]] = {
    "twin_peaks": lambda run: actrace.twin_peaks(run).compute(),
    'twin_peaks, by="class"': lambda run: actrace.twin_peaks(run, by="class").compute(),
    "find_peaks": lambda run: actrace.find_peaks(run, layer=_some_layers(run)[-1]).compute(),
    "divergence": lambda run: actrace.divergence(run, layers=_some_layers(run)).compute(),
    "rates": lambda run: actrace.rates(run).compute(),
    "class_report": lambda run: actrace.class_report(run).compute(),
    "onset": lambda run: actrace.onset(run),
    "diagnose": lambda run: actrace.diagnose(run, progress=False),
}
_USED: Final = (
    *("twin_peaks", "find_peaks", "divergence", "rates", "class_report", "onset", "diagnose"),
    "open",
)
#: Batches that plain zarr reads at once.
_REGION: Final = 16_384

#: Array, chunk file and inner chunk, which is None where a file is one.
Read = set[tuple[str, int, int | None]]


def _noting(read: Read) -> Callable[..., NDArray[Any]]:
    """Return the store's way to read a chunk, which notes what is asked for."""
    piece = SnapshotStore.piece

    def noted(self: SnapshotStore, entry: ArrayEntry, at: int, number: int = 0) -> NDArray[Any]:
        read.add((entry.path, at, number if entry.sharded else None))
        return piece(self, entry, at, number)

    return noted


def _regions(path: Path, read: Read) -> Iterator[tuple[str, tuple[slice, ...]]]:
    """Yield the parts of arrays that hold what was read, each a row of chunks."""
    manifest = read_manifest(path)
    places: dict[str, dict[int | None, set[int]]] = {}
    for name, at, first in read:
        places.setdefault(name, {}).setdefault(first, set()).add(at)
    for name, by_first in places.items():
        entry = manifest.arrays[name]
        length = entry.chunk[-1]
        for first, chunks in by_first.items():
            lead = [slice(None)] * (len(entry.shape) - 1)
            if first is not None:
                lead[0] = slice(first, first + 1)
            start = before = -2
            for at in [*sorted(chunks), -1]:
                if before >= 0 and (at != before + 1 or (at + 1 - start) * length > _REGION):
                    yield name, (*lead, slice(start * length, (before + 1) * length))
                    start = at
                elif before < 0:
                    start = at
                before = at


def _some_layers(run: Any) -> list[str]:
    """Return as many layers as were asked for, evenly from all; every one by default."""
    names = [str(name) for name in run["layer"].to_numpy()]
    n = int(sys.argv[4]) if len(sys.argv) > 4 else len(names)
    return [names[at * len(names) // n] for at in range(n)]


def _load_all() -> None:
    """Import what an analysis imports when it is first called, dask's own imports too."""
    for name in _USED:
        getattr(actrace, name)
    dask.array.zeros(1).compute()


def main() -> None:
    """Open the run, analyse it, read the same with plain zarr, and print what both took."""
    path, what, threads = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    dask.config.set(scheduler="threads", num_workers=threads)
    _load_all()
    read: Read = set()
    SnapshotStore.piece = _noting(read)  # type: ignore[method-assign]
    before, began, worked = peak_megabytes(), time.perf_counter(), time.process_time()
    run = actrace.open(path)
    ANALYSES[what](run)
    took = {
        "seconds": time.perf_counter() - began,
        "processor": time.process_time() - worked,
        "megabytes": peak_megabytes() - before,
    }
    run.close()
    group = zarr.open_group(path, mode="r")
    regions = list(_regions(path, read))
    arrays: dict[str, Any] = {name: group[name] for name in {name for name, _ in regions}}

    def size(region: tuple[str, tuple[slice, ...]]) -> int:
        name, part = region
        return int(arrays[name][part].nbytes)

    began, worked = time.perf_counter(), time.process_time()
    with ThreadPoolExecutor(threads) as pool:
        decoded = sum(pool.map(size, regions))
    plain = {
        "plain_seconds": time.perf_counter() - began,
        "plain_processor": time.process_time() - worked,
        "decoded": decoded,
        "chunks": len(read),
    }
    print(json.dumps({**took, **plain}))


if __name__ == "__main__":
    main()

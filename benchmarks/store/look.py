"""One look at a run in a process of its own: time and peak memory after imports.

Usage: python -m benchmarks.store.look RUN WHAT; prints one line of JSON.
"""

from __future__ import annotations

import importlib
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import dask.array
import numpy as np
import xarray as xr
import zarr

import actrace
from actrace.analysis.charts.colorful.data import colorful_data, colorful_layers
from actrace.store.levels import window as _window
from actrace.store.reader import open_run
from actrace.store.run import Run

__all__ = ["LOOKS", "peak_megabytes"]

#: What a process has loaded before the clock starts.
_LOADED: Final = (dask.array, xr, zarr, _window)
#: Windows of the zoom, and what it draws of them.
ZOOMS: Final = 24
WIDTH: Final = 1000


def _open(run: Run) -> dict[str, Any]:
    graph = run["train"]["count"].data
    return {"tasks": len(graph.__dask_graph__())}


def _overview(run: Run) -> dict[str, Any]:
    found = run.window("train", width=WIDTH, layers="layer7").load()
    return {"factor": found.attrs["factor"], "columns": found.sizes["batch"]}


def _picture(run: Run) -> dict[str, Any]:
    found = colorful_data(run, layer="layer7")
    return {"factor": found.attrs["batches_per_column"], "columns": found.sizes["column"]}


def _tiles(run: Run) -> dict[str, Any]:
    found = list(colorful_layers(run, max_columns=330, max_rows=120))
    at = found[0]
    return {"factor": at.attrs["batches_per_column"], "columns": at.sizes["column"]}


def _drawn(run: Run, layer: str | None) -> dict[str, Any]:
    chart = actrace.colorful_chart(run, layer=layer)
    with tempfile.TemporaryDirectory() as scratch:
        file = actrace.save_chart(chart, Path(scratch) / "look.png")
        return {"bytes": file.stat().st_size}


def _zoom(run: Run) -> dict[str, Any]:
    """Load windows of any place and length, one layer each, and time every one."""
    rng = np.random.default_rng(0)
    n = run.n_batches("train")
    seconds, worked = [], []
    for length in np.geomspace(min(n, WIDTH), n, ZOOMS).astype(int):
        start = int(rng.integers(0, n - length + 1))
        layer = f"layer{rng.integers(0, run.sizes['layer'])}"
        began, then = time.perf_counter(), time.process_time()
        run.window("train", start, start + int(length), width=WIDTH, layers=layer).load()
        seconds.append(time.perf_counter() - began)
        worked.append(time.process_time() - then)
    return {"median": float(np.median(seconds)), "worst": max(seconds), "work": max(worked)}


LOOKS: Final[dict[str, Callable[[Run], dict[str, Any]]]] = {
    "open": _open,
    "overview": _overview,
    "picture": _picture,
    "tiles": _tiles,
    "drawn": lambda run: _drawn(run, "layer7"),
    "drawn tiles": lambda run: _drawn(run, None),
    "zoom": _zoom,
}


def _load_pictures() -> None:
    """Draw a curve, so that all that drawing imports is loaded before the clock starts."""
    import holoviews as hv

    importlib.import_module("actrace.analysis.charts.colorful.colorful")
    with tempfile.TemporaryDirectory() as scratch:
        actrace.save_chart(hv.Curve([0, 1]), Path(scratch) / "curve.png")


def peak_megabytes() -> float:
    """Return the most memory that this process has held, MB."""
    try:
        # Not ru_maxrss, which begins with that of the process this one was started by.
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return float(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e6
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def main() -> None:
    """Open the run, look, and print what it took."""
    path, what = sys.argv[1:]
    if what.startswith("drawn"):
        _load_pictures()
    before, began, worked = peak_megabytes(), time.perf_counter(), time.process_time()
    run = open_run(path)
    found = LOOKS[what](run)
    took = {
        "seconds": time.perf_counter() - began,
        "processor": time.process_time() - worked,
        "megabytes": peak_megabytes() - before,
    }
    print(json.dumps({**found, **took}))


if __name__ == "__main__":
    main()

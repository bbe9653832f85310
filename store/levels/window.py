"""A window of a phase at the level that suits its width. May import xarray."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from actrace.store.names import matching_layers
from actrace.store.rewriting.marks import is_thinned
from actrace.store.schema import LEVEL_VARIABLES

if TYPE_CHECKING:
    from actrace.store.run import Run

__all__ = ["choose_factor", "read_window"]

_ABOUT = {v.name: v for v in LEVEL_VARIABLES if v.name in ("first_batch", "batches")}


def choose_factor(run: Run, phase: str, start: int, stop: int, width: int) -> int:
    """Return the batches in a column of the coarsest level that has `width` columns.

    1 where no level has: the batches themselves. A level that is a column or more
    behind the window's end is not taken.
    """
    fitting = [
        factor
        for factor, columns in run.levels(phase).items()
        if (stop - start) // factor >= width and stop - columns * factor < factor
    ]
    return max(fitting, default=1)


def read_window(
    run: Run,
    phase: str,
    start: int,
    stop: int | None,
    *,
    width: int,
    layers: str | Iterable[str] | None,
    blocks: bool,
) -> xr.Dataset:
    """Return a window of a phase; see `Run.window`."""
    n = run.n_batches(phase)
    stop = n if stop is None else min(stop, n)
    if not 0 <= start <= stop or width < 1:
        raise ValueError(
            f"a window is start <= stop, both 0 or more, and at least 1 wide; got start={start}, "
            f"stop={stop}, width={width}, and phase {phase!r} has {n} batches"
        )
    names = [str(name) for name in run.dataset["layer"].to_numpy()]
    wanted = list(range(len(names)))
    if layers is not None:
        asked = [layers] if isinstance(layers, str) else layers
        wanted = list(dict.fromkeys(at for p in asked for at in matching_layers(names, p)))
    factor = choose_factor(run, phase, start, stop, width)
    if factor == 1 and is_thinned(run.attrs, phase, wanted, start, stop):
        factor = min(run.levels(phase), default=1)
    if factor == 1:
        whole = run.phase(phase).to_dataset(inherit=False) if blocks else run.stored(phase, 1)
        found = whole.isel(batch=slice(start, stop))
        first = np.arange(start, start + found.sizes.get("batch", 0), dtype=np.int64)
        for name, values in (("first_batch", first), ("batches", np.ones_like(first))):
            about = {"long_name": _ABOUT[name].long_name, "units": _ABOUT[name].units}
            found[name] = xr.Variable("batch", values, about)
    else:
        level = run.at_level(phase, factor) if blocks else run.stored(phase, factor)
        # To whole columns outward; what the last one lacks is not written yet.
        columns = slice(start // factor, min(-(-stop // factor), level.sizes["batch"]))
        found = level.isel(batch=columns)
    found = found.assign_coords(run.dataset.coords)
    if layers is not None:
        found = found.isel(layer=wanted)
    return found.assign_attrs({"phase": phase, "factor": factor})

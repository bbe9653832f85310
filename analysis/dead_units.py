"""Which units died, when, and which of them came back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from actrace.analysis import select
from actrace.analysis.design import silent_by_design
from actrace.analysis.kernels.lifetimes import lifetimes
from actrace.analysis.reduce import described, parallel, sum_over
from actrace.errors import NotRecordedError
from actrace.store.schema import UNIT_GROUP

__all__ = ["dead_units"]

_LETT: Final = "Lett, dead neurons over an epoch; monitorch, OutputActivation, over a batch"

_TABLE: Final = {
    "dead": ("dead in the last window and since died_at", "1", _LETT),
    "died_at": ("step from which on the unit is dead, NaN if it is not", "training batches", ""),
    "died_in": ("epoch of died_at, NaN if there is none", "1", ""),
    "recovered_at": ("step at which activity last came back, NaN if never", "training batches", ""),
    "recovered_in": ("epoch of recovered_at, NaN if there is none", "1", ""),
    "revivals": ("times that activity came back", "1", ""),
    "dead_windows": ("windows without activity", "1", ""),
    "windows": ("windows in which the unit was called", "1", ""),
}


def dead_units(
    run: xr.DataTree,
    *,
    layers: str | Iterable[str] | None = None,
    phase: str | None = None,
    by: str | int = "epoch",
    by_design: bool = False,
) -> xr.Dataset:
    """Return of each unit whether and when it died, and when it came back.

    A unit is a channel or neuron. It is dead in a window in which it was called and
    none of its elements was active (above the run's ``active_threshold`` in size).

    Parameters
    ----------
    run : DataTree
        As `actrace.open` returns it.
    layers : str or iterable of str, optional
        Names or patterns; all when left out.
    phase : str, optional
        By default ``train``, the first phase where there is none.
    by : "epoch" or int, default "epoch"
        The window: an epoch, or so many batches of the phase. What the recorder kept
        together belongs where it began.
    by_design : bool, default False
        Also units of layers that are silent by design (dropout, softmax).

    Returns
    -------
    Dataset, dims (unit), lazy
        dead, died_at and recovered_at (steps: of the first batch of a window), died_in
        and recovered_in (epochs), revivals, dead_windows and windows; coordinates
        ``unit_layer`` (name) and ``unit_channel``. A unit that was never active is dead
        from its first window on.

    Raises
    ------
    LayerNotFoundError, PhaseNotFoundError
        Not in this run; the message lists what is.
    NotRecordedError
        The phase has no units recorded, or the run no phase.
    ValueError
        Another `by`, or fewer batches than the recorder's own windows have.

    Examples
    --------
    >>> found = dead_units(run, by=4)
    >>> found.sizes, int(found["dead"].sum())
    (Frozen({'unit': 16}), 2)
    """
    names = select.select_phases(run, phase)
    if not names:
        raise NotRecordedError("this run recorded no batch, so nothing is known of its units")
    name = names[0]
    parts = select.unit_parts(run, name, by)
    node = run.children[name].children[UNIT_GROUP].to_dataset()
    owner = node["unit_layer"].to_numpy()
    wanted = np.isin(owner, select.select_layers(run, layers))
    if not by_design:
        wanted &= ~silent_by_design(run)[owner]
    chosen = np.flatnonzero(wanted)
    active, total = (
        sum_over(node[what].isel(unit=chosen), "window", parts).chunk({"epoch": -1})
        for what in ("active", "total")
    )
    starts = [int(node["first_batch"].to_numpy()[at[0]]) for at in parts.values()]
    batches = run.children[name].dataset
    step = batches["step"].to_numpy()[starts]
    epoch = batches["epoch"].to_numpy()[starts]

    def kernel(some: NDArray[Any], whole: NDArray[Any]) -> tuple[NDArray[Any], ...]:
        found = lifetimes(some, whole)
        return (
            found.died >= 0,
            _at(found.died, step),
            _at(found.died, epoch),
            _at(found.recovered, step),
            _at(found.recovered, epoch),
            found.revivals,
            found.dead_windows,
            found.windows,
        )

    kinds = [np.dtype(bool), *[np.dtype(np.float64)] * 4, *[np.dtype(np.int64)] * 3]
    answers = parallel(
        kernel, active, total, core=[["epoch"]] * 2, out=[[]] * len(_TABLE), dtypes=kinds
    )
    layer = np.array(select.layer_names(run), dtype=str)
    found = xr.Dataset(dict(zip(_TABLE, answers, strict=True))).assign_coords(
        unit_layer=("unit", layer[owner[chosen]]),
        unit_channel=("unit", node["unit_channel"].to_numpy()[chosen]),
    )
    return described(found, _TABLE, phase=name, by=by)


def _at(index: NDArray[np.int64], values: NDArray[Any]) -> NDArray[np.float64]:
    """Return the value at each index, NaN at -1."""
    known = np.append(values.astype(np.float64), np.nan)
    return known[index]

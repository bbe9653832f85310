"""How far runs would be apart if nothing but chance had parted them.

Two witnesses: how far the baseline itself moves within a few positions, since a run
that is a little ahead or behind is as far from it as that; and runs of the same
config with other seeds, where there are any. Imports NumPy and xarray.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from actrace.analysis.comparison.distances import js_of_used
from actrace.analysis.kernels.parting import movement, upper_quantile, within
from actrace.analysis.reduce import parallel
from actrace.store.catalogue.table import flat_config

__all__ = ["MOST_SEEDS", "noise_bands", "same_but_for_the_seed"]

#: Runs of one config that a band is made of; more would tell little more.
MOST_SEEDS: Final = 12


def same_but_for_the_seed(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    """Return whether two configs differ in nothing but settings named as a seed.

    Configs that say nothing are not the same: the trainings may differ in anything.

    Examples
    --------
    >>> same_but_for_the_seed({"lr": 0.1, "seed": 1}, {"lr": 0.1, "seed": 2})
    True
    >>> same_but_for_the_seed({"seed": 1}, {"seed": 2}), same_but_for_the_seed({}, {})
    (True, False)
    """
    if not first or not second:
        return False
    rest = [
        {key: value for key, value in flat_config(config).items() if not _is_seed(key)}
        for config in (first, second)
    ]
    return rest[0] == rest[1]


def _is_seed(key: str) -> bool:
    return "seed" in key.rpartition(".")[2].lower()


def noise_bands(
    baseline: xr.DataArray,
    seeds: Mapping[str, xr.DataArray],
    runs: Sequence[str],
    *,
    lag: int,
    quantile: float,
) -> tuple[xr.DataArray, xr.DataArray]:
    """Return how far chance would have each run from the baseline.

    Parameters
    ----------
    baseline : DataArray, dims (layer, position, cell)
        Histograms of the baseline.
    seeds : dict of str to DataArray
        Histograms of runs of one config, the baseline's among them; may be empty.
    runs : sequence of str
        Those that are judged. Pairs of seeds that a run belongs to are no witness of it.
    lag : int
        Positions before and after, within which a run may be ahead or behind.
    quantile : float

    Returns
    -------
    noise : DataArray, dims (run, layer, position), bits
        The larger of the two witnesses.
    pairs : DataArray, dims (run), int64
        Pairs of seeds; 0 where the baseline's own movement is all there is.
    """

    def moves(h: NDArray[Any]) -> NDArray[np.float64]:
        return upper_quantile(movement(h, lag, js_of_used), quantile)

    own = parallel(moves, baseline, core=[["position", "cell"]], out=[["position"]])
    pairs = list(itertools.combinations(list(seeds)[:MOST_SEEDS], 2))
    core = [["cell"], ["cell"]]
    apart = {
        pair: parallel(js_of_used, *(seeds[name] for name in pair), core=core) for pair in pairs
    }
    bands: dict[tuple[tuple[str, str], ...], xr.DataArray] = {(): own}
    found, numbers = [], []
    for run in runs:
        witnesses = tuple(pair for pair in pairs if run not in pair)
        if witnesses not in bands:
            bands[witnesses] = _band([apart[pair] for pair in witnesses], own, lag, quantile)
        found.append(bands[witnesses])
        numbers.append(len(witnesses))
    dim = xr.Variable("run", np.array(runs, dtype=str))
    counts = xr.DataArray(np.array(numbers, np.int64), dims="run", coords={"run": dim})
    return xr.concat(found, dim, coords="minimal", compat="override", join="override"), counts


def _band(
    apart: Sequence[xr.DataArray], own: xr.DataArray, lag: int, quantile: float
) -> xr.DataArray:
    def band(movement: NDArray[np.float64], *distances: NDArray[np.float64]) -> NDArray[np.float64]:
        near = np.concatenate([within(values, lag) for values in distances], axis=-1)
        return np.fmax(movement, upper_quantile(near, quantile))

    core = [["position"]] * (1 + len(apart))
    found: xr.DataArray = parallel(band, own, *apart, core=core, out=[["position"]])
    return found

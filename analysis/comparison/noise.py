"""How far runs would be apart if nothing but chance had parted them.

Witnesses are how far the baseline itself moves within a few positions, since a run
that is a little ahead or behind is as far from it as that; runs of the same config with
other seeds; and where there are too few of these, how far another draw of its units
would move a layer. Imports NumPy and xarray.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from actrace.analysis.comparison.distances import js_of_used
from actrace.analysis.kernels.parting import movement, shifted, upper_quantile, within
from actrace.analysis.reduce import parallel
from actrace.store.catalogue.table import flat_config

__all__ = ["MARGIN", "MOST_SEEDS", "PAIRS", "noise_bands", "redrawn", "same_but_for_the_seed"]

#: Runs of one config that a band is made of; more would tell little more.
MOST_SEEDS: Final = 12
#: Pairs of seeds from which on they alone tell how much layers differ by their draw of units.
PAIRS: Final = 3
#: How far above the witnesses chance may go: the largest of a few distances is soon
#: exceeded. How it was chosen is in docs/comparison.md.
MARGIN: Final = 1.2


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


def redrawn(
    baseline: xr.DataArray,
    units: NDArray[np.int64],
    edges: NDArray[np.float64],
) -> xr.DataArray:
    """Return how far another draw of its units would move each layer.

    A layer is a mixture of what its n units do, each begun at random. If all of its spread
    lay between the units, the means of two such layers would differ by about
    ``std * sqrt(2 / n)``: the standard error of a difference of two means. The distance is
    that of the histogram from itself, moved by so much. Wide or smooth layers hardly notice.
    One of few channels on a constant background does, whose mass stands in as many places
    as it has channels.

    The spread is taken from the bins, not from the recorded ``std``: it is then the same to
    the last bit whichever level is read. What lies outside the axis has no part in it.

    Parameters
    ----------
    baseline : DataArray, dims (layer, position, cell)
        Histograms, under- and overflow outermost.
    units : ndarray of int64, shape (n_layers,)
        Of each layer, 0 where nobody knows: such a layer is not moved.
    edges : ndarray, shape (n_bins + 1,)

    Returns
    -------
    DataArray, dims (layer, position), bits
        NaN where there are no elements.
    """
    middle = (edges[1:] + edges[:-1]) / 2
    share = np.sqrt(np.divide(2.0, units, out=np.zeros(len(units)), where=units > 0))

    def apart(counts: NDArray[Any], share: NDArray[np.float64]) -> NDArray[np.float64]:
        inside = counts[..., 1:-1].astype(np.float64)
        n = np.maximum(inside.sum(axis=-1), 1)
        mean = (inside * middle).sum(axis=-1) / n
        square = (inside * (middle - mean[..., None]) ** 2).sum(axis=-1) / n
        return js_of_used(counts, shifted(counts, edges, np.sqrt(square) * share))

    by_layer = xr.DataArray(share, dims="layer", coords={"layer": baseline["layer"]})
    found: xr.DataArray = parallel(apart, baseline, by_layer, core=[["cell"], []])
    return found


def noise_bands(
    baseline: xr.DataArray,
    seeds: Mapping[str, xr.DataArray],
    runs: Sequence[str],
    *,
    draw: xr.DataArray,
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
    draw : DataArray, dims (layer, position), bits
        As `redrawn` returns it; a witness where there are fewer than `PAIRS` pairs of seeds.
    lag : int
        Positions before and after, within which a run may be ahead or behind.
    quantile : float

    Returns
    -------
    noise : DataArray, dims (run, layer, position), bits
        The largest of the witnesses, times `MARGIN`.
    pairs : DataArray, dims (run), int64
        Pairs of seeds.
    """

    def moves(h: NDArray[Any]) -> NDArray[np.float64]:
        return upper_quantile(movement(h, lag, js_of_used), quantile)

    own = parallel(moves, baseline, core=[["position", "cell"]], out=[["position"]])
    pairs = list(itertools.combinations(list(seeds)[:MOST_SEEDS], 2))
    core = [["cell"], ["cell"]]
    apart = {
        pair: parallel(js_of_used, *(seeds[name] for name in pair), core=core) for pair in pairs
    }
    bands: dict[tuple[tuple[str, str], ...], xr.DataArray] = {}
    found, numbers = [], []
    for run in runs:
        witnesses = tuple(pair for pair in pairs if run not in pair)
        if witnesses not in bands:
            enough = len(witnesses) >= PAIRS
            least = own if enough else xr.apply_ufunc(np.fmax, own, draw, dask="allowed")
            distances = [apart[pair] for pair in witnesses]
            bands[witnesses] = _band(distances, least, lag, quantile) if distances else least
        found.append(bands[witnesses])
        numbers.append(len(witnesses))
    dim = xr.Variable("run", np.array(runs, dtype=str))
    counts = xr.DataArray(np.array(numbers, np.int64), dims="run", coords={"run": dim})
    bands_of = xr.concat(found, dim, coords="minimal", compat="override", join="override")
    return MARGIN * bands_of, counts


def _band(
    apart: Sequence[xr.DataArray], least: xr.DataArray, lag: int, quantile: float
) -> xr.DataArray:
    def band(others: NDArray[np.float64], *distances: NDArray[np.float64]) -> NDArray[np.float64]:
        near = np.concatenate([within(values, lag) for values in distances], axis=-1)
        return np.fmax(others, upper_quantile(near, quantile))

    core = [["position"]] * (1 + len(apart))
    found: xr.DataArray = parallel(band, least, *apart, core=core, out=[["position"]])
    return found

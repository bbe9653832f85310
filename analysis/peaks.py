"""How many peaks a layer's histogram has, and where: no targets needed."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from actrace.analysis import select
from actrace.analysis.kernels.dip import dip
from actrace.analysis.kernels.halves import top_gap, two_normals
from actrace.analysis.kernels.peaks import ashmans_d, bimodality_coefficient, peaks_of
from actrace.analysis.reduce import by_phase, described, joined_bins, parallel, sum_over
from actrace.analysis.thinned import count_over

__all__ = ["find_peaks"]

_ACTIVATION: Final = "activation units"
_DENSITY: Final = "per activation unit"
_SILVERMAN: Final = "Silverman (1981), JRSS B 43:97; see actrace.analysis.kernels.peaks"
_ASHMAN: Final = "Ashman, Bird and Zepf (1994), AJ 108:2348"
_DIP: Final = "Hartigan and Hartigan (1985), Annals of Statistics 13:70"
_FIT: Final = "Ashman, Bird and Zepf (1994), AJ 108:2348; by EM on the bins"
_SARLE: Final = "SAS/STAT User's Guide (1990); Pfister et al. (2013), Front. Psychol. 4:700"

_TABLE: Final = {
    "n_peaks": ("number of peaks", "1", _SILVERMAN),
    "position": ("where the peak is highest", _ACTIVATION, ""),
    "height": ("density at the peak", _DENSITY, ""),
    "prominence": ("rise of the peak above its higher valley", _DENSITY, ""),
    "mass": ("share of the elements between the valleys around the peak", "1", ""),
    "valley": ("lowest point between the two heaviest peaks", _ACTIVATION, ""),
    "valley_depth": ("1 less valley by lower peak", "1", ""),
    "ashmans_d": ("distance of what lies left and right of the valley", "1", _ASHMAN),
    "bimodality_coefficient": ("Sarle's bimodality coefficient", "1", _SARLE),
    "dip": ("distance from the nearest distribution with one peak", "1", _DIP),
    "dip_error": ("most that binning may have moved dip", "1", _DIP),
    "separation": ("mean of the highest share less the mean of the rest", _ACTIVATION, ""),
    "two_normals_d": ("distance of the two normals that fit best", "1", _FIT),
    "two_normals_share": ("share of the upper of the two normals", "1", _FIT),
    "elements": ("finite elements", "1", ""),
}


def find_peaks(
    run: xr.DataTree,
    *,
    layer: str | None = None,
    phases: str | Iterable[str] | None = None,
    window: select.Window = "chart",
    max_peaks: int = 8,
    share: float | None = None,
) -> xr.Dataset:
    """Return the peaks of a layer's histogram, by phase and epoch.

    Peaks are searched in the smooth density in value that the twin peaks chart draws,
    not in counts of unequal bins, and count only where they are more than noise.

    Parameters
    ----------
    run : DataTree
        As `actrace.open` returns it.
    layer : str, optional
        The output layer when left out.
    phases : str or iterable of str, optional
        All when left out.
    window : "chart", "epoch", int or (int, int), default "chart"
        Which batches: of each epoch for ``train`` the last quarter, as in the chart, or
        all, other phases always giving all; windows of so many training batches; or one,
        from step to step (the second excluded). A validation is in the window whose
        training it followed.
    max_peaks : int, default 8
        Length of the ``peak`` dimension. Of more peaks the heaviest are described;
        `n_peaks` counts all.
    share : float, optional
        Share of the elements that `separation` takes for YES. When left out, for the
        output layer one in so many as it has units (half of them for a single unit); other
        layers then have no separation.

    Returns
    -------
    Dataset, dims (phase, epoch[, peak]), lazy
        By window instead of epoch where windows of steps were asked for.
        n_peaks (1 where there is one, 0 where nothing was counted); position, height,
        prominence and mass of each peak, left to right, NaN after the last; valley,
        valley_depth and ashmans_d of the two heaviest, NaN for fewer than two;
        bimodality_coefficient; dip with dip_error, of what lies on the axis; separation,
        which is to `understanding` what can be told without targets; two_normals_d and
        two_normals_share of a fit that takes the histogram for two groups whether it is or
        not; elements, the finite ones.

    Raises
    ------
    LayerNotFoundError, PhaseNotFoundError
        Not in this run; the message lists what is.
    NotRecordedError
        No layer was named and the run does not know its output layer, or nothing was recorded
        in the window.
    ThinnedError
        Windows of steps cut what was thinned; the message says which fit.
    ValueError
        Another `window`, or a `share` that is not between 0 and 1.

    Examples
    --------
    >>> find_peaks(run)["n_peaks"].sel(phase="valid").values
    array([1, 1, 2])
    """
    name = select.select_layer(run, layer)
    at = select.layer_names(run).index(name)
    if share is None:
        share = _share_of_yes(run, name, at)
    elif not 0 < share < 1:
        raise ValueError(f"share must lie between 0 and 1, got {share!r}")
    edges = select.bin_edges(run)
    parts = {}
    names = select.select_phases(run, phases)
    for phase in select.within(run, names, window, all_of_them=phases is not None):
        node = run.children[phase].to_dataset().isel(layer=at)
        batches = {
            part.epoch: part.indexer for part in select.epoch_batches(run, phase, window=window)
        }
        ends = [sum_over(node[n], "batch", batches) for n in ("underflow", "overflow")]
        count = count_over(run, phase, at, batches)
        parts[phase] = xr.Dataset({"histogram": joined_bins(count, *ends)})
    histogram = by_phase(parts, {"histogram": 0})["histogram"]
    kinds = [np.dtype(np.int64), *[np.dtype(np.float64)] * 13, np.dtype(np.uint64)]

    def kernel(cells: NDArray[np.uint64]) -> tuple[int | float | NDArray[np.float64], ...]:
        return _answers(cells, edges, max_peaks, share)

    answers = parallel(
        kernel,
        histogram.chunk({"cell": -1}),
        core=[["cell"]],
        out=[["peak"] if n in _PER_PEAK else [] for n in _TABLE],
        sizes={"peak": max_peaks},
        dtypes=kinds,
        vectorize=True,
    )
    answer = described(
        xr.Dataset(dict(zip(_TABLE, answers, strict=True))).drop_vars("layer", errors="ignore"),
        _TABLE,
        layer=name,
    )
    return select.windowed(answer, run, window)


def _share_of_yes(run: xr.DataTree, layer: str, at: int) -> float:
    """Return the share of YES in an output layer that has one a sample, NaN for other layers."""
    if layer != run.attrs.get("output_layer"):
        return math.nan
    units = int(run.dataset["layer_units"][at])
    return 1 / units if units > 1 else 0.5


_PER_PEAK: Final = ("position", "height", "prominence", "mass")


def _answers(
    cells: NDArray[np.uint64], edges: NDArray[np.float64], max_peaks: int, share: float
) -> tuple[int | float | NDArray[np.float64], ...]:
    """Return the values of `_TABLE`, in its order, for one histogram."""
    count = cells[1:-1]
    found = peaks_of(count, edges, underflow=float(cells[0]), overflow=float(cells[-1]))
    fit = two_normals(count, edges)
    heaviest = np.sort(np.argsort(-found.mass, kind="stable")[:max_peaks])

    def padded(values: NDArray[np.float64]) -> NDArray[np.float64]:
        kept = values[heaviest]
        return np.pad(kept, (0, max_peaks - len(kept)), constant_values=np.nan)

    return (
        len(found),
        padded(found.position),
        padded(found.height),
        padded(found.prominence),
        padded(found.mass),
        found.valley,
        found.valley_depth,
        ashmans_d(count, edges, found.valley),
        bimodality_coefficient(count, edges),
        *dip(count, edges),
        top_gap(count, edges, share),
        fit.ashmans_d if fit else math.nan,
        fit.share if fit else math.nan,
        cells.sum(),
    )

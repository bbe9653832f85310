"""Counts -> the curves that peaks are searched in, on grids that panels share.

Imports NumPy and xarray; knows nothing of a run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from actrace.analysis.kernels.curve import smooth_density
from actrace.analysis.kernels.density import occupied_range
from actrace.analysis.kernels.peaks import peak_curve

__all__ = ["peak_curves"]

#: Share of an epoch's elements that may lie outside the picture at each end.
_TRIM: Final = 5e-4
_FEWEST_CELLS: Final = 200
_MOST_CELLS: Final = 1000
#: All panels share a range unless one is this many times wider than most.
_ONE_RANGE: Final = 4.0
_UNITS: Final = "activation units"


@dataclass(frozen=True, slots=True)
class _Span:
    """A range of values, and the finest blur of the curves in it."""

    low: float
    high: float
    blur: float


def peak_curves(
    counts: Mapping[tuple[int, str, str], NDArray[np.uint64]],
    epochs: Sequence[int],
    phases: Sequence[str],
    roles: Sequence[str],
    edges: NDArray[np.float64],
    means: Mapping[tuple[int, str, str], float] | None = None,
    *,
    shared: bool = False,
) -> xr.Dataset:
    """Return the curves of the counts on grids of their own, by panel, phase and role.

    Parameters
    ----------
    counts : dict of (epoch, phase, role) to ndarray, shape (n_bins,)
        Whatever numbers the panels may stand for an epoch.
    epochs, phases, roles : sequences
    edges : ndarray, shape (n_bins + 1,), activation units
    means : dict of the same keys to float, activation units
    shared : bool, default False
        One grid for all panels, also where one of them reaches far beyond most: what it
        has outside is then left out, and `beyond` says that it has.

    Returns
    -------
    Dataset, dims (epoch, phase, role, cell, edge)
        density, elements, mean, value_edge and value, as `twin_peaks_data` has them;
        beyond (epoch).
    """
    blurs = {
        key: peak_curve(count, edges).bandwidth for key, count in counts.items() if count.any()
    }
    grids, beyond = _grids(counts, edges, means or {}, epochs, blurs, shared)
    shape = (len(epochs), len(phases), len(roles))
    density = np.zeros((*shape, grids.shape[1] - 1))
    elements = np.zeros(shape, np.uint64)
    mean = np.full(shape, np.nan)
    for i, epoch in enumerate(epochs):
        for j, phase in enumerate(phases):
            both = [counts.get((epoch, phase, role)) for role in roles]
            total = float(sum(int(count.sum()) for count in both if count is not None))
            for k, count in enumerate(both):
                if count is None or not total:
                    continue
                elements[i, j, k] = count.sum()
                mean[i, j, k] = (means or {})[epoch, phase, roles[k]]
                if count.any():
                    # As `peak_curve` does it, with the blur that it settled on.
                    blur = blurs[epoch, phase, roles[k]]
                    density[i, j, k] = smooth_density(
                        count, edges, bandwidth=blur, grid=grids[i], total=total
                    ).value
    dims = ("epoch", "phase", "role")
    return xr.Dataset(
        {
            "density": (
                (*dims, "cell"),
                density,
                {"long_name": "share of the elements", "units": "per activation unit"},
            ),
            "elements": (dims, elements, {"long_name": "elements within the axis"}),
            "mean": (dims, mean, {"units": _UNITS}),
            "value_edge": (("epoch", "edge"), grids, {"units": _UNITS}),
            "beyond": ("epoch", beyond, {"long_name": "reaches far beyond the grid"}),
            "value": (("epoch", "cell"), (grids[:, 1:] + grids[:, :-1]) / 2, {"units": _UNITS}),
        },
        coords={
            "epoch": np.array(epochs, np.int64),
            "phase": np.array(phases, dtype=str),
            "role": np.array(roles, dtype=str),
        },
    )


def _grids(
    counts: Mapping[tuple[int, str, str], NDArray[np.uint64]],
    edges: NDArray[np.float64],
    means: Mapping[tuple[int, str, str], float],
    epochs: Sequence[int],
    blurs: Mapping[tuple[int, str, str], float],
    shared: bool,
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the cell edges of each epoch's panel, shape (epoch, edge), and who has more.

    One range for all, so that panels compare; but where one epoch's outputs
    reach several times further than most (a training that blew up), a common
    range would show nothing of the others, and each epoch has its own.
    """
    spans = {epoch: _span(counts, edges, means, [epoch], blurs) for epoch in epochs}
    widths = np.array([span.high - span.low for span in spans.values()])
    beyond = widths > _ONE_RANGE * (float(np.median(widths)) if len(widths) else 0.0)
    if shared or not beyond.any():
        most = [epoch for epoch, far in zip(epochs, beyond, strict=True) if not far]
        spans = dict.fromkeys(epochs, _span(counts, edges, means, most, blurs))
    # Cells of a third of the blur show every peak there is in the curve.
    wanted = [3 * (s.high - s.low) / s.blur if s.blur > 0 else _MOST_CELLS for s in spans.values()]
    cells = int(np.clip(max(wanted, default=_FEWEST_CELLS), _FEWEST_CELLS, _MOST_CELLS))
    grids = [np.linspace(span.low, span.high, cells + 1) for span in spans.values()]
    return np.array(grids).reshape(len(epochs), cells + 1), beyond & shared


def _span(
    counts: Mapping[tuple[int, str, str], NDArray[np.uint64]],
    edges: NDArray[np.float64],
    means: Mapping[tuple[int, str, str], float],
    epochs: Sequence[int],
    blurs: Mapping[tuple[int, str, str], float],
) -> _Span:
    """Return what the epochs' outputs occupy, with room for their blur."""
    lows, highs, narrowest, widest = [], [], np.inf, 0.0
    sums: dict[tuple[int, str], Any] = {}
    for key, blur in blurs.items():
        epoch, phase, _ = key
        if epoch not in epochs:
            continue
        sums[epoch, phase] = sums.get((epoch, phase), 0) + counts[key]
        narrowest, widest = min(narrowest, blur), max(widest, blur)
    for count in sums.values():
        low, high = occupied_range(count, edges, trim=_TRIM)
        lows.append(low)
        highs.append(high)
    if not lows:
        return _Span(-1.0, 1.0, 0.5)
    # A mean may lie outside where much of the layer under- or overflows.
    inner = [m for key, m in means.items() if key[0] in epochs and edges[0] <= m <= edges[-1]]
    low, high = min([*lows, *inner]), max([*highs, *inner])
    # Room for the blur of what lies at the very ends.
    margin = max(0.04 * (high - low), 3 * widest)
    return _Span(low - margin, high + margin, narrowest)

"""What the twin-peaks chart draws, as one plain Dataset.

Curves of YES and NO, or of the whole layer, on a grid by epoch and phase,
with the numbers that stand in the titles. Imports NumPy and xarray; draws
nothing, so the chart is tested without pixels.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from actrace.analysis.kernels.density import occupied_range
from actrace.analysis.kernels.peaks import peak_curve, peaks_of
from actrace.analysis.sampled import as_read
from actrace.analysis.select import (
    bin_edges,
    epoch_batches,
    output_layer,
    phase_names,
    select_layer,
    select_phases,
    window_indices,
)
from actrace.analysis.thinned import count_over
from actrace.analysis.twin_peaks import twin_peaks
from actrace.errors import ChartError
from actrace.store.schema import OUTPUT_GROUP

__all__ = ["MOST_EPOCHS", "choose_epochs", "peak_curves", "twin_peaks_data"]

#: Panels of a chart unless told otherwise.
MOST_EPOCHS: Final = 12
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


def twin_peaks_data(
    run: xr.DataTree,
    *,
    phases: str | Iterable[str] | None = None,
    epochs: int | Iterable[int] | None = None,
    layer: str | None = None,
) -> xr.Dataset:
    """Return what the twin-peaks chart draws.

    Parameters
    ----------
    run : DataTree
    phases : str or iterable of str, optional
        All if left out; of a run with targets, those that have them.
    epochs : int or iterable of int, optional
        Epochs to draw; at most `MOST_EPOCHS` evenly spaced ones if left out.
    layer : str, optional
        The output layer if left out.

    Returns
    -------
    Dataset, dims (epoch, phase, role, cell, edge)
        ``density`` (epoch, phase, role, cell): curves that `peak_curve` gives, the
        ones peaks are searched in, scaled so that the roles of an epoch and phase
        together hold 1; ``value`` (epoch, cell) and ``value_edge`` (epoch, edge):
        the grid, the same for all epochs unless one reaches far beyond most;
        ``mean`` and ``elements`` (epoch, phase, role), and by epoch and phase:
        ``understanding``, ``share_yes``, ``accuracy`` (labelled), ``rmse``
        (regression), ``peaks`` (unlabelled). NaN or 0 where an epoch has no such
        batch. ``attrs``: ``layer``, ``task`` (one of the schema's, or "unlabelled").

    Raises
    ------
    ChartError
        An epoch that the run does not have.
    LayerNotFoundError, PhaseNotFoundError, NotRecordedError
    """
    if not phase_names(run):
        return peak_curves({}, [], [], [], bin_edges(run)).assign_attrs(layer="", task="unlabelled")
    name = select_layer(run, layer) if layer is not None else _output_layer(run)
    asked = select_phases(run, phases)
    labelled = tuple(phase for phase in asked if _has_targets(run.children[phase], name))
    if labelled and (phases is None or len(labelled) == len(asked)):
        task = str(run[labelled[0]][OUTPUT_GROUP].attrs.get("task", "single-label"))
        return _labelled(run, labelled, epochs, task).assign_attrs(layer=name, task=task)
    return _unlabelled(run, asked, epochs, name).assign_attrs(layer=name, task="unlabelled")


def choose_epochs(
    known: Sequence[int], asked: int | Iterable[int] | None, most: int = MOST_EPOCHS
) -> list[int]:
    """Return the epochs to draw, increasing.

    Parameters
    ----------
    known : sequence of int
        Epochs of the run, increasing.
    asked : int or iterable of int, optional
        None for at most `most` evenly spaced ones, first and last among them.

    Raises
    ------
    ChartError
        An epoch that is not known.

    Examples
    --------
    >>> choose_epochs(range(100), None, most=4)
    [0, 33, 66, 99]
    """
    if asked is None:
        places = np.unique(np.linspace(0, len(known) - 1, min(most, len(known))).round())
        return [int(known[int(place)]) for place in places]
    wanted = [asked] if isinstance(asked, (int, np.integer)) else list(asked)
    for epoch in wanted:
        if epoch not in known:
            held = f"it has {_range(known)}" if len(known) else "it has none yet"
            raise ChartError(f"epoch {epoch!r} is not in this run; {held}")
    return sorted({int(epoch) for epoch in wanted})


def _range(known: Sequence[int]) -> str:
    if len(known) == known[-1] - known[0] + 1:
        return f"{known[0]} to {known[-1]}"
    return ", ".join(str(epoch) for epoch in known[:20])


def _output_layer(run: xr.DataTree) -> str:
    """Return the layer of the labelled group where there is one, else the run's own."""
    for phase in phase_names(run):
        group = run.children[phase].children.get(OUTPUT_GROUP)
        if group is not None and group.attrs.get("layer"):
            # It need not be a row: the model's output may be made by a function.
            return str(group.attrs["layer"])
    return output_layer(run)


def _has_targets(phase: xr.DataTree, layer: str) -> bool:
    group = phase.children.get(OUTPUT_GROUP)
    return (
        group is not None
        and group.sizes.get("window", 0) > 0
        and group.attrs.get("layer", layer) == layer
    )


def _labelled(
    run: xr.DataTree, phases: Sequence[str], epochs: int | Iterable[int] | None, task: str
) -> xr.Dataset:
    windows = {phase: window_indices(run, phase, OUTPUT_GROUP) for phase in phases}
    chosen = choose_epochs(sorted({e for held in windows.values() for e in held}), epochs)
    node = {phase: run.children[phase][OUTPUT_GROUP].to_dataset() for phase in phases}
    roles = [str(role) for role in node[phases[0]]["role"].values]
    counts: dict[tuple[int, str, str], NDArray[np.uint64]] = {}
    numbers: dict[str, dict[tuple[int, str], float]] = {}
    means: dict[tuple[int, str, str], float] = {}
    for phase, held in windows.items():
        for epoch in chosen:
            if epoch not in held:
                continue
            part = node[phase].isel(window=held[epoch])
            count = part["count_by_unit"].sum(["output_unit", "window"])
            for role in roles:
                counts[epoch, phase, role] = count.sel(role=role).values.astype(np.uint64)
                means[epoch, phase, role] = _pooled_mean(part, role)
            if task == "regression":
                size = part["elements_by_unit"].sel(role=roles[0]).sum().values
                error = float(part["squared_error"].sum().values)
                numbers.setdefault("rmse", {})[epoch, phase] = (
                    float(np.sqrt(error / size)) if size else float("nan")
                )
    data = peak_curves(counts, chosen, phases, roles, bin_edges(run), means)
    if task != "regression":
        # The very numbers that twin_peaks() answers with.
        wanted = ["understanding", "share_yes", "accuracy"]
        table = twin_peaks(run, phases=phases)[wanted].reindex(epoch=chosen).compute()
        for name in wanted:
            data[name] = (
                table[name]
                .transpose("epoch", "phase")
                .drop_vars([c for c in table[name].coords if c not in ("epoch", "phase")])
            )
    return _with(data, numbers)


def _pooled_mean(part: xr.Dataset, role: str) -> float:
    """Return the mean over units and windows of one role's finite outputs."""
    mine = part[["elements_by_unit", "nonfinite_by_unit", "mean_by_unit"]].sel(role=role)
    n = mine["elements_by_unit"].values.astype(np.float64)
    n -= mine["nonfinite_by_unit"].values
    mean = mine["mean_by_unit"].values
    used = n > 0
    return float(np.average(mean[used], weights=n[used])) if used.any() else float("nan")


def _unlabelled(
    run: xr.DataTree, phases: Sequence[str], epochs: int | Iterable[int] | None, layer: str
) -> xr.Dataset:
    parts = {phase: {part.epoch: part for part in epoch_batches(run, phase)} for phase in phases}
    chosen = choose_epochs(sorted({e for held in parts.values() for e in held}), epochs)
    edges = bin_edges(run)
    at = [str(name) for name in run.dataset["layer"].values].index(layer)
    counts: dict[tuple[int, str, str], NDArray[np.uint64]] = {}
    means: dict[tuple[int, str, str], float] = {}
    found: dict[tuple[int, str], float] = {}
    for phase, held in parts.items():
        whole = as_read(run, phase).isel(layer=at)
        for epoch in chosen:
            if epoch not in held:
                continue
            part = whole.isel(batch=held[epoch].indexer)
            count = count_over(run, phase, at, {epoch: held[epoch].indexer}).values[..., 0]
            counts[epoch, phase, "all"] = count
            means[epoch, phase, "all"] = _batch_mean(part)
            found[epoch, phase] = float(len(peaks_of(count, edges))) if count.any() else 0.0
    data = peak_curves(counts, chosen, phases, ["all"], edges, means)
    return _with(data, {"peaks": found})


def _batch_mean(part: xr.Dataset) -> float:
    n = part["elements"].values.astype(np.float64)
    for odd in ("nan", "posinf", "neginf"):
        n -= part[odd].values
    used = n > 0
    mean = part["mean"].values.astype(np.float64)
    return float(np.average(mean[used], weights=n[used])) if used.any() else float("nan")


def peak_curves(
    counts: Mapping[tuple[int, str, str], NDArray[np.uint64]],
    epochs: Sequence[int],
    phases: Sequence[str],
    roles: Sequence[str],
    edges: NDArray[np.float64],
    means: Mapping[tuple[int, str, str], float] | None = None,
) -> xr.Dataset:
    """Return the curves of the counts on grids of their own, by panel, phase and role.

    Parameters
    ----------
    counts : dict of (epoch, phase, role) to ndarray, shape (n_bins,)
        Whatever numbers the panels may stand for an epoch.
    epochs, phases, roles : sequences
    edges : ndarray, shape (n_bins + 1,), activation units
    means : dict of the same keys to float, activation units

    Returns
    -------
    Dataset, dims (epoch, phase, role, cell, edge)
        density, elements, mean, value_edge and value, as `twin_peaks_data` has them.
    """
    grids = _grids(counts, edges, means or {}, epochs)
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
                    density[i, j, k] = peak_curve(count, edges, grid=grids[i], total=total).value
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
) -> NDArray[np.float64]:
    """Return the cell edges of each epoch's panel, shape (epoch, edge).

    One range for all, so that panels compare; but where one epoch's outputs
    reach several times further than most (a training that blew up), a common
    range would show nothing of the others, and each epoch has its own.
    """
    spans = {epoch: _span(counts, edges, means, [epoch]) for epoch in epochs}
    widths = [span.high - span.low for span in spans.values()]
    if widths and max(widths) <= _ONE_RANGE * float(np.median(widths)):
        spans = dict.fromkeys(epochs, _span(counts, edges, means, epochs))
    # Cells of a third of the blur show every peak there is in the curve.
    wanted = [3 * (s.high - s.low) / s.blur if s.blur > 0 else _MOST_CELLS for s in spans.values()]
    cells = int(np.clip(max(wanted, default=_FEWEST_CELLS), _FEWEST_CELLS, _MOST_CELLS))
    grids = [np.linspace(span.low, span.high, cells + 1) for span in spans.values()]
    return np.array(grids).reshape(len(epochs), cells + 1)


def _span(
    counts: Mapping[tuple[int, str, str], NDArray[np.uint64]],
    edges: NDArray[np.float64],
    means: Mapping[tuple[int, str, str], float],
    epochs: Sequence[int],
) -> _Span:
    """Return what the epochs' outputs occupy, with room for their blur."""
    lows, highs, narrowest, widest = [], [], np.inf, 0.0
    sums: dict[tuple[int, str], Any] = {}
    for (epoch, phase, _), count in counts.items():
        if epoch not in epochs or not count.any():
            continue
        sums[epoch, phase] = sums.get((epoch, phase), 0) + count
        blur = peak_curve(count, edges).bandwidth
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


def _with(data: xr.Dataset, numbers: Mapping[str, Mapping[tuple[int, str], float]]) -> xr.Dataset:
    for name, values in numbers.items():
        table = [
            [values.get((int(epoch), str(phase)), float("nan")) for phase in data["phase"].values]
            for epoch in data["epoch"].values
        ]
        data[name] = (
            ("epoch", "phase"),
            np.array(table, np.float64).reshape(data.sizes["epoch"], data.sizes["phase"]),
        )
    return data

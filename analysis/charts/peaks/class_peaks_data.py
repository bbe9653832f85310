"""What the class-peaks chart draws: YES and NO of each class or unit, in one epoch.

Curves as in the twin peaks, with the numbers of `class_report` or `twin_peaks` beside
them. Imports NumPy and xarray; draws nothing, so the chart is tested without pixels.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from actrace.analysis.charts.peaks.curves import peak_curves
from actrace.analysis.charts.peaks.separation_data import worst_classes
from actrace.analysis.charts.peaks.twin_peaks_data import choose_epochs
from actrace.analysis.classes import class_report
from actrace.analysis.select import bin_edges, window_indices
from actrace.analysis.twin_peaks import twin_peaks
from actrace.errors import ChartError
from actrace.store.schema import OUTPUT_GROUP

__all__ = ["CLASS_DIMS", "ROLE_PAIR", "class_peaks_data", "role_mean"]

CLASS_DIMS: Final = {"class": "target_class", "unit": "output_unit"}
ROLE_PAIR: Final = ("no", "yes")


def class_peaks_data(
    run: xr.DataTree,
    *,
    by: str = "class",
    phases: str | Iterable[str] | None = None,
    epoch: int | None = None,
    most: int = 24,
) -> xr.Dataset:
    """Return what the class-peaks chart draws, computed.

    Parameters
    ----------
    run : DataTree
    by : {"class", "unit"}, default "class"
        The outputs over the samples of each true class, its own unit (YES) against the
        others (NO); or those of each unit, where it is the true class and where not.
    phases : str or iterable of str, optional
        All that have targets if left out.
    epoch : int, optional
        The last that all of the phases have if left out.
    most : int, default 24
        Most panels; of more classes or units, the worst.

    Returns
    -------
    Dataset, dims (panel, phase, role, cell, edge)
        density, mean and elements (panel, phase, role), value and value_edge, as in
        `twin_peaks_data`; d_prime (panel, phase) and, by class, accuracy, lagging and
        behind_at_least. ``panel`` holds names. Attributes: by, epoch and n, how many
        classes or units there are.

    Raises
    ------
    ChartError
        Another `by`, or an epoch that the run does not have.
    PhaseNotFoundError, NotRecordedError
    """
    if by not in CLASS_DIMS:
        raise ChartError(f"by must be 'class' or 'unit', got {by!r}")
    dim = CLASS_DIMS[by]
    if by == "class":
        table = class_report(run, phases=phases)
        numbers = ["d_prime", "accuracy", "lagging", "behind_at_least"]
    else:
        table = twin_peaks(run, phases=phases, by="unit")
        numbers = ["d_prime"]
    names = [str(phase) for phase in table["phase"].values]
    windows = {phase: window_indices(run, phase, OUTPUT_GROUP) for phase in names}
    chosen = _epoch(windows, epoch)
    found = table[numbers].sel(epoch=[chosen]).compute()
    places = worst_classes(
        found.rename({dim: "target_class"}), "accuracy" if by == "class" else "d_prime", most
    )
    counts: dict[tuple[int, str, str], NDArray[np.uint64]] = {}
    means: dict[tuple[int, str, str], float] = {}
    for phase in names:
        if chosen not in windows[phase]:
            continue
        node = run.children[phase][OUTPUT_GROUP].to_dataset()
        part = node.isel({"window": windows[phase][chosen], dim: places})
        sums = part[f"count_by_{by}"].sum("window").transpose("role", dim, "bin").compute()
        for role in ROLE_PAIR:
            for panel in range(len(places)):
                counts[panel, phase, role] = sums.sel(role=role).values[panel].astype(np.uint64)
                means[panel, phase, role] = role_mean(part.isel({dim: panel}), by, role)
    edges = bin_edges(run)
    data = peak_curves(counts, range(len(places)), names, ROLE_PAIR, edges, means)
    data = data.rename(epoch="panel")
    flat = found.isel(epoch=0, drop=True).isel({dim: places}).rename({dim: "panel"})
    labels = np.array([str(name) for name in flat["panel"].values], dtype=str)
    for name in numbers:
        data[name] = (("panel", "phase"), flat[name].transpose("panel", "phase").values)
    return data.assign_coords(panel=labels).assign_attrs(
        by=by, epoch=chosen, n=table.sizes[dim], layer=str(table.attrs.get("layer", ""))
    )


def _epoch(windows: dict[str, dict[int, NDArray[np.int64]]], asked: int | None) -> int:
    known = sorted({epoch for held in windows.values() for epoch in held})
    if asked is not None:
        return choose_epochs(known, asked)[0]
    shared = [epoch for epoch in known if all(epoch in held for held in windows.values())]
    return (shared or known)[-1]


def role_mean(part: xr.Dataset, by: str, role: str) -> float:
    """Return the mean over windows of one role's finite outputs, NaN without any."""
    mine = part.sel(role=role)
    n = mine[f"elements_by_{by}"].values.astype(np.float64) - mine[f"nonfinite_by_{by}"].values
    used = n > 0
    mean = mine[f"mean_by_{by}"].values.astype(np.float64)
    return float(np.average(mean[used], weights=n[used])) if used.any() else float("nan")

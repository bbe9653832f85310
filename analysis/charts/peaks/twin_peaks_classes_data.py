"""What the twin-peaks chart by class draws: YES of each class or unit, epoch by epoch.

Curves as in the twin peaks. Imports NumPy and xarray; draws nothing, so the chart is
tested without pixels.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from actrace.analysis.charts.peaks.class_peaks_data import CLASS_DIMS, ROLE_PAIR, role_mean
from actrace.analysis.charts.peaks.curves import peak_curves
from actrace.analysis.charts.peaks.separation_data import worst_classes
from actrace.analysis.charts.peaks.twin_peaks_data import MOST_EPOCHS, choose_epochs
from actrace.analysis.select import bin_edges, window_indices
from actrace.analysis.twin_peaks import twin_peaks
from actrace.errors import ChartError
from actrace.store.schema import OUTPUT_GROUP

__all__ = ["twin_peaks_classes_data"]

#: Stands for all classes together among the places of single ones.
_ALL: Final = "all"


def twin_peaks_classes_data(
    run: xr.DataTree,
    *,
    by: str = "class",
    phases: str | Iterable[str] | None = None,
    epochs: int | Iterable[int] | None = None,
    most: int = 10,
    most_epochs: int = MOST_EPOCHS,
    shared: bool = False,
) -> xr.Dataset:
    """Return what the twin-peaks chart by class draws, computed, of one phase.

    Parameters
    ----------
    run : DataTree
    by : {"class", "unit"}, default "class"
        The outputs over the samples of each true class, its own unit (YES) against the
        others (NO); or those of each unit, where it is the true class and where not.
    phases : str or iterable of str, optional
        One phase; ``valid`` if left out, or the last that has targets.
    epochs : int or iterable of int, optional
        At most `most_epochs` evenly spaced ones if left out.
    most : int, default 10
        Most of them; of more, those whose YES and NO are least apart in the last epoch.
    most_epochs : int, default 12
    shared : bool, default False
        As for `twin_peaks_data`.

    Returns
    -------
    Dataset, dims (epoch, panel, role, cell, edge)
        density (epoch, panel, role, cell): NO and YES of a class together hold 1;
        share (epoch, panel, role): what each of them holds; others (epoch, cell): NO of
        all classes, not only of those drawn, which holds 1 by itself; mean and elements
        (epoch, panel, role); d_prime (epoch, panel); value,
        value_edge and beyond as in `twin_peaks_data`. ``panel`` holds names,
        ``place`` (panel) their places in the run. Attributes: by, phase, layer and n, how
        many there are.

    Raises
    ------
    ChartError
        Another `by`, more than one phase, or an epoch that the run does not have.
    PhaseNotFoundError, NotRecordedError
    """
    if by not in CLASS_DIMS:
        raise ChartError(f"by must be None, 'class' or 'unit', got {by!r}")
    dim = CLASS_DIMS[by]
    table = twin_peaks(run, phases=phases, by=by)
    phase = _one_phase([str(name) for name in table["phase"].values], phases)
    windows = window_indices(run, phase, OUTPUT_GROUP)
    chosen = choose_epochs(sorted(windows), epochs, most_epochs)
    found = table[["d_prime"]].sel(phase=[phase]).reindex(epoch=chosen).compute()
    places = worst_classes(found.rename({dim: "target_class"}), "d_prime", most)
    names = [str(at) for at in range(len(places))]
    counts: dict[tuple[int, str, str], NDArray[np.uint64]] = {}
    means: dict[tuple[int, str, str], float] = {}
    group = run.children[phase][OUTPUT_GROUP].to_dataset()
    for epoch in chosen:
        part = group.isel(window=windows[epoch])
        summed = part[f"count_by_{by}"].sum("window").transpose("role", dim, "bin").compute()
        for role in ROLE_PAIR:
            of_role = summed.sel(role=role).values.astype(np.uint64)
            if role == "no":
                counts[epoch, _ALL, role] = of_role.sum(axis=0)
                means[epoch, _ALL, role] = role_mean(part, by, role)
            for name, at in zip(names, places, strict=True):
                counts[epoch, name, role] = of_role[at]
                means[epoch, name, role] = role_mean(part.isel({dim: at}), by, role)
    edges = bin_edges(run)
    data = peak_curves(counts, chosen, [*names, _ALL], ROLE_PAIR, edges, means, shared=shared)
    data = data.rename(phase="panel")
    others = data["density"].sel(panel=_ALL, role="no", drop=True)
    data = data.sel(panel=names).assign(others=others)
    total = data["elements"].sum("role").astype(np.float64)
    data["share"] = data["elements"] / total.where(total > 0)
    flat = found.isel(phase=0, drop=True).isel({dim: places}).rename({dim: "panel"})
    labels = np.array([str(name) for name in flat["panel"].values], dtype=str)
    data["d_prime"] = (("epoch", "panel"), flat["d_prime"].transpose("epoch", "panel").values)
    data["place"] = ("panel", np.array(places, np.int64))
    layer = str(group.attrs.get("layer", table.attrs.get("layer", "")))
    return data.assign_coords(panel=labels).assign_attrs(
        by=by, phase=phase, n=table.sizes[dim], layer=layer
    )


def _one_phase(known: list[str], asked: str | Iterable[str] | None) -> str:
    if asked is None:
        return "valid" if "valid" in known else known[-1]
    names = [asked] if isinstance(asked, str) else list(asked)
    if len(names) != 1:
        raise ChartError(f"by class or unit a chart is of one phase, got phases={names!r}")
    return names[0]

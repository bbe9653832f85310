"""What the divergence chart draws: distances of two phases, their null band, the onset.

Joins what `divergence` and `onset` answer. Imports NumPy and xarray; draws nothing,
so the chart is tested without pixels.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
import xarray as xr

from actrace.analysis.divergence import divergence
from actrace.analysis.onset import Onset, onset
from actrace.errors import ChartError, NotRecordedError

__all__ = ["DISTANCES", "divergence_data", "error_data", "farthest", "onset_data"]

#: What may be drawn -> its name in words.
DISTANCES: Final = {
    "jensen_shannon": "Jensen-Shannon divergence",
    "wasserstein": "Wasserstein distance",
    "kolmogorov_smirnov": "Kolmogorov-Smirnov distance",
    "hellinger": "Hellinger distance",
}


def divergence_data(
    run: xr.DataTree,
    *,
    by: str = "layer",
    layers: str | Iterable[str] | None = None,
    phases: Sequence[str] = ("train", "valid"),
    distance: str = "jensen_shannon",
) -> xr.Dataset:
    """Return one distance with its null band, computed.

    Parameters
    ----------
    run : DataTree
    by : {"layer", "class"}, default "layer"
    layers : str or iterable of str, optional
    phases : two str, default ("train", "valid")
    distance : {"jensen_shannon", "wasserstein", "kolmogorov_smirnov", "hellinger"}

    Returns
    -------
    Dataset, dims (panel, role, epoch)
        distance and null; outside, where the distance lies above its band (never where
        there is none). A panel is a layer, with the one role "all", or a class, with
        the roles "yes" and "no". Epochs without both phases are left out.

    Raises
    ------
    ChartError
        Another `distance`.
    LayerNotFoundError, PhaseNotFoundError, NotRecordedError
    ValueError
        Another `by`, or not two different phases.
    """
    if distance not in DISTANCES:
        raise ChartError(
            f"distance must be one of {', '.join(map(repr, DISTANCES))}, got {distance!r}"
        )
    found = divergence(run, by=by, layers=layers, phases=phases)
    chosen = found[[distance, f"{distance}_null"]].compute()
    chosen = chosen.rename({distance: "distance", f"{distance}_null": "null"})
    if by == "class":
        chosen = chosen.rename(target_class="panel")
    else:
        chosen = chosen.rename(layer="panel").expand_dims(role=["all"])
    chosen = chosen.transpose("panel", "role", "epoch")
    chosen = chosen.dropna("epoch", how="all", subset=["distance"])
    # NaN is not above a band.
    chosen["outside"] = chosen["distance"] > chosen["null"]
    return chosen.assign_attrs(found.attrs, distance=DISTANCES[distance])


def farthest(data: xr.Dataset, most: int) -> xr.Dataset:
    """Return the panels whose distance is ever greatest, in the run's order.

    Parameters
    ----------
    data : Dataset
        From `divergence_data`.
    most : int
        Panels that are left.
    """
    if data.sizes["panel"] <= most:
        return data
    reach = data["distance"].max(["role", "epoch"]).fillna(-1.0).values
    chosen = np.sort(np.argsort(-reach, kind="stable")[:most])
    return data.isel(panel=chosen)


def onset_data(
    run: xr.DataTree, phases: Sequence[str] = ("train", "valid")
) -> tuple[Onset | None, str]:
    """Return the onset of overfitting and its sentence; None and why it cannot be told."""
    try:
        found = onset(run, phases=phases)
    except NotRecordedError as error:
        return None, f"no onset can be told: {error}"
    return found, repr(found)


def error_data(found: Onset) -> xr.Dataset | None:
    """Return what the onset was read from, None where that is a layer's distance.

    Returns
    -------
    Dataset, dims (phase, epoch)
        error (phase, epoch); ``within`` (epoch): the error of the first phase and the
        null band of the gap, up to where that of the second is no further than windows
        of the first are from each other. Units and name of the error are its attributes.
    """
    if found.witness == "layer":
        return None
    series = found.series
    within = series["error"].sel(phase=found.phases[0], drop=True) + series["gap_null"]
    table = xr.Dataset({"error": series["error"], "within": within.astype(np.float64)})
    return table.transpose("phase", "epoch")

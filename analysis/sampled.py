"""Runs of which a part was read: what their numbers are of, and how sure they are.

Imports NumPy and xarray.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import xarray as xr

from actrace.analysis import select
from actrace.analysis.reduce import described, lazy
from actrace.store.run import Run

__all__ = ["as_read", "of_those_read", "sampling_error"]

#: Elements that are read or left out together (`docs/schema-1.md`).
_BLOCK = 128
_NOT_FINITE = ("nan", "posinf", "neginf")


def as_read(run: xr.DataTree, phase: str, factor: int = 1) -> xr.Dataset:
    """Return a phase, or a level of it, whose ``elements`` its histograms hold.

    Of a run that was read whole, the phase as it is. Where the histogram alone was
    sampled, what is not finite was counted exactly, and is scaled to the part read.
    """
    if factor > 1 and isinstance(run, Run):
        data = run.at_level(phase, factor)
    else:
        data = run.children[phase].to_dataset(inherit=False)
    return of_those_read(data, run.attrs)


def of_those_read(data: xr.Dataset, attributes: Mapping[Any, Any]) -> xr.Dataset:
    """Return batches of a run with these attributes, as `as_read` does."""
    if "sampled" not in data:
        return data
    changed = {"elements": data["sampled"]}
    if (attributes.get("sample") or {}).get("mode") == "histogram":
        share = data["sampled"] / data["elements"].where(data["elements"] > 0)
        for name in (*_NOT_FINITE, "zero"):
            scaled = (data[name] * share.fillna(1.0)).round()
            changed[name] = scaled.astype(data[name].dtype)
    return data.assign(changed)


def sampling_error(
    run: xr.DataTree,
    *,
    layers: str | Iterable[str] | None = None,
    phase: str | None = None,
    confidence: float = 0.95,
) -> xr.Dataset:
    """Return how far the histograms may be from those of all elements.

    Parameters
    ----------
    run : DataTree
        As `actrace.open` returns it.
    layers : str or iterable of str, optional
        Names or patterns; all when left out.
    phase : str, optional
        By default ``train`` (the first where there is none).
    confidence : float, default 0.95
        How likely the bound holds, for one layer and batch.

    Returns
    -------
    Dataset, dims (layer, batch), lazy
        error: bound of the largest distance between the cumulative distribution of
        the elements read and that of all, 0 where all were read, NaN where there
        are none, at most 1; error_independent: the same if neighbours differed as
        much as strangers; read: the share that was.

    Raises
    ------
    LayerNotFoundError, PhaseNotFoundError
        Not in this run; the message lists what is.
    ValueError
        A confidence that is no share.

    References
    ----------
    Massart, "The tight constant in the Dvoretzky-Kiefer-Wolfowitz inequality"
    (1990): sqrt(log(2 / (1 - confidence)) / (2 n)) for n independent draws. What is
    read are blocks of 128 neighbours, which may be alike, so a block counts as one
    draw for `error`. It is far too careful where neighbours differ, as in the
    output of a linear layer: there `error_independent` is what to expect.

    Examples
    --------
    >>> float(sampling_error(run)["error"].max())
    0.0
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be a share between 0 and 1, got {confidence!r}")
    name = select.select_phases(run, phase)[0]
    data = run.children[name].to_dataset().isel(layer=select.select_layers(run, layers))
    elements = lazy(data["elements"])
    read = lazy(data["sampled"]) if "sampled" in data else elements
    bound = math.sqrt(math.log(2 / (1 - confidence)) / 2) * read.where(read > 0) ** -0.5
    some, part = elements > 0, read < elements
    careful = (bound * math.sqrt(_BLOCK)).clip(max=1.0)
    found = xr.Dataset(
        {
            "error": careful.where(part, 0.0).where(some),
            "error_independent": bound.where(part, 0.0).where(some),
            "read": (read / elements.where(some)),
        }
    )
    coords = {name: ("batch", data[name].to_numpy()) for name in ("step", "epoch")}
    distance = f"distance of the cumulative distributions, at {confidence:g} confidence"
    table = {
        "error": (distance, "1", "Massart 1990"),
        "error_independent": (f"{distance}, for independent elements", "1", "Massart 1990"),
        "read": ("share of the elements that entered the histogram", "1", ""),
    }
    return described(found.assign_coords({**coords, "phase": name}), table)

"""The answers of a run joined by epoch, for a person or a program to read."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import xarray as xr
from dask.base import compute
from numpy.typing import NDArray

from actrace.analysis import select
from actrace.analysis.divergence import divergence
from actrace.analysis.rates import rates
from actrace.analysis.twin_peaks import twin_peaks
from actrace.errors import NotRecordedError

__all__ = ["EpochRow", "epoch_table"]


@dataclass(frozen=True, slots=True)
class EpochRow:
    """What one epoch did; NaN or "" for what the run did not record.

    Attributes
    ----------
    epoch : int
    train_loss, valid_loss : float
        Mean of the batch losses, weighted by samples.
    train_accuracy, valid_accuracy : float
        Share of the epoch's samples told right, 0 to 1.
    understanding, d_prime, overlap : float
        Of `twin_peaks`, on ``valid``, or on ``train`` where there is none; the first
        in activation units.
    divergence : float
        Jensen-Shannon divergence of train and valid at the output layer, bits.
    lowest_activation_rate, highest_death_rate : float
        Over the layers and the whole training epoch, 0 to 1.
    lowest_activation_layer, highest_death_layer : str
    """

    epoch: int
    train_loss: float = math.nan
    valid_loss: float = math.nan
    train_accuracy: float = math.nan
    valid_accuracy: float = math.nan
    understanding: float = math.nan
    d_prime: float = math.nan
    overlap: float = math.nan
    divergence: float = math.nan
    lowest_activation_rate: float = math.nan
    lowest_activation_layer: str = ""
    highest_death_rate: float = math.nan
    highest_death_layer: str = ""


def epoch_table(run: xr.DataTree) -> list[EpochRow]:
    """Return a row for each epoch of ``train`` or ``valid``, in order.

    What the run did not record is left at NaN; this never raises for it. Unlike the
    other answers this one is computed at once.

    Parameters
    ----------
    run : DataTree
        As `actrace.open` returns it.

    Returns
    -------
    list of EpochRow
    """
    phases = tuple(name for name in ("train", "valid") if name in select.phase_names(run))
    rows: dict[int, dict[str, float | str]] = {
        int(epoch): {} for phase in phases for epoch in select.epochs(run, phase)
    }
    # One computation for all: each block of the store is read once.
    (answers,) = compute(_answers(run, phases))  # type: ignore[no-untyped-call]
    for name, values in answers.items():
        for epoch, value in zip(values["epoch"].values.tolist(), values.values, strict=True):
            rows.setdefault(epoch, {})[name] = value.item()
    return [EpochRow(epoch, **rows[epoch]) for epoch in sorted(rows)]  # type: ignore[arg-type]


def _answers(run: xr.DataTree, phases: tuple[str, ...]) -> dict[str, xr.DataArray]:
    """Return the columns of the table, each with dim ``epoch``, not yet computed."""
    found = {f"{phase}_loss": _losses(run, phase) for phase in phases}
    labelled = _labelled(run, phases, window="epoch")
    for phase in phases:
        if labelled is not None and phase in labelled["phase"].values:
            found[f"{phase}_accuracy"] = labelled["accuracy"].sel(phase=phase)
    apart = _labelled(run, phases[-1:], window="chart")
    if apart is not None:
        for name in ("understanding", "d_prime", "overlap"):
            found[name] = apart[name].isel(phase=0)
    output = run.attrs.get("output_layer")
    if len(phases) == 2 and output in select.layer_names(run):
        # The name is a layer's own, not a pattern.
        parted = divergence(run, layers=[str(output)], phases=phases, null=False)
        found["divergence"] = parted["jensen_shannon"].isel(layer=0)
    try:
        unit = rates(run, phases=phases[:1], by="epoch") if phases else None
    except NotRecordedError:
        unit = None
    if unit is not None:
        for name in (
            "lowest_activation_rate",
            "lowest_activation_layer",
            "highest_death_rate",
            "highest_death_layer",
        ):
            found[name] = unit[name].isel(phase=0)
    return found


def _labelled(run: xr.DataTree, phases: tuple[str, ...], window: str) -> xr.Dataset | None:
    """Return the labelled numbers of the phases that have them, None for none."""
    for some in (phases, *((name,) for name in reversed(phases))):
        try:
            return twin_peaks(run, phases=some, window=window) if some else None
        except NotRecordedError:
            continue
    return None


def _losses(run: xr.DataTree, phase: str) -> xr.DataArray:
    node = run.children[phase].dataset
    loss, samples = node["loss"].to_numpy(), node["samples"].to_numpy().astype(np.float64)
    parts = select.epoch_batches(run, phase, window="epoch")
    means = [_weighted_mean(loss[p.batches], samples[p.batches]) for p in parts]
    return xr.DataArray(means, dims="epoch", coords={"epoch": [p.epoch for p in parts]})


def _weighted_mean(values: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    known = ~np.isnan(values)
    total = weights[known].sum()
    return float(values[known] @ weights[known] / total) if total > 0 else math.nan

"""From which epoch on did a training overfit: when validation parted from training.

Stands on the recorded outputs and their targets; the recorded losses are a second
witness that is reported, never used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from actrace.analysis import select
from actrace.analysis.divergence import divergence
from actrace.analysis.kernels.onset import find_parting, first_stretch
from actrace.analysis.null_band import check_quantile
from actrace.analysis.onset_series import error_series, losses, task_of
from actrace.analysis.reduce import by_phase, described
from actrace.errors import NotRecordedError
from actrace.store.schema import OUTPUT_GROUP

__all__ = ["AGREEMENT", "Onset", "asked", "onset", "told_by_errors"]

#: Losses agree if they tell an onset too, and no more epochs away than this.
AGREEMENT: Final = 2

_WITNESS: Final = {
    "outputs": "cross-entropy of the outputs",
    "errors": "squared error of the outputs",
    "layer": "distance of the layer's activations",
}


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Onset:
    """When validation parted from training, and what says so.

    Attributes
    ----------
    epoch : int or None
        The first epoch of overfitting, None if there is none: after it validation was
        never as good again while training went on.
    confirmed : int or None
        The epoch in which patience was over, so when one could have known.
    best : int or None
        The epoch in which the error of validation was least; None of a layer.
    apart : int or None
        The first epoch from which the gap between validation and training lay above
        the null band for as long as patience asks. A gap alone is no overfitting.
    witness : {"outputs", "errors", "layer"}
        The cross-entropy that the outputs imply, the squared error of a regression, or
        the distance of one layer's activations, which is a weaker sign.
    layer : str
    phases : tuple of two str
    loss_best : int or None
        The epoch in which the recorded loss of validation was lowest, None where none
        was recorded.
    loss_onset : int or None
        The onset by the recorded losses alone.
    patience : int
    series : Dataset, dims (phase, epoch), computed
        What it was read from: error or distance, gap and null band, loss.
    target_class : str, default ""
        The class that it is about, "" for all.
    """

    epoch: int | None
    confirmed: int | None
    best: int | None
    apart: int | None
    witness: str
    layer: str
    phases: tuple[str, str]
    loss_best: int | None
    loss_onset: int | None
    patience: int
    series: xr.Dataset
    target_class: str = ""

    @property
    def agrees(self) -> bool | None:
        """Whether the recorded losses tell the same, None where there are none."""
        if self.loss_best is None:
            return None
        if self.epoch is None or self.loss_onset is None:
            return self.epoch is None and self.loss_onset is None
        return abs(self.epoch - self.loss_onset) <= AGREEMENT

    def __repr__(self) -> str:
        if self.target_class:
            return f"class {self.target_class!r}: {self._verdict()}"
        return f"{self._verdict()}; {self._second_witness()}"

    def _repr_html_(self) -> str:
        return f"<p>{escape(repr(self))}</p>"

    def _verdict(self) -> str:
        first, second = self.phases
        if self.witness == "layer":
            if self.epoch is None:
                return (
                    f"layer {self.layer!r}: {second} did not part from {first} (a weak sign: "
                    "distances without targets)"
                )
            at = self.series.sel(epoch=self.epoch)
            return (
                f"layer {self.layer!r}: {second} parted from {first} in epoch {self.epoch} "
                f"(distance {float(at['distance']):.3g}, null band "
                f"{float(at['distance_null']):.3g}; a weak sign, without targets)"
            )
        if self.epoch is None:
            apart = f", though apart from epoch {self.apart} on" if self.apart is not None else ""
            return (
                f"no onset: {second} did not get worse while {first} went on "
                f"({_WITNESS[self.witness]} least in epoch {self.best}{apart})"
            )
        at = self.series.sel(epoch=self.confirmed)
        error = at["error"]
        return (
            f"{second} parted from {first} in epoch {self.epoch} ({_WITNESS[self.witness]} in "
            f"epoch {self.confirmed}: {float(error.sel(phase=second)):.3g} against "
            f"{float(error.sel(phase=first)):.3g}, least of {second} "
            f"{float(self.series['error'].sel(phase=second, epoch=self.best)):.3g}, null band "
            f"{float(at['gap_null']):.2g})"
        )

    def _second_witness(self) -> str:
        if self.loss_best is None:
            return "no loss was recorded to compare with"
        also = "no onset" if self.loss_onset is None else f"an onset in epoch {self.loss_onset}"
        verb = "agrees" if self.agrees else "disagrees"
        return (
            f"the recorded loss {verb}: that of {self.phases[1]} was lowest in epoch "
            f"{self.loss_best}, {also}"
        )


def onset(
    run: xr.DataTree,
    *,
    layer: str | None = None,
    phases: Sequence[str] = ("train", "valid"),
    patience: int = 2,
    rise: float = 0.05,
    quantile: float = 0.95,
) -> Onset:
    """Return from which epoch on a training overfitted, if it did.

    With targets: after the epoch in which validation was best, its error must be higher
    by the share `rise`, and the gap to training have grown by more than windows of
    training differ among themselves, in `patience` epochs in a row. The onset is the
    epoch after the best. Dropout, augmentation and wrong labels widen the gap from the
    beginning and are no onset, because what counts is how it grows.

    Without targets, or for a layer that is named: the epoch from which on the
    Jensen-Shannon divergence of the two phases lies above the null band to the end,
    where it once lay within. A weaker sign: any change of the layer counts, either way,
    and a layer that works otherwise in training (dropout, BatchNorm) differs all along.

    Parameters
    ----------
    run : DataTree
        As `actrace.open` returns it.
    layer : str, optional
        Look at this layer's distances instead of the outputs and their targets.
    phases : two str, default ("train", "valid")
    patience : int, default 2
        Epochs in a row.
    rise : float, default 0.05
        Share of its least value by which the error of validation must be higher.
    quantile : float, default 0.95
        Of the null band, see `divergence`.

    Returns
    -------
    Onset
        Computed. Its repr says it in one sentence, its ``series`` holds the numbers.

    Raises
    ------
    PhaseNotFoundError, LayerNotFoundError
        Not in this run; the message lists what is.
    NotRecordedError
        Fewer epochs with both phases than patience needs, or neither targets nor a
        layer to look at, or of a layer no epoch with enough batches for a null band.
    ValueError
        Not two different phases, or another `patience`, `rise` or `quantile`.

    References
    ----------
    Prechelt (1998), Early stopping - but when?, LNCS 1524:55. The default of `rise` was
    chosen on half of the trainings of ``benchmarks/onset`` and tried on the others.

    Examples
    --------
    >>> onset(run)  # doctest: +ELLIPSIS
    no onset: valid did not get worse while train went on ...
    >>> onset(run).epoch is None
    True
    """
    pair = asked(run, phases, patience=patience, rise=rise, quantile=quantile)
    task = None if layer is not None else task_of(run, pair)
    if task is None:
        return _of_layer(run, select.select_layer(run, layer), pair, int(patience), rise, quantile)
    series = error_series(run, pair, task, quantile).compute()
    return told_by_errors(series, run, task, pair, patience=int(patience), rise=rise)


def asked(
    run: xr.DataTree, phases: Sequence[str], *, patience: int, rise: float, quantile: float
) -> tuple[str, str]:
    """Return the two phases that are asked about, all that was asked checked.

    Raises
    ------
    PhaseNotFoundError, ValueError
    """
    pair = select.select_phases(run, phases)
    if len(pair) != 2:
        raise ValueError(
            f"phases must be two different ones, as ('train', 'valid'), got {phases!r}"
        )
    if isinstance(patience, bool) or not isinstance(patience, (int, np.integer)) or patience < 1:
        raise ValueError(f"patience must be a number of epochs from 1, got {patience!r}")
    if not rise >= 0:
        raise ValueError(f"rise must be a share from 0, got {rise!r}")
    check_quantile(quantile)
    return pair[0], pair[1]


def told_by_errors(
    series: xr.Dataset,
    run: xr.DataTree,
    task: str,
    pair: tuple[str, str],
    *,
    patience: int,
    rise: float,
    target_class: str = "",
) -> Onset:
    """Return the onset that a series of errors tells.

    Parameters
    ----------
    series : Dataset, dims (phase, epoch), computed
        As `error_series` returns it; of one class alone.

    Raises
    ------
    NotRecordedError
        Fewer epochs with both phases than patience needs.
    """
    first, second = pair
    series = series.dropna("epoch", subset=["error"])
    epochs = _enough(series, pair, patience)
    train, valid = (series["error"].sel(phase=name).to_numpy() for name in pair)
    found = find_parting(train, valid, series["gap_null"].to_numpy(), patience=patience, rise=rise)
    # NaN is not above a band.
    apart = first_stretch((series["gap"] > series["gap_null"]).to_numpy(), patience)
    loss_best, loss_onset = None, None
    if "loss" in series:
        loss_best, loss_onset = _of_losses(series["loss"], pair, patience, rise)
    return Onset(
        epoch=_named(epochs, found.onset),
        confirmed=_named(epochs, found.confirmed),
        best=int(epochs[found.best]),
        apart=_named(epochs, apart),
        witness="errors" if task == "regression" else "outputs",
        layer=str(run.children[first].children[OUTPUT_GROUP].attrs.get("layer", "")),
        phases=(first, second),
        loss_best=loss_best,
        loss_onset=loss_onset,
        patience=patience,
        series=series,
        target_class=target_class,
    )


def _of_layer(
    run: xr.DataTree, layer: str, pair: tuple[str, str], patience: int, rise: float, quantile: float
) -> Onset:
    first, second = pair
    parted = divergence(run, layers=[layer], phases=pair, quantile=quantile).isel(layer=0)
    table = {
        "distance": ("Jensen-Shannon divergence of the two phases", "bit", ""),
        "distance_null": ("divergence of the first phase from itself", "bit", ""),
        "null_windows": ("stretches of the first phase behind distance_null", "1", ""),
        "loss": ("recorded loss, weighted with samples", "1", ""),
    }
    names = {"jensen_shannon": "distance", "jensen_shannon_null": "distance_null"}
    series = parted[[*names, "null_windows"]].rename(names).compute()
    series["loss"] = by_phase({name: xr.Dataset({"loss": losses(run, name)}) for name in pair}, {})[
        "loss"
    ]
    series = described(series, table, layer=layer, phases=list(pair), null_quantile=quantile)
    series = series.dropna("epoch", subset=["distance"])
    epochs = _enough(series, pair, patience)
    if not np.isfinite(series["distance_null"]).any():
        most = int(series["null_windows"].max())
        raise NotRecordedError(
            f"no epoch of phase {first!r} has batches enough for a null band: it takes 3 stretches "
            f"before the last quarter, there are at most {most}; record more batches an epoch, or "
            "record targets (criterion=loss_fn), which onset can do with alone"
        )
    outside = (series["distance"] > series["distance_null"]).to_numpy()
    inside = np.flatnonzero(~outside)
    start = int(inside[-1]) + 1 if len(inside) else 0
    parts = bool(len(inside)) and len(epochs) - start >= patience
    loss_best, loss_onset = _of_losses(series["loss"], pair, patience, rise)
    return Onset(
        epoch=int(epochs[start]) if parts else None,
        confirmed=int(epochs[start + patience - 1]) if parts else None,
        best=None,
        apart=_named(epochs, first_stretch(outside, patience)),
        witness="layer",
        layer=layer,
        phases=(first, second),
        loss_best=loss_best,
        loss_onset=loss_onset,
        patience=patience,
        series=series,
    )


def _enough(series: xr.Dataset, pair: tuple[str, ...], patience: int) -> NDArray[np.int64]:
    """Return the epochs, checked to be enough for an onset to be seen."""
    epochs: NDArray[np.int64] = series["epoch"].to_numpy()
    if len(epochs) < patience + 1:
        raise NotRecordedError(
            f"an onset with patience {patience} takes {patience + 1} epochs that have both phase "
            f"{pair[0]!r} and phase {pair[1]!r}, this run has {len(epochs)}; record more epochs, "
            "or look at divergence(run), which needs one"
        )
    return epochs


def _of_losses(
    loss: xr.DataArray, pair: tuple[str, ...], patience: int, rise: float
) -> tuple[int | None, int | None]:
    """Return where the recorded loss of the second phase is lowest, and its onset."""
    known = loss.dropna("epoch")
    epochs = known["epoch"].to_numpy()
    if not len(epochs):
        return None, None
    train, valid = (known.sel(phase=name).to_numpy() for name in pair)
    found = find_parting(train, valid, np.zeros(len(epochs)), patience=patience, rise=rise)
    return int(epochs[found.best]), _named(epochs, found.onset)


def _named(epochs: NDArray[np.int64], at: int | None) -> int | None:
    return None if at is None else int(epochs[at])

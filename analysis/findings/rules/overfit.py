"""The rule about validation that parts from training."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from actrace.analysis.findings.evidence import Evidence
from actrace.analysis.findings.registry import CALIBRATED, Missing, Sign, rule
from actrace.analysis.onset import Onset, onset
from actrace.analysis.twin_peaks import twin_peaks
from actrace.errors import NotRecordedError

_SMDEBUG = "SageMaker Debugger, Overfit, ratio_threshold"
#: d' of YES and NO on training samples from which on anything was learned of them.
_LEARNED = 0.5
_ONSET = "the default of actrace.onset, chosen on half of the trainings of benchmarks/onset"


@rule(
    "overfit",
    meaning="The network goes on to learn the training samples by heart, which helps it no more, "
    "or harms it, on samples that it has not seen.",
    remedy="Stop at the epoch named here, or take more data, augmentation, dropout, weight decay, "
    "a smaller network.",
    sources={
        "rise": _ONSET,
        "separation_ratio": CALIBRATED,
        "patience": CALIBRATED,
        "loss_gap": _SMDEBUG,
    },
)
def overfit(
    evidence: Evidence,
    *,
    rise: float = 0.05,
    separation_ratio: float = 1.25,
    patience: float = 2,
    loss_gap: float = 0.1,
) -> Iterator[Sign | Missing]:
    """Validation that gets worse while training goes on, or falls behind it for good.

    Measured is the error of ``valid`` as the recorded outputs imply it, by its least, where
    `actrace.onset` sees an onset; a network that does not tell even the training samples
    apart (d' up to 0.5) has learned nothing by heart, and is left to other rules. Where it
    sees none, d' of YES and NO on ``train`` (the last quarter of an epoch) by that on
    ``valid``; there the recorded loss of ``valid``, if there is one, must be above that of
    ``train`` too, by more than `loss_gap` of it.

    Parameters
    ----------
    rise : float, default 0.05
        Share by which the error must have risen. Source: the default of `actrace.onset`.
    separation_ratio : float, default 1.25
        Source: chosen on recorded trainings.
    patience : float, default 2
        Epochs in a row, for d' at the end, for which it must have held. Source: the same.
    loss_gap : float, default 0.1
        Source: SageMaker Debugger, rule Overfit, ratio_threshold.
    """
    valid = evidence.valid
    for phase in ("train", valid):
        evidence.targets(phase)
    epochs = evidence.columns(valid).by_epoch()
    seen = _onset(evidence, valid, int(patience), rise)
    if isinstance(seen, Onset) and seen.epoch is not None:
        if seen.witness == "outputs" and not _learned(evidence, seen.confirmed):
            return
        error = seen.series["error"].sel(phase=valid)
        since = int(np.flatnonzero(epochs.epoch == seen.epoch)[0])
        yield Sign(
            "warning",
            f"validation was best in epoch {seen.best}, and got worse from epoch {seen.epoch} on "
            "while training did not",
            "error of valid by its least",
            float(error.sel(epoch=seen.confirmed) / error.sel(epoch=seen.best)),
            "rise",
            layer=evidence.output,
            phase=valid,
            steps=epochs.steps(since),
            epochs=epochs.span(since),
        )
        return
    if isinstance(seen, Missing):
        yield seen
    if isinstance(seen, Onset) and seen.witness != "outputs":
        return  # a regression, or outputs without targets, has no YES and NO
    ratio, over = _separated(evidence, valid, separation_ratio, loss_gap)
    if len(over) < patience or not over[-int(patience) :].all():
        return
    broken = np.flatnonzero(~over)
    since = int(broken[-1]) + 1 if len(broken) else 0
    yield Sign(
        "warning",
        f"from epoch {epochs.epoch[since]} on training is told apart better than validation",
        "d' of train by d' of valid",
        float(ratio[-1]),
        "separation_ratio",
        layer=evidence.output,
        phase=valid,
        steps=epochs.steps(since),
        epochs=epochs.span(since),
    )


def _learned(evidence: Evidence, epoch: int | None) -> bool:
    """Return whether the network told the training samples apart in an epoch."""
    found = twin_peaks(evidence.run, phases="train")["d_prime"].isel(phase=0)
    return not float(found.sel(epoch=epoch)) <= _LEARNED


def _onset(evidence: Evidence, valid: str, patience: int, rise: float) -> Onset | Missing | None:
    """Return the onset of overfitting, or why it cannot be told."""
    try:
        return onset(evidence.run, phases=("train", valid), patience=patience, rise=rise)
    except NotRecordedError as why:
        return Missing(str(why), "onset")


def _separated(
    evidence: Evidence, valid: str, most: float, loss_gap: float
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return d' of train by d' of valid, and where training is told apart too well, by epoch."""
    found = twin_peaks(evidence.run, phases=("train", valid))["d_prime"]
    epochs = [evidence.columns(name).by_epoch() for name in ("train", valid)]
    both = np.intersect1d(epochs[0].epoch, epochs[1].epoch)
    here = found.sel(epoch=epochs[1].epoch).to_numpy()
    apart = here[1] > 0.05
    ratio = np.divide(here[0], here[1], out=np.full(len(here[0]), np.inf), where=apart)
    over = (here[0] > _LEARNED) & (ratio > most)
    for at in np.flatnonzero(np.isin(epochs[1].epoch, both)):
        before = epochs[0].loss[np.flatnonzero(epochs[0].epoch == epochs[1].epoch[at])[-1]]
        gap = (epochs[1].loss[at] - before) / abs(before) if before else np.nan
        over[at] &= not gap <= loss_gap
    return ratio, over

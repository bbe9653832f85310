"""The rule about validation that parts from training."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from actrace.analysis.findings.evidence import Evidence
from actrace.analysis.findings.registry import CALIBRATED, Sign, rule
from actrace.analysis.twin_peaks import twin_peaks
from actrace.errors import NotRecordedError

_SMDEBUG = "SageMaker Debugger, Overfit, ratio_threshold"


@rule(
    "overfit",
    meaning="The network goes on to learn the training samples by heart, which helps it no more, "
    "or harms it, on samples that it has not seen.",
    remedy="Stop at the epoch named here, or take more data, augmentation, dropout, weight "
    "decay, a smaller network.",
    sources={"separation_ratio": CALIBRATED, "patience": CALIBRATED, "loss_gap": _SMDEBUG},
)
def overfit(
    evidence: Evidence,
    *,
    separation_ratio: float = 1.25,
    patience: float = 2,
    loss_gap: float = 0.1,
) -> Iterator[Sign]:
    """Training that is told apart better than validation, for good.

    Measured is d' of YES and NO on ``train`` (the last quarter of an epoch) by that on
    ``valid``; where losses were recorded, the loss of ``valid`` must be above that of
    ``train`` too, by more than `loss_gap` of it.

    Parameters
    ----------
    separation_ratio : float, default 1.25
        Source: chosen on recorded trainings.
    patience : float, default 2
        Epochs at the end for which it must have held. Source: the same.
    loss_gap : float, default 0.1
        Source: SageMaker Debugger, rule Overfit, ratio_threshold.
    """
    valid = evidence.valid
    evidence.output_group("train")
    evidence.output_group(valid)
    found = twin_peaks(evidence.run, phases=("train", valid))["d_prime"].to_numpy()
    ratio = np.divide(found[0], found[1], out=np.full(len(found[0]), np.inf), where=found[1] > 0.05)
    ratio[~(found[0] > 0.5)] = np.nan
    if len(ratio) < patience:
        raise NotRecordedError(f"fewer than {patience:g} epochs, so nothing can have held for them")
    over = ratio > separation_ratio
    train, seen = (evidence.columns(name).by_epoch() for name in ("train", valid))
    if len(train) == len(seen) == len(ratio):
        gap = (seen.loss - train.loss) / np.abs(train.loss)
        over &= ~(gap <= loss_gap)
    if not over[-int(patience) :].all():
        return
    broken = np.flatnonzero(~over)
    since = int(broken[-1]) + 1 if len(broken) else 0
    since = min(since, len(train) - 1)
    yield Sign(
        "warning",
        f"from epoch {train.epoch[since]} on training is told apart better than validation",
        "d' of train by d' of valid",
        float(ratio[-1]),
        "separation_ratio",
        layer=evidence.output,
        phase=valid,
        steps=train.steps(since),
        epochs=train.span(since),
    )

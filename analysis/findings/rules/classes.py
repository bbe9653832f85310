"""Rules about the classes: how many samples each has, and whether they are told apart."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from actrace.analysis import select
from actrace.analysis.findings.evidence import Evidence
from actrace.analysis.findings.registry import CALIBRATED, Missing, Sign, rule
from actrace.errors import NotRecordedError
from actrace.store.schema import OUTPUT_GROUP

_SMDEBUG = "SageMaker Debugger, ClassImbalance"

#: Odds of a mistake that are taken where the median class has none.
_RARE = 0.01


@rule(
    "class-imbalance",
    meaning="The network sees some classes far more often than others, and is right often enough "
    "by saying the frequent ones.",
    remedy="Weight the loss by class, draw the samples evenly, or gather more of the rare class; "
    "judge by the accuracy of each class.",
    sources={
        "imbalance": f"{_SMDEBUG}, threshold_imbalance",
        "samples": f"{_SMDEBUG}, samples",
    },
)
def class_imbalance(
    evidence: Evidence, *, imbalance: float = 10.0, samples: float = 500
) -> Iterator[Sign]:
    """Classes of which the training sees far more samples than of others.

    Measured is the number of samples of the most frequent class by that of the rarest
    one that has any, over the whole training.

    Parameters
    ----------
    imbalance : float, default 10
        Source: SageMaker Debugger, rule ClassImbalance, threshold_imbalance.
    samples : float, default 500
        Samples that must have been seen. Source: the same, samples.
    """
    phase = evidence.train
    group = evidence.output_group(phase)
    counts = group["samples"].to_numpy().sum(axis=-1).astype(np.int64)
    seen = np.flatnonzero(counts > 0)
    if counts.sum() < samples or len(seen) < 2:
        return
    rarest, most = seen[counts[seen].argmin()], int(counts.argmax())
    ratio = counts[most] / counts[rarest]
    if ratio > imbalance:
        names = [str(name) for name in group["target_class"].to_numpy()]
        columns = evidence.columns(phase)
        yield Sign(
            "warning",
            f"class {names[most]!r} was seen {counts[most]:,} times, this one {counts[rarest]:,}",
            "samples of the most frequent by the rarest class",
            float(ratio),
            "imbalance",
            layer=evidence.output,
            target_class=names[int(rarest)],
            phase=phase,
            steps=columns.steps(),
            epochs=columns.span(),
        )


@rule(
    "lagging-class",
    meaning="The network has learned the other classes and not this one.",
    remedy="Look at this class's samples and labels; is it rare, mislabelled, or much like another "
    "(see the confusion matrix)? Weight it, gather more of it, or augment it.",
    sources={"odds": CALIBRATED, "sureness": CALIBRATED, "learned": CALIBRATED},
)
def lagging_class(
    evidence: Evidence, *, odds: float = 2.5, sureness: float = 2.6, learned: float = 0.7
) -> Iterator[Sign | Missing]:
    """A class that is told right far less often than the others.

    Measured are the odds of a mistake in a sample of the class, in the last epoch of
    ``valid`` (``train`` where there is none), by those in a sample of the median class. So that
    chance with few samples is no finding, the class's share is taken at its upper bound by
    Wilson (1927), Journal of the American Statistical Association 22:209; and it must be
    below the median by a tenth.

    Parameters
    ----------
    odds : float, default 2.5
        Source: chosen on recorded trainings.
    sureness : float, default 2.6
        Standard errors of the bound. Source: the same.
    learned : float, default 0.7
        Share of the median class that must be told right: while little is learned some
        classes always come first. Source: the same.
    """
    phase = evidence.steady
    group = evidence.output_group(phase)
    windows = select.window_indices(evidence.run, phase, OUTPUT_GROUP, window="epoch")
    epoch, at = list(windows.items())[-1]
    n = group["samples"].isel(window=at).to_numpy().sum(axis=-1).astype(np.float64)
    right = group["correct"].isel(window=at).to_numpy().sum(axis=-1).astype(np.float64)
    seen = np.flatnonzero(n > 0)
    if len(seen) < 2:
        raise NotRecordedError("there are not two classes with samples in the last epoch")
    share = np.divide(right, n, out=np.zeros(len(n)), where=n > 0)
    median = float(np.median(share[seen]))
    if median < learned:
        yield Missing(
            f"the median class is told right in {median:.0%}, too little to say that one lags "
            f"(learned: {learned:.0%})"
        )
        return
    names = [str(name) for name in group["target_class"].to_numpy()]
    columns = evidence.columns(phase).by_epoch()
    column = int(np.flatnonzero(columns.epoch == epoch)[-1])
    usual = (1 - median) / median
    for c in seen:
        bound = _upper_bound(share[c], n[c], sureness)
        ratio = (1 - bound) / bound / max(usual, _RARE)
        if ratio > odds and bound < 0.9 * median:
            yield Sign(
                "warning",
                f"of this class {share[c]:.0%} of {int(n[c]):,} samples are told right, of the "
                f"median class {median:.0%}",
                "odds of a mistake by those of the median class, at least",
                ratio,
                "odds",
                layer=evidence.output,
                target_class=names[int(c)],
                phase=phase,
                steps=columns.steps(column, column),
                epochs=columns.span(column, column),
            )


def _upper_bound(share: float, n: float, z: float) -> float:
    """Return the upper end of Wilson's interval of a share."""
    centre = share + z * z / (2 * n)
    reach = z * np.sqrt(share * (1 - share) / n + (z / (2 * n)) ** 2)
    return float((centre + reach) / (1 + z * z / n))


@rule(
    "no-peaks",
    meaning="The outputs for the right class lie where those for the others lie: the network does "
    "not tell the classes apart, at least not on data that it has not seen.",
    remedy="Check that inputs and labels belong together, first on a handful of samples that the "
    "network must be able to learn by heart; then the loss, the learning rate and the layers.",
    sources={"separation": CALIBRATED},
)
def no_peaks(evidence: Evidence, *, separation: float = 0.5) -> Iterator[Sign]:
    """A classifier whose YES and NO never part.

    Measured is d' of YES and NO of the same output unit, as a mean over the units, in the
    best epoch of ``valid`` (``train`` where there is none). Within a unit, so that a
    frequent class, whose output is large for everybody, is not taken for knowledge.

    Parameters
    ----------
    separation : float, default 0.5
        In common standard deviations. Source: chosen on recorded trainings.
    """
    phase = evidence.steady
    by_epoch = unit_separation(evidence, phase)
    if not len(by_epoch) or np.isnan(by_epoch).all():
        raise NotRecordedError("no epoch holds samples both of a class and of others")
    best = float(np.nanmax(by_epoch))
    if best < separation:
        columns = evidence.columns(phase)
        yield Sign(
            "error",
            f"over {len(by_epoch)} epoch{'s' * (len(by_epoch) > 1)} the peaks of YES and NO never "
            f"were further apart than {best:.2g} of their spread",
            "d' of YES and NO by unit",
            best,
            "separation",
            layer=evidence.output,
            phase=phase,
            steps=columns.steps(),
            epochs=columns.span(),
        )


def unit_separation(evidence: Evidence, phase: str) -> NDArray[np.float64]:
    """Return d' of YES and NO within an output unit, mean over units, by epoch.

    Raises
    ------
    NotRecordedError
        No targets.
    """
    evidence.output_group(phase)

    def make() -> NDArray[np.float64]:
        from actrace.analysis.twin_peaks import twin_peaks

        found: xr.DataArray = twin_peaks(evidence.run, phases=phase, by="unit", window="epoch")[
            "d_prime"
        ]
        values = found.isel(phase=0).transpose("epoch", ...).to_numpy()
        known = ~np.isnan(values)
        total = np.where(known, values, 0.0).sum(axis=1)
        none = np.full(len(total), np.nan)
        np.divide(total, known.sum(axis=1), out=none, where=known.any(axis=1))
        return none

    return evidence.once(("separation", phase), make)

"""Rules about units without activity."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from actrace.analysis.findings.evidence import Activity, Evidence
from actrace.analysis.findings.registry import CALIBRATED, Sign, rule

_SMDEBUG = "SageMaker Debugger, DeadRelu"
_REMEDY = (
    "Lower the learning rate or warm it up, initialise for the activation function (He for ReLU), "
    "normalise the inputs, or use a function that is never flat (LeakyReLU, GELU)."
)


@rule(
    "dead-layer",
    meaning="Most of the layer hands on nothing, and where a ReLU hands on nothing no gradient "
    "comes back: what is dead stays dead, and the layers before it learn little or nothing.",
    remedy=_REMEDY,
    sources={
        "inactive_units": f"{_SMDEBUG}, threshold_layer",
        "activity": f"{_SMDEBUG}, threshold_inactivity",
    },
)
def dead_layer(
    evidence: Evidence, *, inactive_units: float = 0.5, activity: float = 0.01
) -> Iterator[Sign]:
    """A layer most of whose units are as good as never active.

    Measured is the share of the layer's units that are active in less than `activity` of
    their elements, over the last epoch of training. Layers that are silent by design and
    layers that hand on what they are given are left out.

    Parameters
    ----------
    inactive_units : float, default 0.5
        Share of the units, 0 to 1. Source: SageMaker Debugger, rule DeadRelu,
        threshold_layer, 50 %.
    activity : float, default 0.01
        Share of the elements, 0 to 1. Source: the same, threshold_inactivity, 1 %.
    """
    found = evidence.activity(evidence.train)
    for layer in evidence.in_order(_judged(evidence, found)):
        mine = found.layer == layer
        share = _share(found, mine, activity)
        if not share[-1] > inactive_units:
            continue
        whole = share[-1] == 1
        since = _since(share > inactive_units)
        yield Sign(
            "error" if whole else "warning",
            f"{share[-1]:.0%} of the units are active in less than {activity:.0%} of their "
            "elements",
            "share of inactive units",
            share[-1],
            "inactive_units",
            layer=layer,
            phase=evidence.train,
            steps=_steps(found, since),
            epochs=_epochs(found, since),
        )


@rule(
    "dead-units",
    meaning="These units were not active once in an epoch: they take part in nothing and, behind a "
    "ReLU, get no gradient that could bring them back. The layer is narrower than it looks.",
    remedy=_REMEDY + " A few are harmless.",
    sources={"dead_units": CALIBRATED, "fewest": CALIBRATED},
)
def dead_units(evidence: Evidence, *, dead_units: float = 0.1, fewest: float = 2) -> Iterator[Sign]:
    """Units of a layer without one active element in an epoch.

    Measured is the share of the layer's units that are dead in the last epoch of training.
    Fewer than `dead_units` of them are a remark.

    Parameters
    ----------
    dead_units : float, default 0.1
        Share of the units, 0 to 1. Source: chosen on recorded good and bad trainings.
    fewest : float, default 2
        Dead units that a warning needs. Source: as above.
    """
    found = evidence.activity(evidence.train)
    for layer in evidence.in_order(_judged(evidence, found)):
        mine = found.layer == layer
        share = _share(found, mine, 0.0)
        if not share[-1] > 0:
            continue
        dead = np.flatnonzero(mine & (found.total[:, -1] > 0) & (found.active[:, -1] == 0))
        channels = [str(channel) for channel in found.channel[dead][:8]]
        since = _since(share > 0)
        many = share[-1] > dead_units and len(dead) >= fewest
        yield Sign(
            "warning" if many else "info",
            f"{len(dead)} of {int(mine.sum())} units were not active once in the last epoch",
            "share of dead units",
            share[-1],
            "dead_units",
            layer=layer,
            unit=", ".join(channels) + (", ..." if len(dead) > len(channels) else ""),
            phase=evidence.train,
            steps=_steps(found, since),
            epochs=_epochs(found, since),
        )


def _judged(evidence: Evidence, found: Activity) -> list[int]:
    return [
        int(layer)
        for layer in np.unique(found.layer)
        if not evidence.silent[layer] and not evidence.hands_on(int(layer))
    ]


def _share(found: Activity, mine: NDArray[np.bool_], activity: float) -> NDArray[np.float64]:
    """Return the share of a layer's units that are inactive, by epoch, NaN without any."""
    active, total = found.active[mine], found.total[mine]
    called = total > 0
    idle = called & (active <= activity * total if activity == 0 else active < activity * total)
    units = called.sum(axis=0)
    none = np.full(len(units), np.nan)
    share: NDArray[np.float64] = np.divide(idle.sum(axis=0), units, out=none, where=units > 0)
    return share


def _since(held: NDArray[np.bool_]) -> int:
    """Return the epoch from which on it held to the end."""
    broken = np.flatnonzero(~held)
    return int(broken[-1]) + 1 if len(broken) else 0


def _steps(found: Activity, since: int) -> tuple[int, int]:
    return int(found.steps[since]), int(found.last_steps[-1])


def _epochs(found: Activity, since: int) -> tuple[int, int]:
    return int(found.epochs[since]), int(found.epochs[-1])

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
    meaning="The layer hands on nothing, and where a ReLU hands on nothing no gradient comes back: "
    "what is dead stays dead, and neither it nor the layers before it learn.",
    remedy=_REMEDY,
    sources={"inactive_units": CALIBRATED, "activity": f"{_SMDEBUG}, threshold_inactivity"},
)
def dead_layer(
    evidence: Evidence, *, inactive_units: float = 0.95, activity: float = 0.01
) -> Iterator[Sign]:
    """A layer whose units are as good as never active.

    Measured is the share of the layer's units that are active in less than `activity` of
    their elements, over the last epoch of training. Layers that are silent by design and
    layers that hand on what they are given are left out.

    Parameters
    ----------
    inactive_units : float, default 0.95
        Share of the units, 0 to 1. Source: chosen on recorded good and bad trainings.
    activity : float, default 0.01
        Share of the elements, 0 to 1. Source: SageMaker Debugger, rule DeadRelu,
        threshold_inactivity, 1 %.
    """
    for layer, found, share in _shares(evidence, activity):
        if not share[-1] > inactive_units:
            continue
        since = _since(share > inactive_units)
        yield Sign(
            "error",
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
    meaning="These units are as good as never active: they take part in nothing and, behind a "
    "ReLU, get no gradient that could bring them back. The layer is narrower than it looks.",
    remedy=_REMEDY + " A few are harmless.",
    sources={
        "inactive_units": f"{_SMDEBUG}, threshold_layer",
        "activity": f"{_SMDEBUG}, threshold_inactivity",
    },
)
def dead_units(
    evidence: Evidence, *, inactive_units: float = 0.5, activity: float = 0.01
) -> Iterator[Sign]:
    """A layer of which many units are as good as never active.

    Measured is the share of the layer's units that are active in less than `activity` of
    their elements, over the last epoch of training. Units that were not active once are
    named as a remark where they are fewer than `inactive_units`; good trainings were
    recorded of which a narrow layer had nearly half.

    Parameters
    ----------
    inactive_units : float, default 0.5
        Share of the units, 0 to 1. Source: SageMaker Debugger, rule DeadRelu,
        threshold_layer, 50 %.
    activity : float, default 0.01
        Share of the elements, 0 to 1. Source: the same, threshold_inactivity, 1 %.
    """
    for layer, found, share in _shares(evidence, activity):
        many = share[-1] > inactive_units
        mine = found.layer == layer
        limit = activity if many else 0.0
        idle = _idle(found.active[:, -1], found.total[:, -1], limit) & mine
        if not idle.any():
            continue
        held = share if many else _share(found, mine, 0.0)
        since = _since(held > (inactive_units if many else 0))
        channels = [str(channel) for channel in found.channel[idle][:8]]
        yield Sign(
            "warning" if many else "info",
            f"{int(idle.sum())} of {int(mine.sum())} units "
            + (
                f"are active in less than {activity:.0%} of their elements"
                if many
                else "were not active once in the last epoch"
            ),
            "share of inactive units" if many else "share of dead units",
            held[-1],
            "inactive_units",
            layer=layer,
            unit=", ".join(channels) + (", ..." if idle.sum() > len(channels) else ""),
            phase=evidence.train,
            steps=_steps(found, since),
            epochs=_epochs(found, since),
        )


def _shares(
    evidence: Evidence, activity: float
) -> Iterator[tuple[int, Activity, NDArray[np.float64]]]:
    """Yield each layer that is judged, with its share of inactive units by epoch."""
    found = evidence.activity(evidence.train)
    judged = [
        int(layer)
        for layer in np.unique(found.layer)
        if not evidence.silent[layer] and not evidence.hands_on(int(layer))
    ]
    for layer in evidence.in_order(judged):
        yield layer, found, _share(found, found.layer == layer, activity)


def _share(found: Activity, mine: NDArray[np.bool_], activity: float) -> NDArray[np.float64]:
    """Return the share of a layer's units that are inactive, by epoch, NaN without any."""
    idle = _idle(found.active[mine], found.total[mine], activity)
    units = (found.total[mine] > 0).sum(axis=0)
    none = np.full(len(units), np.nan)
    share: NDArray[np.float64] = np.divide(idle.sum(axis=0), units, out=none, where=units > 0)
    return share


def _idle(
    active: NDArray[np.float64], total: NDArray[np.float64], activity: float
) -> NDArray[np.bool_]:
    """Return which units were called and less active than that, 0 for not at all."""
    few = active < activity * total if activity else active == 0
    return np.asarray((total > 0) & few)


def _since(held: NDArray[np.bool_]) -> int:
    """Return the epoch from which on it held to the end."""
    broken = np.flatnonzero(~held)
    return int(broken[-1]) + 1 if len(broken) else 0


def _steps(found: Activity, since: int) -> tuple[int, int]:
    return int(found.steps[since]), int(found.last_steps[-1])


def _epochs(found: Activity, since: int) -> tuple[int, int]:
    return int(found.epochs[since]), int(found.epochs[-1])

"""The rule about activation functions at their ends."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from actrace.analysis import select
from actrace.analysis.findings.evidence import Evidence, is_kind
from actrace.analysis.findings.registry import CALIBRATED, Missing, Sign, rule

_SMDEBUG = "SageMaker Debugger, SaturatedActivation, threshold_layer"

#: Function -> its lowest and highest value.
_ENDS: Final = {"tanh": (-1.0, 1.0), "sigmoid": (0.0, 1.0), "softmax": (0.0, 1.0)}


@rule(
    "saturation",
    meaning="Where an activation function is flat its gradient is next to nothing, so what lies "
    "before the layer learns little.",
    remedy="Initialise with smaller weights (Xavier for tanh and sigmoid), lower the learning "
    "rate, normalise what comes in, or scale it down (attention scores by the root of their "
    "width).",
    sources={"saturated": _SMDEBUG, "near": CALIBRATED, "softmax_saturated": CALIBRATED},
)
def saturation(
    evidence: Evidence,
    *,
    saturated: float = 0.5,
    near: float = 0.03,
    softmax_saturated: float = 0.95,
) -> Iterator[Sign | Missing]:
    """A tanh, sigmoid or softmax most of whose outputs lie at the ends of its range.

    Measured is the share of a layer's outputs, over the last epoch of training, that are
    less than `near` of the range away from an end; of a softmax that of the first epoch,
    for one that has learned may well be sure. The output layer is left out but for a
    softmax. Bins that reach over the border count as far as they lie beyond it.

    Parameters
    ----------
    saturated : float, default 0.5
        Share of the outputs, 0 to 1. Source: SageMaker Debugger, rule SaturatedActivation,
        threshold_layer, 50 %. (Its own borders, inputs of 9.5 for a tanh, are beyond what
        32-bit outputs tell from 1.)
    near : float, default 0.03
        Share of the range. Source: chosen on recorded good and bad trainings; a tanh's
        slope is 0.12 there, a sigmoid's 0.03.
    softmax_saturated : float, default 0.95
        Share of a softmax's outputs, 0 to 1. Source: chosen on recorded trainings.
    """
    layers = {
        at: function
        for at, kind in enumerate(evidence.kinds)
        for function in _ENDS
        if is_kind(kind, (function,)) and not is_kind(kind, ("log", "shrink"))
    }
    kept = [
        at
        for at in evidence.in_order(list(layers))
        if at != evidence.output or layers[at] == "softmax"
    ]
    if not kept:
        return
    phase = evidence.train
    epochs = evidence.columns(phase).by_epoch()
    edges = select.bin_edges(evidence.run)
    for late in (True, False):
        some = [at for at in kept if (layers[at] != "softmax") == late]
        if not some:
            continue
        part = len(epochs) - 1 if late else 0
        start = int(epochs.first_batch[part])
        counts = evidence.histogram(phase, some, start, start + int(epochs.batches[part]))
        for layer, cells in zip(some, counts, strict=True):
            low, high = _ENDS[layers[layer]]
            margin = near * (high - low)
            share = 1 - _share_between(cells, edges, low + margin, high - margin)
            limit = saturated if late else softmax_saturated
            if share > limit:
                yield Sign(
                    "warning",
                    f"{share:.0%} of the outputs of this {layers[layer]} lie at its ends",
                    "share of saturated outputs",
                    share,
                    "saturated" if late else "softmax_saturated",
                    layer=layer,
                    phase=phase,
                    steps=epochs.steps(part, part),
                    epochs=epochs.span(part, part),
                )


def _share_between(
    cells: NDArray[np.uint64], edges: NDArray[np.float64], low: float, high: float
) -> float:
    """Return the share of elements in [low, high], bins cut in proportion; NaN for none."""
    total = float(cells.sum())
    if not total:
        return float("nan")
    inside = np.clip(np.minimum(edges[1:], high) - np.maximum(edges[:-1], low), 0.0, None)
    return float((cells[1:-1] * (inside / np.diff(edges))).sum()) / total

"""Rules about elements that are no finite numbers."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from actrace.analysis.findings.evidence import Evidence
from actrace.analysis.findings.registry import Sign, rule
from actrace.errors import NotRecordedError

_SMDEBUG = "SageMaker Debugger, ExplodingTensor: any NaN or infinity"
_ODD = ("nan", "posinf", "neginf")


@rule(
    "not-finite",
    meaning="Numbers that are NaN or infinite spread to everything computed from them; once they "
    "reach the weights the training is lost.",
    remedy="Look at the first layer and batch named here: a logarithm or division of zero, an "
    "overflow of 16-bit numbers, a NaN in the data. Lower the learning rate, clip gradients, use a "
    "loss scale.",
    sources={"elements": _SMDEBUG},
)
def not_finite(evidence: Evidence, *, elements: float = 0) -> Iterator[Sign]:
    """NaN or infinity in a layer's output, or in a gradient.

    Measured is the number of such elements in the first batch that has any, in the first
    layer of the forward that has them. Gradients under a loss scale overflow by design,
    and their step is left out; they are a remark.

    Parameters
    ----------
    elements : float, default 0
        Elements that are let pass. Source: SageMaker Debugger, rule ExplodingTensor.
    """
    for phase in evidence.judged():
        columns = evidence.columns(phase)
        odd = columns["nonfinite"] > elements
        if not odd.any():
            continue
        at = int(np.flatnonzero(odd.any(axis=0))[0])
        batch, counts = _first_batch(evidence, phase, at, elements)
        layer = evidence.in_order(np.flatnonzero(counts > elements))[0]
        later = int(odd[:, at:].any(axis=1).sum()) - 1
        also = f", and in {later} more layer{'s' * (later > 1)} then or later" if later else ""
        data = evidence.run.children[phase].dataset
        step, epoch = (int(data[name][batch]) for name in ("step", "epoch"))
        yield Sign(
            "error",
            f"NaN or infinity appears first in this layer, in batch {batch} of phase {phase}{also}",
            "elements not finite",
            float(counts[layer]),
            "elements",
            layer=layer,
            phase=phase,
            steps=(step, columns.steps()[1] if odd[:, -1].any() else step),
            epochs=(epoch, columns.span()[1] if odd[:, -1].any() else epoch),
        )
    yield from _gradients(evidence, elements)


def _first_batch(
    evidence: Evidence, phase: str, column: int, elements: float
) -> tuple[int, NDArray[np.int64]]:
    """Return the first batch of a column with such elements, and their number by layer."""
    columns = evidence.columns(phase)
    start = int(columns.first_batch[column])
    node = evidence.run.children[phase].to_dataset()
    some = node.isel(batch=slice(start, start + int(columns.batches[column])))
    kinds = [some[name].transpose("layer", "batch").to_numpy().astype(np.int64) for name in _ODD]
    counts = np.sum(kinds, axis=0)
    at = int((counts > elements).any(axis=0).argmax())
    return start + at, counts[:, at]


def _gradients(evidence: Evidence, elements: float) -> Iterator[Sign]:
    for phase in evidence.phases:
        try:
            columns, names = evidence.gradients(phase)
        except NotRecordedError:
            continue
        odd = columns["nonfinite"] > elements
        if not odd.any():
            continue
        at = int(np.flatnonzero(odd.any(axis=0))[0])
        rows = np.flatnonzero(odd[:, at])
        node = evidence.run.children[phase].children["gradient"].dataset
        scale = node["gradient_scale"].to_numpy()
        scaled = bool((scale[~np.isnan(scale)] != 1).any())
        yield Sign(
            "info" if scaled else "error",
            f"the gradient of this parameter, and of {len(rows) - 1} more, is not finite"
            + ("; under a loss scale such steps are left out" if scaled else ""),
            "elements not finite",
            float(columns["nonfinite"][rows[0], at]),
            "elements",
            name=names[int(rows[0])],
            phase=phase,
            steps=columns.steps(at, at),
            epochs=columns.span(at, at),
        )

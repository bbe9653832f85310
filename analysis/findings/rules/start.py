"""Rules about how a training begins."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from actrace.analysis.findings.columns import Columns
from actrace.analysis.findings.evidence import Evidence, is_kind
from actrace.analysis.findings.registry import CALIBRATED, Missing, Sign, rule
from actrace.errors import NotRecordedError

_KARPATHY = (
    "the check is Karpathy's (2019), A Recipe for Training Neural Networks, 'verify loss @ init'; "
    "the value was chosen on recorded trainings"
)
_SMDEBUG = "SageMaker Debugger, PoorWeightInitialization"


@rule(
    "poor-initialisation",
    meaning="The network does not begin as it should: outputs that are sure at random have to be "
    "unlearned first, and a layer of zeros has no gradient to leave them by.",
    remedy="Use the initialisation that belongs to the activation function (He for ReLU, Xavier "
    "for tanh), scale the last layer down, and never set hidden weights to a constant.",
    sources={
        "output_spread": _KARPATHY,
        "variance_ratio": CALIBRATED,
        "steps": f"{_SMDEBUG}, steps",
    },
)
def poor_initialisation(
    evidence: Evidence,
    *,
    output_spread: float = 4.0,
    variance_ratio: float = 1e4,
    steps: float = 10,
) -> Iterator[Sign | Missing]:
    """Outputs that are sure at random, layers that begin as zeros, variances far apart.

    Measured are the spread of a classifier's outputs in the first batch; whether a hidden
    layer with weights has no spread at all in the first steps; and the largest variance of
    such layers by the smallest, in the first batch.

    Parameters
    ----------
    output_spread : float, default 4
        Standard deviation of the outputs, activation units; of logits with a spread s the
        cross-entropy is about s^2 / 2 above that of a guess. Source: the check is
        Karpathy's, A Recipe for Training Neural Networks (2019); the value was chosen on
        recorded trainings.
    variance_ratio : float, default 1e4
        Source: chosen on recorded trainings. (SageMaker Debugger, rule
        PoorWeightInitialization, has 10, which trainings with PyTorch's own defaults pass.)
    steps : float, default 10
        First batches in which a layer of zeros must stay one. Source: SageMaker Debugger,
        the same rule, steps.
    """
    phase = evidence.train
    columns = evidence.columns(phase)
    std = columns["std"]
    weighted = evidence.weighted()
    hidden = [at for at in weighted if at != evidence.output]
    early = max(int(np.searchsorted(columns.first_batch, steps)), 1)
    for layer in hidden:
        if (std[layer, :early] == 0).all():
            yield Sign(
                "error",
                f"all outputs of this layer are the same, {columns['mean'][layer, 0]:.3g}, in the "
                f"first {min(int(steps), int(columns.batches.sum()))} steps",
                "spread of the outputs",
                0.0,
                "steps",
                "activation units",
                layer=layer,
                phase=phase,
                steps=columns.steps(0, early - 1),
                epochs=columns.span(0, early - 1),
            )
    alive = [at for at in hidden if std[at, 0] > 0]
    if len(alive) > 1:
        variance = std[alive, 0] ** 2
        ratio = float(variance.max() / variance.min())
        if ratio > variance_ratio:
            yield Sign(
                "warning",
                f"in the first batch the variance of this layer is {ratio:.3g} times that of "
                f"{evidence.layers[alive[int(variance.argmin())]]!r}",
                "largest by smallest variance",
                ratio,
                "variance_ratio",
                layer=alive[int(variance.argmax())],
                phase=phase,
                steps=columns.steps(0, 0),
            )
    yield from _outputs(evidence, columns, output_spread)


def _outputs(evidence: Evidence, columns: Columns, most: float) -> Iterator[Sign | Missing]:
    layer = evidence.output
    if layer is None:
        yield Missing("the run does not know its output layer", "outputs")
        return
    try:
        evidence.output_group(evidence.train)
    except NotRecordedError as why:
        yield Missing(str(why), "outputs")
        return
    spread = columns["std"][layer, 0]
    if spread > most:
        yield Sign(
            "warning",
            f"before the first step the outputs already spread by {spread:.3g}, so the network is "
            "sure of answers that it cannot know"
            + ("" if np.isnan(columns.loss[0]) else f"; the loss is {columns.loss[0]:.3g}"),
            "spread of the outputs",
            spread,
            "output_spread",
            "activation units",
            layer=layer,
            phase=evidence.train,
            steps=columns.steps(0, 0),
            epochs=columns.span(0, 0),
        )


@rule(
    "phases-unlike-from-start",
    meaning="Training and validation are not given the same kind of data, so what validation says "
    "is no measure of the training; nothing was learned yet that could make them differ.",
    remedy="Compare how both are read and normalised, pixel ranges and channel order first; look "
    "at how the data was split (by time, by person, by file), and at augmentation.",
    sources={"shift": CALIBRATED, "beyond_null": CALIBRATED},
)
def phases_unlike_from_start(
    evidence: Evidence, *, shift: float = 0.15, beyond_null: float = 4.0
) -> Iterator[Sign]:
    """Train and valid that differ in the first layer from the first epoch on.

    Measured is how far mean and spread of the first layer's outputs lie apart: the
    difference of the means in standard deviations and the logarithm of the ratio of the
    standard deviations, as the root of their squares. The last quarter of the first
    training epoch is compared with the first validation, and so are the last ones.

    Parameters
    ----------
    shift : float, default 0.15
        Source: chosen on recorded trainings.
    beyond_null : float, default 4
        Times what two stretches of the same training epoch differ by. Source: the same.
    """
    valid = evidence.valid
    layer = _first_plain(evidence)
    found = evidence.columns("train")
    answers = []
    for part in (0, -1):
        seen = evidence.columns(valid).by_epoch()
        at = part % len(seen)
        mine = found.where(slice(0, len(found)))
        inside = np.flatnonzero(mine.epoch == seen.epoch[at])
        if len(inside) < 4:
            raise NotRecordedError(
                "the first and last epochs need at least 4 training batches, to tell chance from "
                "shift"
            )
        cuts = np.array([len(inside) * k // 4 for k in range(4)]) + inside[0]
        quarters = mine.where(slice(0, int(inside[-1]) + 1)).folded(
            np.unique(np.concatenate([[0], cuts]))
        )
        apart = _apart(quarters, -1, seen, at, layer)
        null = max(_apart(quarters, -1, quarters, -2, layer), 1e-12)
        answers.append((apart, null, quarters.steps(-1), seen.span(at, at)))
    apart, null = min(a for a, *_ in answers), max(n for _, n, *_ in answers)
    if apart > shift and apart > beyond_null * null:
        yield Sign(
            "warning",
            f"this layer, the first, sees other values in phase {valid} than in phase train from "
            f"the first epoch on; two parts of an epoch of train differ by {null:.2g}",
            "shift of mean and spread",
            apart,
            "shift",
            layer=layer,
            phase=valid,
            steps=(answers[0][2][0], answers[-1][2][1]),
            epochs=(answers[0][3][0], answers[-1][3][1]),
        )


def _first_plain(evidence: Evidence) -> int:
    """Return the first layer, which must not work otherwise in training than after it."""
    layers = evidence.in_order()
    if not layers:
        raise NotRecordedError("no layer was called")
    if evidence.silent[layers[0]] or is_kind(evidence.kinds[layers[0]], ("BatchNorm", "Dropout")):
        raise NotRecordedError(
            f"the first layer, {evidence.layers[layers[0]]!r}, works otherwise in training"
        )
    return layers[0]


def _apart(one: Columns, at: int, other: Columns, where: int, layer: int) -> float:
    """Return the shift of mean and spread between two columns."""
    mean, std = one["mean"][layer, at], one["std"][layer, at]
    other_mean, other_std = other["mean"][layer, where], other["std"][layer, where]
    if not (std > 0 and other_std > 0):
        return 0.0
    return float(np.hypot((other_mean - mean) / std, np.log(other_std / std)))

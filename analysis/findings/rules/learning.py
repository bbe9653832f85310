"""Rules about how the layers move while the network learns."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from actrace.analysis.findings.columns import Columns
from actrace.analysis.findings.evidence import Evidence, is_kind
from actrace.analysis.findings.registry import CALIBRATED, Sign, rule
from actrace.errors import NotRecordedError

_SMDEBUG = "SageMaker Debugger, UnchangedTensor, rtol"


@rule(
    "layer-not-learning",
    meaning="The layer does what it did at the start while those after it learn: its learning rate "
    "is far too small, it is frozen, or its weights are missing in the optimiser.",
    remedy="If it is not meant to be frozen, look at the parameter groups of the optimiser and at "
    "requires_grad, and raise its learning rate (discriminative learning rates).",
    sources={"pinned": CALIBRATED, "behind": CALIBRATED, "moving": CALIBRATED},
)
def layer_not_learning(
    evidence: Evidence, *, pinned: float = 0.01, behind: float = 0.02, moving: float = 0.1
) -> Iterator[Sign]:
    """Layers at the front that stay as they are while later ones move.

    Measured is how far mean and spread of a layer's outputs moved between the first
    epoch and the last, on data that is the same in each (``valid``, where there is
    one): the difference of the means in standard deviations and the logarithm of the
    ratio of the standard deviations, as the root of their squares. Only layers with
    weights are judged, from the first on, for what comes after a layer that moves
    moves with it; and none whose units are mostly dead, which `dead-units` finds.

    Parameters
    ----------
    pinned : float, default 0.01
        Source: chosen on recorded trainings.
    behind : float, default 0.02
        Movement by that of the first layer that moves. Source: the same.
    moving : float, default 0.1
        By how much that layer must move. Source: the same.
    """
    phase = evidence.steady
    epochs = evidence.columns(phase).by_epoch()
    if len(epochs) < 2:
        raise NotRecordedError("layers are compared between epochs, and there is only one")
    moved = _movement(epochs)
    still: list[int] = []
    mover = None
    for layer in evidence.weighted():
        if moved[layer] >= pinned:
            mover = layer
            break
        still.append(layer)
    if mover is None or not moved[mover] > moving:
        return
    dead = _mostly_dead(evidence)
    for layer in still:
        if layer not in dead and moved[layer] < behind * moved[mover]:
            yield Sign(
                "warning",
                f"this layer moved by {moved[layer]:.2g} while {evidence.layers[mover]!r} after it "
                f"moved by {moved[mover]:.2g}",
                "movement of mean and spread",
                moved[layer],
                "pinned",
                layer=layer,
                phase=phase,
                steps=epochs.steps(),
                epochs=epochs.span(),
            )


def _mostly_dead(evidence: Evidence) -> set[int]:
    """Return layers half of whose units are dead in the activation function behind them."""
    try:
        found = evidence.activity(evidence.train)
    except NotRecordedError:
        return set()
    idle = (found.total[:, -1] > 0) & (found.active[:, -1] == 0)
    after = {b: a for a, b in pairwise(evidence.in_order())}
    return {
        after.get(int(layer), int(layer))
        for layer in np.unique(found.layer)
        if not evidence.silent[layer] and idle[found.layer == layer].mean() > 0.5
    }


@rule(
    "constant-output",
    meaning="The network says the same whatever it is given, or says the same at the end as at the "
    "start: nothing is learned.",
    remedy="Look whether the last layer's weights are zero, dead layers come before it, the "
    "learning rate is 0, or the optimiser holds the parameters of another model.",
    sources={"unchanged": _SMDEBUG, "same": CALIBRATED},
)
def constant_output(
    evidence: Evidence, *, unchanged: float = 1e-5, same: float = 1e-4
) -> Iterator[Sign]:
    """An output that is the same for every input, or the same in every epoch.

    Measured is how far mean and spread of the output layer moved between the first epoch
    and the last, on data that is the same in each; and the spread over samples of the
    outputs for one class, by their spread in all, in the last epoch.

    Parameters
    ----------
    unchanged : float, default 1e-5
        Relative to the output's spread. Source: SageMaker Debugger, rule UnchangedTensor, rtol.
    same : float, default 1e-4
        Spread over samples by spread in all. Source: chosen on recorded trainings.
    """
    layer = evidence.output
    if layer is None:
        raise NotRecordedError("the run does not know its output layer")
    phase = evidence.steady
    epochs = evidence.columns(phase).by_epoch()
    if len(epochs) > 1:
        each = [_movement(epochs.where(slice(0, at + 1)))[layer] for at in range(1, len(epochs))]
        moved = float(np.nan_to_num(each, nan=np.inf).max())
        # The samples of an epoch of train come in another order, and are rounded otherwise.
        if moved < max(unchanged, 0.0 if phase == "valid" else 1e-4):
            yield Sign(
                "error",
                f"the output is the same in epoch {epochs.epoch[-1]} as in epoch {epochs.epoch[0]}",
                "movement of mean and spread",
                moved,
                "unchanged",
                layer=layer,
                phase=phase,
                steps=epochs.steps(),
                epochs=epochs.span(),
            )
    spread = _spread_over_samples(evidence, phase)
    if spread < same:
        yield Sign(
            "error",
            "the output hardly depends on the input: samples of a class all get the same",
            "spread over samples by spread in all",
            spread,
            "same",
            layer=layer,
            phase=phase,
            steps=epochs.steps(len(epochs) - 1),
            epochs=epochs.span(len(epochs) - 1),
        )


def _spread_over_samples(evidence: Evidence, phase: str) -> float:
    """Return the outputs' spread over samples of a class by what they are in size."""
    try:
        group = evidence.output_group(phase)
    except NotRecordedError:
        return _spread_over_batches(evidence, phase)
    if "output_std" not in group:
        return _spread_over_batches(evidence, phase)
    last = group.isel(window=-1)
    many = last["samples"].to_numpy() > 1
    std, mean = last["output_std"].to_numpy()[many], last["output_mean"].to_numpy()[many]
    known = ~(np.isnan(std) | np.isnan(mean))
    if not known.any():
        return float("nan")
    apart, size = (float((x[known] ** 2).sum()) for x in (std, np.hypot(mean, std)))
    return float(np.sqrt(apart / size)) if size > 0 else 0.0


def _spread_over_batches(evidence: Evidence, phase: str) -> float:
    """Return how much the output's mean differs from batch to batch by its spread.

    NaN where the last epoch has fewer than three batches.
    """
    columns = evidence.columns(phase)
    last = columns.where(slice(int(np.flatnonzero(columns.epoch == columns.epoch[-1])[0]), None))
    layer = evidence.output or 0
    mean, std = last["mean"][layer], last["std"][layer]
    if len(mean) < 3 or np.isnan(mean).any():
        return float("nan")
    if not std.max() > 0:
        return 0.0
    return float(max(np.ptp(mean), np.ptp(std)) / std.max())


def _movement(epochs: Columns) -> NDArray[np.float64]:
    """Return how far mean and spread of each layer moved from the first column to the last."""
    mean, std = epochs["mean"], epochs["std"]
    alive = (std[:, 0] > 0) & (std[:, -1] > 0)
    scale = np.where(alive, std[:, 0], 1.0)
    grown = np.log(np.where(alive, std[:, -1], 1.0) / scale)
    moved = np.hypot((mean[:, -1] - mean[:, 0]) / scale, grown)
    unmoved = (std[:, 0] == 0) & (std[:, -1] == 0) & (mean[:, 0] == mean[:, -1])
    found: NDArray[np.float64] = np.where(alive, moved, np.where(unmoved, 0.0, np.nan))
    return found


@rule(
    "learning-rate-too-high",
    meaning="Each step throws the weights past where they should go: mean and spread of the layers "
    "jump, grow and collapse, and begin again, instead of settling.",
    remedy="Divide the learning rate by 3 to 10, warm it up, clip gradients; a learning rate "
    "finder shows where the loss begins to rise.",
    sources=dict.fromkeys(("jump", "jumps", "swing", "swings"), CALIBRATED),
)
def learning_rate_too_high(
    evidence: Evidence,
    *,
    jump: float = 2.0,
    jumps: float = 3,
    swing: float = 10.0,
    swings: float = 3,
) -> Iterator[Sign]:
    """Mean and spread of layers that jump; that grow, collapse and begin again.

    Measured is how often the spread of a layer's outputs changes by a factor of more than
    `jump` from one batch to the next, up and down together; and how often it turned
    after it had grown, or fallen, `swing`-fold. Batches much smaller than the others are
    left out.

    Parameters
    ----------
    jump : float, default 2
        Factor from batch to batch. Source: chosen on recorded trainings.
    jumps : float, default 3
        How many there must be, at least one up and one down. Source: the same.
    swing : float, default 10
        Factor between two turns. Source: the same.
    swings : float, default 3
        How many there must be: it grew, collapsed, and grew again. Source: the same.
    """
    phase = evidence.train
    columns = evidence.columns(phase)
    full = np.flatnonzero(columns.samples >= 0.5 * np.median(columns.samples))
    for layer in evidence.weighted():
        row = columns["std"][layer, full]
        some = full[row > 0]
        if len(some) < 3:
            continue
        size = np.log(row[row > 0])
        change = np.diff(size)
        up, down = change > np.log(jump), change < -np.log(jump)
        turns = _turns(size, float(np.log(swing)))
        if up.sum() + down.sum() >= jumps and up.any() and down.any():
            where = np.flatnonzero(up | down)
            first, last = some[where[0]], some[where[-1] + 1]
            what = f"the spread jumped {up.sum()} times up and {down.sum()} times down"
            measured, value, name = "jumps from batch to batch", len(where), "jumps"
        elif turns >= swings:
            first, last = some[0], some[-1]
            what = f"the spread grew and collapsed {swing:g}-fold, {turns} times in turn"
            measured, value, name = "swings", turns, "swings"
        else:
            continue
        yield Sign(
            "warning",
            what,
            measured,
            float(value),
            name,
            layer=layer,
            phase=phase,
            steps=columns.steps(int(first), int(last)),
            epochs=columns.span(int(first), int(last)),
        )


def _turns(size: NDArray[np.float64], least: float) -> int:
    """Return how often a series moved by at least so much, up and down in turn."""
    low = high = size[0]
    way = n = 0
    for value in size:
        low, high = min(low, value), max(high, value)
        if way >= 0 and high - value >= least:
            n, way, low = n + 1, -1, value
        elif way <= 0 and value - low >= least:
            n, way, high = n + 1, 1, value
        if way > 0:
            low = value
        elif way < 0:
            high = value
    return n


@rule(
    "unstable-layer-normalised",
    meaning="The layer runs away, and only the normalisation behind it hides that; its weights "
    "grow, its effective learning rate shrinks, and in 16 bits it will overflow.",
    remedy="Decay the layer's weights, lower its learning rate, or normalise them (weight or "
    "spectral normalisation).",
    sources={"unstable": CALIBRATED, "stable": CALIBRATED},
)
def unstable_layer_normalised(
    evidence: Evidence, *, unstable: float = 20.0, stable: float = 2.0
) -> Iterator[Sign]:
    """A layer whose spread runs away while the normalisation after it stays steady.

    Measured is the largest spread of a layer in any batch by the smallest, where the next
    layer normalises.

    Parameters
    ----------
    unstable : float, default 20
        Source: chosen on recorded trainings.
    stable : float, default 2
        The same of the normalisation, which must not reach it. Source: the same.
    """
    phase = evidence.train
    times = evidence.columns(phase)
    std = times["std"]
    layers = evidence.in_order()
    for layer, after in pairwise(layers):
        if not is_kind(evidence.kinds[after], ("Norm",)) or is_kind(
            evidence.kinds[layer], ("Norm",)
        ):
            continue
        if not ((std[layer] > 0).all() and (std[after] > 0).all()):
            continue
        swing, held = (float(std[at].max() / std[at].min()) for at in (layer, after))
        if swing > unstable and held < stable:
            yield Sign(
                "warning",
                f"the spread of this layer changed {swing:.3g}-fold, that of "
                f"{evidence.layers[after]!r} behind it only {held:.3g}-fold",
                "largest by smallest spread",
                swing,
                "unstable",
                layer=layer,
                phase=phase,
                steps=times.steps(),
                epochs=times.span(),
            )

"""Rules about values, or gradients, that are far too small or too large."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from actrace.analysis import select
from actrace.analysis.findings.columns import Columns
from actrace.analysis.findings.evidence import Evidence
from actrace.analysis.findings.registry import CALIBRATED, Missing, Sign, rule
from actrace.errors import NotRecordedError

#: Spread by that of the first layer from which on growth over time counts: from nothing to
#: something is none.
_AHEAD = 10.0
_SUN = "Sun et al. (2024), Massive Activations in Large Language Models"


@rule(
    "vanishing",
    meaning="What reaches this layer, or comes back from it, is next to nothing: the layers on one "
    "side of it cannot learn from those on the other.",
    remedy="Initialise for the activation function, normalise (BatchNorm, LayerNorm), add residual "
    "connections, or use ReLU-like functions instead of sigmoids.",
    sources={
        "spread": CALIBRATED,
        "gradient": "SageMaker Debugger, VanishingGradient, threshold",
        "gradient_ratio": CALIBRATED,
    },
)
def vanishing(
    evidence: Evidence,
    *,
    spread: float = 1e-3,
    gradient: float = 1e-7,
    gradient_ratio: float = 1e-4,
) -> Iterator[Sign | Missing]:
    """Values whose spread, or gradients whose size, falls to nothing.

    Measured is the standard deviation of a layer's outputs against the largest of the
    layers before it, over the last epoch of training; and the root mean square of a
    weight's gradient over an epoch, which is never below the mean of its absolute values.

    Parameters
    ----------
    spread : float, default 1e-3
        Spread by the largest before it. Source: chosen on recorded trainings.
    gradient : float, default 1e-7
        In gradient units. Source: SageMaker Debugger, rule VanishingGradient, threshold.
    gradient_ratio : float, default 1e-4
        Gradient by the largest of all weights: all are small once a training has learned
        everything. Source: chosen on recorded trainings.
    """
    phase = evidence.train
    epochs = evidence.columns(phase).by_epoch()
    std = epochs["std"][:, -1]
    before, fallen = 0.0, []
    for layer in evidence.in_order():
        if evidence.silent[layer] or np.isnan(std[layer]):
            continue
        if 0 < std[layer] < spread * before:
            fallen.append((layer, std[layer] / before))
        before = max(before, std[layer])
    if fallen:
        layer, ratio = fallen[0]
        more = f", and so are {len(fallen) - 1} after it" if len(fallen) > 1 else ""
        yield Sign(
            "warning",
            f"this layer's outputs are nearly all alike{more}",
            "spread by the largest before it",
            ratio,
            "spread",
            layer=layer,
            phase=phase,
            steps=epochs.steps(len(epochs) - 1),
            epochs=epochs.span(len(epochs) - 1),
        )
    try:
        columns, names = evidence.gradients(phase)
    except NotRecordedError as why:
        yield Missing(str(why), "gradients")
        return
    yield from _vanishing_gradients(evidence, columns, names, gradient, gradient_ratio)


def _vanishing_gradients(
    evidence: Evidence,
    columns: Columns,
    names: tuple[str, ...],
    gradient: float,
    gradient_ratio: float,
) -> Iterator[Sign]:
    epochs = columns.by_epoch()
    size = _gradient_size(evidence, epochs)
    largest = np.nan_to_num(size).max(axis=0)
    low = (size > 0) & (size < gradient) & (size < gradient_ratio * largest)
    rows = np.flatnonzero(low[:, -1])
    if not len(rows):
        return
    worst = int(rows[np.argmin(size[rows, -1])])
    since = _since(low[worst])
    yield Sign(
        "warning",
        f"the gradient of {len(rows)} weight{'s' * (len(rows) > 1)} is next to nothing, least that "
        f"of this one; the largest is {largest[-1]:.2g}",
        "root mean square of the gradient",
        float(size[worst, -1]),
        "gradient",
        "gradient units",
        name=names[worst],
        phase=evidence.train,
        steps=epochs.steps(since),
        epochs=epochs.span(since),
    )


@rule(
    "exploding",
    meaning="Values or gradients grow from layer to layer or from step to step, on their way to an "
    "overflow; the loss jumps and the weights are thrown far off.",
    remedy="Clip gradients, lower the learning rate or warm it up, normalise (inputs and layers), "
    "initialise with smaller weights.",
    sources={"depth": CALIBRATED, "time": CALIBRATED, "gradient": CALIBRATED},
)
def exploding(
    evidence: Evidence, *, depth: float = 100.0, time: float = 1000.0, gradient: float = 1000.0
) -> Iterator[Sign | Missing]:
    """Values whose spread, or gradients whose size, grows beyond all bounds.

    Measured is the standard deviation of a layer's outputs in any batch, against that of
    the first layer in the same batch and that of itself in the first batch; and the
    norm of a parameter's gradient against its own median. Infinities are found by
    `not-finite`.

    Parameters
    ----------
    depth : float, default 100
        Spread by that of the first layer. Source: chosen on recorded trainings.
    time : float, default 1000
        Spread by that in the first batch, of layers that spread ten times as far as the
        first by then. Source: the same.
    gradient : float, default 1000
        Norm by its median over the run. Source: the same.
    """
    phase = evidence.train
    columns = evidence.columns(phase)
    std = columns["std"]
    layers = [at for at in evidence.in_order() if (std[at] > 0).any()]
    if layers:
        first = std[layers[0]]
        yield from _exploded(
            evidence,
            columns,
            layers,
            np.divide(std, first, out=np.full_like(std, np.nan), where=first > 0),
            "spread by that of the first layer",
            ("depth", depth),
        )
        start = np.array([row[row > 0][0] if (row > 0).any() else np.nan for row in std])
        yield from _exploded(
            evidence,
            columns,
            layers,
            np.where(std > _AHEAD * first, std / start[:, None], 0.0),
            "spread by that in the first batch",
            ("time", time),
        )
    try:
        grown, names = evidence.gradients(phase)
    except NotRecordedError as why:
        yield Missing(str(why), "gradients")
        return
    norm = np.where(grown["norm"] > 0, grown["norm"], np.nan)
    known = ~np.isnan(norm).all(axis=1)
    median = np.full(len(norm), np.nan)
    median[known] = np.nanmedian(norm[known], axis=1)
    ratio = np.nan_to_num(norm / median[:, None])
    row, at = np.unravel_index(int(ratio.argmax()), ratio.shape) if ratio.size else (0, 0)
    if ratio.size and ratio[row, at] > gradient:
        yield Sign(
            "warning",
            "the gradient of this parameter is many times what it usually is",
            "norm of the gradient by its median",
            float(ratio[row, at]),
            "gradient",
            name=names[int(row)],
            phase=phase,
            steps=grown.steps(int(at), int(at)),
            epochs=grown.span(int(at), int(at)),
        )


def _exploded(
    evidence: Evidence,
    columns: Columns,
    layers: list[int],
    ratio: NDArray[np.float64],
    measured: str,
    limit: tuple[str, float],
) -> Iterator[Sign]:
    name, most = limit
    over = [at for at in layers if (ratio[at] > most).any()]
    if not over:
        return
    layer = over[0]
    worst = int(np.nanargmax(ratio[layer]))
    first = int(np.flatnonzero(ratio[layer] > most)[0])
    more = f", and {len(over) - 1} more after it" if len(over) > 1 else ""
    yield Sign(
        "error" if evidence.columns(evidence.train)["nonfinite"].any() else "warning",
        f"this layer's outputs spread {ratio[layer, worst]:.3g} times as far{more}",
        measured,
        float(ratio[layer, worst]),
        name,
        layer=layer,
        phase=evidence.train,
        steps=columns.steps(first, worst if worst >= first else first),
        epochs=columns.span(first, worst if worst >= first else first),
    )


@rule(
    "outside-axis",
    meaning="These activations lie outside the bins: they are counted, and moments and extremes "
    "hold them, but histograms, peaks and distances see them only as 'beyond'.",
    remedy="Normalise the inputs, if they are what is large; else record with a wider axis, as "
    "axis=actrace.Asinh(-1e6, 1e6).",
    sources={"outside": CALIBRATED},
)
def outside_axis(evidence: Evidence, *, outside: float = 0.01) -> Iterator[Sign]:
    """Activations outside the bins.

    Measured is the largest share of an epoch's elements that fall below the first or
    above the last bin edge. Less than `outside` is a remark.

    Parameters
    ----------
    outside : float, default 0.01
        Share of the elements, 0 to 1. Source: chosen on recorded trainings; what a
        distance of two histograms may then be off is as large.
    """
    edges = select.bin_edges(evidence.run)
    for phase in evidence.judged():
        epochs = evidence.columns(phase).by_epoch()
        read = epochs["read"]
        share = np.divide(epochs["outside"], read, out=np.zeros_like(read), where=read > 0)
        for layer in evidence.in_order(np.flatnonzero(share.max(axis=1) > 0)):
            worst = int(share[layer].argmax())
            held = np.flatnonzero(share[layer] > 0)
            yield Sign(
                "warning" if share[layer, worst] > outside else "info",
                f"{share[layer, worst]:.2g} of the elements lie outside the bins, which reach from "
                f"{edges[0]:g} to {edges[-1]:g}; the largest is {epochs.largest[layer].max():.3g}",
                "share of elements outside the axis",
                share[layer, worst],
                "outside",
                layer=layer,
                phase=phase,
                steps=epochs.steps(held[0], held[-1]),
                epochs=epochs.span(held[0], held[-1]),
            )


@rule(
    "growing-range",
    meaning="The largest activations go on growing, or a few are so large that they outweigh all "
    "others: precision is lost in 16 bits, and the end is an overflow.",
    remedy="Decay weights, normalise the layer's input, clip gradients, smooth labels or bound the "
    "logits (z-loss), lower the learning rate at the end.",
    sources={"growth": CALIBRATED, "size": CALIBRATED, "massive": _SUN, "massive_ratio": _SUN},
)
def growing_range(
    evidence: Evidence,
    *,
    growth: float = 1.6,
    size: float = 20.0,
    massive: float = 100.0,
    massive_ratio: float = 1000.0,
) -> Iterator[Sign]:
    """A range that grows to the end, or activations that dwarf all others.

    Measured is the largest size of an element in the last epoch against that in the
    middle of the training, where no epoch between was smaller than the one before; and
    the largest size in the last epoch against the median size.

    Parameters
    ----------
    growth : float, default 1.6
        A range that grows evenly doubles over the second half. Source: chosen on recorded
        trainings.
    size : float, default 20
        In activation units; a smaller range is let grow. Source: chosen on recorded trainings.
    massive : float, default 100
        In activation units. Source: Sun et al. (2024), Massive Activations in Large
        Language Models.
    massive_ratio : float, default 1000
        Times the median size. Source: the same.
    """
    phase = evidence.train
    times = evidence.columns(phase).by_time(6)
    largest = np.nan_to_num(times.largest)
    middle = len(times) // 2
    last = len(times) - 1
    for layer in evidence.in_order():
        late = largest[layer, middle:]
        ratio = late[-1] / late[0] if late[0] > 0 else 0.0
        steady = len(late) > 2 and bool((np.diff(late) > -0.05 * late[:-1]).all())
        if ratio > growth and late[-1] > size and steady:
            yield Sign(
                "warning",
                f"the largest activation grew from {late[0]:.3g} to {late[-1]:.3g} over the second "
                "half of the training, and was still growing",
                "growth over the second half",
                ratio,
                "growth",
                layer=layer,
                phase=phase,
                steps=times.steps(middle),
                epochs=times.span(middle),
            )
    some = [at for at in evidence.in_order() if largest[at, last] > massive]
    if not some:
        return
    start = int(times.first_batch[last])
    counts = evidence.histogram(phase, some, start, start + int(times.batches[last]))
    edges = select.bin_edges(evidence.run)
    for layer, cells in zip(some, counts, strict=True):
        median = _median_size(cells, edges)
        if median > 0 and largest[layer, last] > massive_ratio * median:
            yield Sign(
                "info",
                f"the largest activation is {largest[layer, last]:.3g} where the median size is "
                f"{median:.2g}",
                "largest by median size",
                largest[layer, last] / median,
                "massive_ratio",
                layer=layer,
                phase=phase,
                steps=times.steps(last),
                epochs=times.span(last),
            )


def _median_size(cells: NDArray[np.uint64], edges: NDArray[np.float64]) -> float:
    """Return the median size of the elements, to the width of a bin; 0 where there are none."""
    outer = np.concatenate([[edges[0]], (edges[:-1] + edges[1:]) / 2, [edges[-1]]])
    by_size = np.argsort(np.abs(outer), kind="stable")
    reached = np.cumsum(cells[by_size].astype(np.float64))
    if not reached[-1]:
        return 0.0
    return float(np.abs(outer)[by_size][np.searchsorted(reached, reached[-1] / 2)])


def _gradient_size(evidence: Evidence, columns: Columns) -> NDArray[np.float64]:
    """Return the root mean square of each weight's gradient, NaN for biases and the like.

    A bias before a normalisation has no gradient by design.
    """
    group = evidence.run.children[evidence.train].children["gradient"].dataset
    weight = np.array(["x" in str(shape) for shape in group["parameter_shape"].to_numpy()])
    per_batch = columns["elements"] / np.maximum(columns.batches, 1)
    size = columns["norm"] / np.sqrt(np.maximum(per_batch, 1.0))
    return np.where(weight[:, None], size, np.nan)


def _since(held: NDArray[np.bool_]) -> int:
    """Return the column from which on it held to the end."""
    broken = np.flatnonzero(~held)
    return int(broken[-1]) + 1 if len(broken) else 0

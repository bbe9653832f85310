"""Whether a planted fault shows in its run: one plain number a rule, apart from `diagnose`.

A fault that was planted and does not show would measure nothing; and a healthy training in
which one shows is not healthy. The bounds are coarse on purpose: they ask whether the fault
is there, not whether it is small. Reads a run with xarray; may import NumPy.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

import numpy as np
import xarray as xr
from benchmarks.pathologies.loop import Epoch

import actrace

__all__ = ["WITNESSES", "Trained", "Witness", "witnesses"]


@dataclass(frozen=True, slots=True)
class Trained:
    """What witnesses look at.

    Attributes
    ----------
    train, valid : Dataset
        The run's phases.
    train_labels, labels : Dataset or None
        The labelled statistics of training and validation.
    gradients : Dataset or None
        The training's gradients.
    bin_left : ndarray
        Left edges of the bins.
    types : list of str
        Of the layers.
    lost : int
        Training batches that the store says it lost.
    epochs : list of Epoch
        What the loop saw.
    moved : mapping of str to float
        Weighted layer -> how far its weights went, in shares of their first norm.
    """

    train: xr.Dataset
    valid: xr.Dataset
    train_labels: xr.Dataset | None
    labels: xr.Dataset | None
    gradients: xr.Dataset | None
    bin_left: np.ndarray
    types: list[str]
    lost: int
    epochs: list[Epoch]
    moved: Mapping[str, float]

    def of(self, pattern: str, name: str, data: xr.Dataset | None = None) -> np.ndarray:
        """Return a statistic of the layers whose type matches, float64 (layer, batch)."""
        rows = [at for at, kind in enumerate(self.types) if re.fullmatch(pattern, kind)]
        found = (self.train if data is None else data)[name].values[rows]
        return found.astype(np.float64)


@dataclass(frozen=True, slots=True)
class Witness:
    """One number that is high where a fault shows.

    Attributes
    ----------
    words : str
        What the number is.
    measure : callable
        Takes a `Trained`; NaN where it cannot be told.
    bound : float
        The fault shows from here on.
    """

    words: str
    measure: Callable[[Trained], float]
    bound: float

    def shows(self, trained: Trained) -> tuple[float, bool]:
        """Return the number, and whether the fault shows."""
        with np.errstate(all="ignore"):
            value = float(self.measure(trained))
        return value, value >= self.bound


def witnesses(
    path: Path, epochs: list[Epoch], moved: Mapping[str, float]
) -> dict[str, tuple[float, bool]]:
    """Return rule -> number and whether the fault shows, for each of `WITNESSES`.

    Parameters
    ----------
    path : Path
        The run.
    epochs : list of Epoch
    moved : mapping of str to float
        As in `Trained`.
    """
    with actrace.open(path) as run:

        def group(name: str) -> xr.Dataset | None:
            return run[name].to_dataset() if f"/{name}" in run.groups else None

        found = {name: group(name) for name in ("train/output", "valid/output", "train/gradient")}
        trained = Trained(
            run["train"].to_dataset(),
            run["valid"].to_dataset(),
            found["train/output"],
            found["valid/output"],
            found["train/gradient"],
            run["bin_left"].values,
            [str(kind) for kind in run["layer_type"].values],
            int(dict(run.attrs.get("lost_batches") or {}).get("train", 0)),
            epochs,
            moved,
        )
        return {rule: witness.shows(trained) for rule, witness in WITNESSES.items()}


WEIGHTED: Final = "Linear|Conv2d"
NORM: Final = "BatchNorm.*"


def _dead_layer(t: Trained) -> float:
    """Return the share of units of the deadest ReLU that are dead in all last batches."""
    return _highest(t.of("ReLU", "death_rate")[:, -5:].min(1))


def _dead_units(t: Trained) -> float:
    return _highest(np.median(t.of("ReLU", "death_rate")[:, -5:], 1))


def _saturation(t: Trained) -> float:
    """Return the share of values within a hundredth of a limit, in the worst layer."""
    shares = []
    for kind, low, high in (("Tanh", -0.99, 0.99), ("Sigmoid", 0.01, 0.99)):
        rows = [at for at, name in enumerate(t.types) if name == kind]
        last = t.train["count"][rows, :, -5:].values
        count = last.astype(np.float64).sum(-1)
        outside = (t.bin_left < low) | (t.bin_left >= high)
        shares += list(count[:, outside].sum(1) / count.sum(1))
    return _highest(np.array(shares))


def _vanishing(t: Trained) -> float:
    """Return powers of ten lost through the layers: of gradients backwards, of values forwards."""
    # Values of the first batch alone: later ones are what biases make of nothing.
    spread = t.of(WEIGHTED, "std")[:-1, 0]
    lost = [np.log10(spread[0] / spread[-1])]
    if t.gradients is not None:
        norm = np.median(t.gradients["norm"].values[:, 1:20], 1)
        weights = [at for at, n in enumerate(t.gradients["parameter"].values) if "weight" in str(n)]
        lost.append(np.log10(norm[weights[-1]] / norm[weights[0]]))
    return max(lost)


def _exploding(t: Trained) -> float:
    """Return powers of ten that the spread gains through the hidden layers, in the first batch."""
    spread = t.of(WEIGHTED, "std")[:-1, 0]
    return float(np.log10(spread[-1] / spread[0]))


def _not_finite(t: Trained) -> float:
    return float(sum(int(t.train[name].sum()) for name in ("nan", "posinf", "neginf")))


def _not_learning(t: Trained) -> float:
    """Return how many times further the furthest layer went than the nearest."""
    return max(t.moved.values()) / max(min(t.moved.values()), 1e-12)


def _too_fast(t: Trained) -> float:
    """Return the highest loss of a batch, in multiples of the first."""
    loss = t.train["loss"].values
    return float(np.nanmax(loss[1:]) / loss[0])


def _poor_start(t: Trained) -> float:
    """Return powers of ten between the spread of a hidden layer's first values and 1."""
    spread = t.of(WEIGHTED, "std")[:-1, 0]
    return float(np.abs(np.log10(np.maximum(spread, 1e-30))).max())


def _normalised(t: Trained) -> float:
    """Return how many times a layer's spread changes that the BatchNorm after it takes back."""
    best = np.nan
    for at, kind in enumerate(t.types[1:], start=1):
        if not re.fullmatch(NORM, kind):
            continue
        before, after = (t.train["std"].values[i, 3:].astype(np.float64) for i in (at - 1, at))
        # The norm's own scale may be learnt: it is what remains of the change.
        best = np.fmax(best, (before.max() / before.min()) / (after.max() / after.min()))
    return float(best)


def _overfit(t: Trained) -> float:
    """Return the last validation loss in multiples of the lowest."""
    losses = [epoch.valid_loss for epoch in t.epochs]
    return losses[-1] / min(losses)


def _lagging(t: Trained) -> float:
    """Return how far the worst class's accuracy in validation lies below the median one's."""
    share = _by_class(t.labels, "correct") / _by_class(t.labels, "samples")
    return float(np.median(share) - share.min()) if len(share) else np.nan


def _imbalance(t: Trained) -> float:
    """Return training samples of the commonest class for one of the rarest."""
    samples = _by_class(t.train_labels, "samples")
    return float(samples.max() / max(samples.min(), 1)) if len(samples) else np.nan


def _outside(t: Trained) -> float:
    """Return the share of values outside the axis, in the worst layer."""
    outside = (t.train["underflow"] + t.train["overflow"]).values.sum(1)
    return _highest(outside / np.maximum(t.train["elements"].values.sum(1), 1))


def _growing(t: Trained) -> float:
    """Return the most that any layer's spread grows between the half and the end."""
    spread = t.train["std"].values.astype(np.float64)
    n = spread.shape[1]
    middle, last = (np.median(spread[:, at : at + 5], 1) for at in (n // 2, n - 5))
    return _highest(last / middle)


def _unlike(t: Trained) -> float:
    """Return how far the first layer's validation values lie from training, in the first epoch.

    In standard deviations for the mean, in powers of two for the spread; the larger.
    """
    seen, seen_valid = (
        data.isel(layer=0, batch=data["epoch"].values == 0) for data in (t.train, t.valid)
    )
    mean, mean_valid = (float(data["mean"].mean()) for data in (seen, seen_valid))
    spread, spread_valid = (float(data["std"].mean()) for data in (seen, seen_valid))
    if not spread or not spread_valid:  # a layer that says one and the same in a phase
        return 0.0 if (mean, spread) == (mean_valid, spread_valid) else float("inf")
    return max(abs(mean_valid - mean) / spread, abs(float(np.log2(spread_valid / spread))))


def _no_peaks(t: Trained) -> float:
    """Return how little better than guessing the training ends, 1 being not at all."""
    chance = _by_class(t.labels, "samples")
    if not len(chance):
        return np.nan
    guess = chance.max() / chance.sum()
    return 1 - max(0.0, t.epochs[-1].valid_score - guess) / (1 - guess)


def _constant(t: Trained) -> float:
    """Return 1 where the last layer's weights never moved."""
    return float(list(t.moved.values())[-1] == 0)


def _gap(t: Trained) -> float:
    return float(t.lost)


def _by_class(data: xr.Dataset | None, name: str) -> np.ndarray:
    """Return a labelled count over the last epoch, float64 (target class); empty without."""
    if data is None or name not in data or "target_class" not in data[name].dims:
        return np.zeros(0)
    last = data["epoch"].values == data["epoch"].values.max()
    return data[name].values[:, last].astype(np.float64).sum(1)


def _highest(values: np.ndarray) -> float:
    return float(np.nanmax(values)) if np.isfinite(values).any() else np.nan


#: Rule -> what shows that its fault is there.
WITNESSES: Final[Mapping[str, Witness]] = MappingProxyType(
    {
        "dead-layer": Witness("dead units of the deadest ReLU", _dead_layer, 1.0),
        "dead-units": Witness("dead units of the deadest ReLU", _dead_units, 0.5),
        "saturation": Witness("values at the limits", _saturation, 0.4),
        "vanishing": Witness("powers of ten lost over the layers", _vanishing, 4.0),
        "exploding": Witness("powers of ten gained over the layers", _exploding, 2.0),
        "not-finite": Witness("values that are not finite", _not_finite, 1.0),
        "layer-not-learning": Witness(
            "furthest layer's way by the nearest's", _not_learning, 100.0
        ),
        "learning-rate-too-high": Witness("highest loss by the first", _too_fast, 2.0),
        "poor-initialisation": Witness("powers of ten from a spread of 1", _poor_start, 1.3),
        "unstable-layer-normalised": Witness("change taken back by BatchNorm", _normalised, 5.0),
        "overfit": Witness("last validation loss by the lowest", _overfit, 1.2),
        "lagging-class": Witness("accuracy behind the median class", _lagging, 0.2),
        "class-imbalance": Witness("commonest class by the rarest", _imbalance, 10.0),
        "outside-axis": Witness("share of values outside the axis", _outside, 0.01),
        "growing-range": Witness("growth of a spread in the second half", _growing, 2.5),
        "phases-unlike-from-start": Witness("first layer's distance of the phases", _unlike, 0.5),
        "no-peaks": Witness("1: no better than guessing", _no_peaks, 0.9),
        "constant-output": Witness("1: the last layer never moved", _constant, 1.0),
        "recorder-gap": Witness("training batches lost", _gap, 1.0),
    }
)

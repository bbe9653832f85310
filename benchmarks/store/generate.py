"""A run as long as wanted, statistically like a real training, through the real writer.

Every layer has a distribution that moves: fast at first, then slowly, with jitter
from batch to batch, bursts in which it widens, and units that die. Counts are drawn
anew for every batch from what is expected of each bin, so a run is as hard to
compress as a real one; nothing is a tiled block. NumPy and SciPy.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from actrace.store.axis import Asinh
from actrace.store.paths import ROOT_DOCUMENT
from actrace.store.reader import open_run
from actrace.store.rows import BatchRows, LayerInfo
from actrace.store.schema import COUNTERS, MOMENTS
from actrace.store.writer import RunWriter

__all__ = [
    "BLOCK",
    "EPOCH",
    "SAMPLES",
    "Block",
    "Plan",
    "blocks",
    "is_whole",
    "layer_infos",
    "write_run",
]

#: Batches drawn at once: as many as a recorder hands over.
BLOCK: Final = 64
#: From here on a Poisson count is drawn as a rounded normal one.
NORMAL: Final = 20.0
EPOCH: Final = 2000
SAMPLES: Final = 64
_COUNTER: Final = {v.name: at for at, v in enumerate(COUNTERS)}
_MOMENT: Final = {v.name: at for at, v in enumerate(MOMENTS)}


@dataclass(frozen=True, slots=True)
class Plan:
    """What to generate.

    Attributes
    ----------
    batches, layers, bins, seed : int
    """

    batches: int = 10_000
    layers: int = 60
    bins: int = 256
    seed: int = 0

    @property
    def axis(self) -> Asinh:
        """The bins: regular in asinh(x / 0.1) between -1000 and 1000."""
        return Asinh(-1000.0, 1000.0, self.bins, 0.1)


@dataclass(slots=True)
class Block:
    """Batches that follow each other, and what was expected of each bin.

    Attributes
    ----------
    rows : BatchRows
    expected : ndarray, shape (n, n_layers, n_bins), float32
    """

    rows: BatchRows
    expected: NDArray[np.float32]


class _Layers:
    """What the layers are, and where their distributions are at any batch."""

    def __init__(self, plan: Plan) -> None:
        rng = np.random.default_rng((plan.seed, 1))
        n = plan.layers
        self.units = 2 ** rng.integers(4, 9, n)
        self.elements = SAMPLES * self.units * 2 ** rng.integers(0, 7, n)
        #: Every second layer is a ReLU.
        self.rectified = np.arange(n) % 2 == 1
        self.start, self.end = rng.normal(0, 0.3, (2, n))
        self.wide, self.narrow = np.exp(rng.normal(0, 0.5, (2, n)))
        self.rate = 10 ** rng.uniform(-3.5, -2, n)
        self.slow = rng.uniform(2e-6, 2e-5, n)
        self.phase = rng.uniform(0, 2 * np.pi, n)
        self.jitter = rng.uniform(0.005, 0.03, n)
        self.dead = np.where(self.rectified, rng.uniform(0, 0.5, n), 0.0)

    def at(self, batch: NDArray[np.int64], rng: np.random.Generator) -> tuple[Any, ...]:
        """Return mean, spread and share of dead units, each (n, n_layers)."""
        t = batch[:, None].astype(float)
        done = 1 - np.exp(-t * self.rate)
        drift = 0.3 * np.sin(self.phase + t * self.slow)
        shape = (len(batch), len(self.rate))
        mean = self.start + (self.end - self.start) * done + drift
        mean = mean + self.jitter * rng.standard_normal(shape)
        spread = self.wide + (self.narrow - self.wide) * done
        spread = spread * (1 + self.jitter * rng.standard_normal(shape))
        # A burst every few thousand batches: wide at once, back within some fifty.
        since = t % (3001 + 997 * (np.arange(shape[1]) % 5))
        spread = np.abs(spread) * (1 + 4 * np.exp(-since / 50) * (t > 500))
        dead = np.floor(self.dead * (1 - np.exp(-t * self.slow)) * self.units) / self.units
        return mean, spread, dead


def _expected(
    layers: _Layers, plan: Plan, mean: Any, spread: Any, dead: Any
) -> NDArray[np.float32]:
    """Return the elements to expect in each bin, shape (n, n_layers, n_bins)."""
    edges = plan.axis.edges.astype(np.float32)
    z = (edges - mean.astype(np.float32)[..., None]) / spread.astype(np.float32)[..., None]
    share = np.diff(ndtr(z), axis=-1)
    zero = int(np.searchsorted(edges, 0.0, side="right")) - 1
    cut = layers.rectified
    # A ReLU has what was below zero at zero, and all of its dead units.
    share[:, cut, zero] += share[:, cut, :zero].sum(axis=-1)
    share[:, cut, :zero] = 0
    share[:, cut] *= (1 - dead[:, cut, None]).astype(np.float32)
    share[:, cut, zero] += dead[:, cut]
    return share * layers.elements[:, None].astype(np.float32)


def _draw(expected: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.uint32]:
    noise = rng.standard_normal(expected.shape, dtype=np.float32)
    count = np.rint(expected + np.sqrt(expected) * noise)
    count[expected < NORMAL] = 0
    few = np.flatnonzero((expected > 1e-6) & (expected < NORMAL))
    count.ravel()[few] = rng.poisson(expected.ravel()[few])
    return np.maximum(count, 0).astype(np.uint32)


def blocks(plan: Plan, start: int = 0, draw: int = 2) -> Iterator[Block]:
    """Yield the run's batches in their order, `BLOCK` at once.

    Parameters
    ----------
    plan : Plan
    start : int
        The first of them, a multiple of `BLOCK`; they are the same wherever one begins.
    draw : int
        Another number draws other batches of the same layers, as for another phase.
    """
    layers = _Layers(plan)
    edges = plan.axis.edges
    centre = ((edges[1:] + edges[:-1]) / 2).astype(np.float32)
    for first in range(start, plan.batches, BLOCK):
        batch = np.arange(first, min(first + BLOCK, plan.batches))
        rng = np.random.default_rng((plan.seed, draw, first))
        mean, spread, dead = layers.at(batch, rng)
        expected = _expected(layers, plan, mean, spread, dead)
        count = _draw(expected, rng)
        # A layer has as many elements in every batch: its fullest bin makes up for it.
        full = count.argmax(axis=-1)[..., None]
        off = layers.elements - count.sum(axis=-1, dtype=np.int64)
        there = np.take_along_axis(count, full, -1).astype(np.int64) + off[..., None]
        np.put_along_axis(count, full, np.maximum(there, 0).astype(np.uint32), -1)
        counters = np.zeros((len(COUNTERS), *off.shape), np.uint64)
        counters[_COUNTER["elements"]] = count.sum(axis=-1, dtype=np.uint64)
        counters[_COUNTER["calls"]] = 1
        zero = int(np.searchsorted(edges, 0.0, side="right")) - 1
        cut = layers.rectified
        counters[_COUNTER["zero"]][:, cut] = count[:, cut, zero]
        moments = np.full((len(MOMENTS), *off.shape), np.nan)
        size = counters[_COUNTER["elements"]].astype(float)
        moments[_MOMENT["mean"]] = (count @ centre) / size
        square = (count @ centre**2) / size
        moments[_MOMENT["std"]] = np.sqrt(np.maximum(square - moments[_MOMENT["mean"]] ** 2, 0))
        held = count > 0
        moments[_MOMENT["min"]] = centre[held.argmax(axis=-1)]
        moments[_MOMENT["max"]] = centre[plan.bins - 1 - held[..., ::-1].argmax(axis=-1)]
        moments[_MOMENT["norm"]] = np.sqrt(square * size / SAMPLES)
        live = 1 - counters[_COUNTER["zero"]] / size
        moments[_MOMENT["activation_rate"]] = live
        moments[_MOMENT["death_rate"]] = dead
        loss = 2.3 * np.exp(-batch * 2e-4) + 0.1 + 0.05 * rng.standard_normal(len(batch))
        lr = 1e-3 * 0.5 ** (batch // (10 * EPOCH))
        rows = BatchRows(
            "train",
            count,
            counters,
            moments,
            step=batch.tolist(),
            epoch=(batch // EPOCH).tolist(),
            samples=[SAMPLES] * len(batch),
            time=(1.7e9 + 0.1 * batch + 0.01 * rng.random(len(batch))).tolist(),
            loss=loss.tolist(),
            logged=[{"lr": value} for value in lr.tolist()],
        )
        yield Block(rows, expected)


def layer_infos(plan: Plan) -> list[LayerInfo]:
    """Return the layers as a recorder would declare them."""
    layers = _Layers(plan)
    return [
        LayerInfo(
            f"layer{at}",
            "ReLU" if layers.rectified[at] else "Conv2d",
            (int(layers.units[at]), int(layers.elements[at] // SAMPLES // layers.units[at])),
            at,
            int(layers.units[at]),
        )
        for at in range(plan.layers)
    ]


def write_run(
    path: Path, plan: Plan, *, levels: bool = True, say: Callable[[str], None] = print
) -> Path:
    """Write the run at `path`, committing every ten seconds as a recorder does."""
    writer = RunWriter.create(
        path, axis=plan.axis, attributes={"config": {"seed": plan.seed}}, levels=levels
    )
    writer.declare_layers(layer_infos(plan))
    last = began = time.monotonic()
    for block in blocks(plan):
        writer.append_batches(block.rows)
        if time.monotonic() - last > 10:
            writer.commit()
            last = time.monotonic()
            n = writer.n_batches("train")
            say(f"{n:,} of {plan.batches:,} batches after {last - began:.0f} s")
    writer.close()
    return writer.path


def is_whole(path: Path, n: int) -> bool:
    """Return whether a run of `n` training batches stands there; a shorter one is removed."""
    if not (path / ROOT_DOCUMENT).is_file():
        return False
    with open_run(path) as run:
        whole = run.status == "finished" and bool(run.phases) and run.n_batches("train") == n
    if not whole:
        shutil.rmtree(path)
    return whole

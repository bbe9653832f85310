"""A run's state in one line, from its root document alone. Imports nothing heavy."""

from __future__ import annotations

import math

from actrace.store.catalogue.summary import RunSummary
from actrace.store.describe import clean

__all__ = ["state_in_words"]

_STATUS = {"interrupted": "interrupted: its writer is gone without closing it"}


def state_in_words(summary: RunSummary) -> str:
    """Return how far a run is, and the numbers of its latest epoch.

    Parameters
    ----------
    summary : RunSummary

    Returns
    -------
    str
        Safe for a terminal; not escaped for HTML.

    Examples
    --------
    >>> from actrace.store.catalogue.last_epoch import EpochMean, LastEpoch
    >>> from actrace.store.catalogue.summary import PhaseSummary
    >>> train = PhaseSummary(184, 8, LastEpoch(loss=EpochMean(7, 1437, 0.02)))
    >>> state_in_words(RunSummary("good", "good.zarr", "recording", {"train": train}))
    'good: recording, epoch 7, train 184 batches, loss 0.02'
    """
    parts = [_STATUS.get(summary.status, clean(summary.status, 40))]
    parts += [f"epoch {summary.epochs - 1}"] if summary.epochs else []
    for name, phase in summary.phases.items():
        parts.append(f"{clean(name, 40)} {_count(phase.batches)}")
        loss = phase.last.loss.mean
        parts += [] if math.isnan(loss) else [f"loss {loss:.4g}"]
    apart = summary.understanding
    parts += [] if math.isnan(apart) else [f"understanding {apart:.3g}"]
    parts += [] if summary.phases else ["no batch yet"]
    lost = sum(summary.lost.values())
    parts += [f"{lost:,} lost"] if lost else []
    if summary.problem:
        parts.append(clean(summary.problem, 300))
    return f"{clean(summary.name, 80)}: {', '.join(parts)}"


def _count(batches: int) -> str:
    return "1 batch" if batches == 1 else f"{batches:,} batches"

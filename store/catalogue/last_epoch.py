"""How a run's last epoch went, in a few numbers that ride in its root document.

The writer adds every batch and window as it comes; the catalogue reads the
result without opening an array. Imports NumPy.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["EpochMean", "LastEpoch"]


@dataclass(frozen=True, slots=True)
class EpochMean:
    """A weighted mean over the latest epoch that it was told of.

    Attributes
    ----------
    epoch : int
        -1 before any.
    n : int
        Weight: samples or elements.
    mean : float
        NaN without weight.
    """

    epoch: int = -1
    n: int = 0
    mean: float = math.nan

    def merge(self, other: EpochMean) -> EpochMean:
        """Return the mean of both; of the later one where they are of two epochs.

        Examples
        --------
        >>> EpochMean(1, 30, 2.0).merge(EpochMean(1, 10, 4.0))
        EpochMean(epoch=1, n=40, mean=2.5)
        >>> EpochMean(1, 30, 2.0).merge(EpochMean(2, 10, 4.0))
        EpochMean(epoch=2, n=10, mean=4.0)
        """
        if self.epoch != other.epoch:
            return self if self.epoch > other.epoch else other
        if not self.n or not other.n:
            return self if self.n else other
        n = self.n + other.n
        return EpochMean(self.epoch, n, (self.n * self.mean + other.n * other.mean) / n)

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON holds it; a mean that JSON lacks becomes its text."""
        mean = self.mean if math.isfinite(self.mean) else str(self.mean)
        return {"epoch": self.epoch, "n": self.n, "mean": mean}

    @classmethod
    def from_dict(cls, found: Any) -> EpochMean:
        """Return what `to_dict` gave.

        Raises
        ------
        ValueError
            Something else was given.
        """
        if not isinstance(found, Mapping):
            raise ValueError(f"expected a mean of an epoch, got {found!r}")
        epoch, n, mean = (found.get(name) for name in ("epoch", "n", "mean"))
        if not isinstance(epoch, int) or not isinstance(n, int):
            raise ValueError(f"expected whole numbers epoch and n, got {dict(found)!r}")
        if not isinstance(mean, (float, int, str)):
            raise ValueError(f"expected a number mean, got {mean!r}")
        return cls(epoch, n, float(mean))


_NONE: Final = EpochMean()


def _mean(epochs: NDArray[Any], values: NDArray[Any], weights: NDArray[Any]) -> EpochMean:
    """Return the mean over the latest epoch among some rows, those that are NaN left out."""
    epoch = int(epochs.max())
    known = (epochs == epoch) & ~np.isnan(values) & (weights > 0)
    n = int(weights[known].sum())
    if not n:
        return EpochMean(epoch)
    with np.errstate(all="ignore"):
        # A loss that has run away sums up to infinity.
        return EpochMean(epoch, n, float(values[known] @ weights[known].astype(np.float64) / n))


@dataclass(frozen=True, slots=True)
class LastEpoch:
    """The latest epoch of one phase, as far as it has come.

    Attributes
    ----------
    loss : EpochMean
        Of the batches' losses, weighted with samples.
    yes, no : EpochMean
        Of the output where the answer is YES and where it is NO, finite elements.
    """

    loss: EpochMean = _NONE
    yes: EpochMean = _NONE
    no: EpochMean = _NONE

    @property
    def understanding(self) -> float:
        """Distance of the means of YES and NO, NaN where there are none."""
        return self.yes.mean - self.no.mean if self.yes.epoch == self.no.epoch else math.nan

    def with_batches(
        self, epochs: NDArray[Any], losses: NDArray[Any], samples: NDArray[Any]
    ) -> LastEpoch:
        """Return it with some batches more, arrays of shape (batches,)."""
        return replace(self, loss=self.loss.merge(_mean(epochs, losses, samples)))

    def with_windows(self, epochs: NDArray[Any], values: Mapping[str, NDArray[Any]]) -> LastEpoch:
        """Return it with some windows of the output group more.

        Parameters
        ----------
        epochs : ndarray, shape (windows,)
        values : mapping of str to ndarray
            ``elements_by_unit``, ``nonfinite_by_unit`` and ``mean_by_unit``, each of
            shape (windows, units, 2); the last dimension is the role, yes and no.
        """
        elements, odd, means = (
            np.asarray(values[f"{name}_by_unit"]) for name in ("elements", "nonfinite", "mean")
        )
        finite = elements.astype(np.int64) - odd.astype(np.int64)
        at = np.repeat(epochs, means.shape[1])
        yes, no = (
            _mean(at, means[..., role].ravel(), finite[..., role].ravel()) for role in (0, 1)
        )
        return replace(self, yes=self.yes.merge(yes), no=self.no.merge(no))

    def merge(self, other: LastEpoch) -> LastEpoch:
        """Return the last epoch of two ranks' phases."""
        return LastEpoch(
            self.loss.merge(other.loss), self.yes.merge(other.yes), self.no.merge(other.no)
        )

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON holds it."""
        return {name: getattr(self, name).to_dict() for name in ("loss", "yes", "no")}

    @classmethod
    def from_dict(cls, found: Any) -> LastEpoch:
        """Return what `to_dict` gave.

        Raises
        ------
        ValueError
            Something else was given.
        """
        if not isinstance(found, Mapping):
            raise ValueError(f"expected the means of an epoch, got {found!r}")
        return cls(*(EpochMean.from_dict(found.get(name)) for name in ("loss", "yes", "no")))

    @classmethod
    def unknown(cls, epoch: int) -> LastEpoch:
        """Return one that knows nothing of `epoch`, nor will, and of later epochs all."""
        lost = EpochMean(epoch, 1)
        return cls(lost, lost, lost)

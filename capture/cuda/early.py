"""Device memory of one layer in the first batch, before the layers share a ring's rows.

May import torch.
"""

from __future__ import annotations

from typing import Final

import torch

from actrace.capture.cuda.layout import RowLayout

__all__ = ["EarlyRow"]

#: Numbers of units that one layer's activity is counted for, besides its first.
_MOST_OTHERS: Final = 8


class EarlyRow:
    """Memory of one layer in the first batch.

    Parameters
    ----------
    n_bins, units : int
    device : torch.device
    partial : bool
        See `RowLayout`.

    Attributes
    ----------
    units : int
    layout : RowLayout
    words : Tensor, shape (1, n_words), int64
    """

    def __init__(
        self, n_bins: int, units: int, device: torch.device, *, partial: bool = False
    ) -> None:
        self.units = units
        self.layout = RowLayout.of(n_bins, [units], partial=partial)
        with torch.inference_mode(False):
            self.words = torch.from_numpy(self.layout.blank()).to(device).view(1, -1)
            self.zero = torch.zeros(1, dtype=torch.int64, device=device)

    def widen(self, units: int) -> None:
        """Make room for the activity of calls with other units, if these are not too many."""
        old = self.layout
        if len(old.others) >= _MOST_OTHERS:
            return
        self.layout = RowLayout.of(
            old.n_bins, old.units, (*old.others, (0, units)), partial=old.partial
        )
        with torch.inference_mode(False):
            words = torch.from_numpy(self.layout.blank()).to(self.words.device).view(1, -1)
            words[:, : old.loss] = self.words[:, : old.loss]
        self.words = words

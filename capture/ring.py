"""The batches between the training's thread and the writer's: a ring of rows.

The training adds up one row and hands it over; the writer's thread takes rows
in their order and gives them back empty. Each side changes one number and reads
the other's, so there is no lock that a signal or a fork could leave held.
Memory is fixed. Imports NumPy and the batch's value.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from actrace.capture.batch import Batch
from actrace.capture.kernels.slots import N_SUMS, N_TALLIES
from actrace.capture.slot_table import SlotTable

__all__ = ["FEWEST_ROWS", "KEPT_BYTES", "MOST_ROWS", "RING_BYTES", "Ring"]

RING_BYTES: Final = 32 * 2**20
FEWEST_ROWS: Final = 8
MOST_ROWS: Final = 256
#: Memory of outputs and targets that may wait for their labels to be counted.
KEPT_BYTES: Final = 64 * 2**20


class Ring:
    """Statistics of the last batches of all layers.

    Parameters
    ----------
    n_bins : int
    units : sequence of int
        Units of each layer, 0 for one whose activity is kept elsewhere.

    Attributes
    ----------
    table : SlotTable
    batches : list of Batch or None
        What else is known of each row's batch.
    given : int
        Rows handed over in all; the training's thread alone changes it.
    ended : int
        Rows whose batch has ended, in all, where some wait to be handed over; 0 otherwise.
    taken : int
        Rows given back in all; the writer's thread alone changes it.
    bytes_given, bytes_taken : int
        Memory of the outputs and targets that came with them.
    """

    def __init__(self, n_bins: int, units: Sequence[int]) -> None:
        row = 8 * (len(units) * (n_bins + N_TALLIES + N_SUMS) + sum(units))
        self.n_rows = min(MOST_ROWS, max(FEWEST_ROWS, RING_BYTES // max(1, row)))
        self.table = SlotTable(n_bins, units, self.n_rows)
        self.batches: list[Batch | None] = [None] * self.n_rows
        self.given = self.bytes_given = self.ended = 0
        self.taken = self.bytes_taken = 0

    @property
    def at(self) -> int:
        """The row that the training adds up."""
        return self.opened % self.n_rows

    @property
    def opened(self) -> int:
        """Rows that the training is done with: handed over, or waiting for it."""
        return max(self.given, self.ended)

    @property
    def full(self) -> bool:
        """Whether the training has no row to add up, or too much else waits."""
        return not self.has_row or self.waiting_bytes > KEPT_BYTES

    @property
    def has_row(self) -> bool:
        """Whether the row at `at` is the training's, not one that waits to be taken."""
        return self.opened - self.taken < self.n_rows

    @property
    def waiting_bytes(self) -> int:
        """Memory of outputs and targets whose labels are not counted yet."""
        return self.bytes_given - self.bytes_taken

    def give(self, batch: Batch) -> None:
        """Hand the next row over: it is `batch`. Called by the training."""
        self.batches[self.given % self.n_rows] = batch
        self.given += 1
        self.bytes_given += batch.kept_bytes

    def ready(self) -> tuple[int, list[Batch]]:
        """Return the first row to take and its batches, as far as rows lie side by side."""
        start = self.taken % self.n_rows
        n = min(self.given - self.taken, self.n_rows - start)
        return start, [batch for batch in self.batches[start : start + n] if batch is not None]

    def take(self, n: int) -> None:
        """Give `n` rows back, empty. Called by the writer's thread."""
        start = self.taken % self.n_rows
        kept = sum(batch.kept_bytes for batch in self.batches[start : start + n] if batch)
        self.table.clear(start, start + n)
        self.batches[start : start + n] = [None] * n
        self.bytes_taken += kept
        self.taken += n

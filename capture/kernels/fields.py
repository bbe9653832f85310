"""The record that tells the compiled walk how to read a tensor, and its sizes.

Imports nothing.
"""

from __future__ import annotations

from typing import Final

__all__ = [
    "APART",
    "BLOCK",
    "FIELDS",
    "HEAD",
    "NEAR_AT",
    "N_FIELDS",
    "PLACES",
    "RUNS",
    "TILE",
    "TILE_AT",
]

#: Fields of a record, int64 each; `threshold` holds a float64's bits.
# fmt: off
FIELDS: Final = (
    "n", "row", "units", "inner", "span", "step", "length", "group", "way", "flags",
    "count", "count_step", "tally", "tally_step", "sums", "sums_step", "active", "active_step",
    "n_bins", "plain", "packed", "first", "climb", "threshold", "kind", "values",
    "scratch", "scratch_step", "scratches", "release", "sampling", "cut",
)
(
    N, ROW, UNITS, INNER, SPAN, STEP, LENGTH, GROUP, WAY, FLAGS,
    COUNT, COUNT_STEP, TALLY, TALLY_STEP, SUMS, SUMS_STEP, ACTIVE, ACTIVE_STEP,
    N_BINS, PLAIN, PACKED, FIRST, CLIMB, THRESHOLD, KIND, VALUES,
    SCRATCH, SCRATCH_STEP, SCRATCHES, RELEASE, SAMPLING, CUT,
) = range(32)
# fmt: on
N_FIELDS: Final = 32

#: Elements in a block at most.
BLOCK: Final = 2048
#: Places whose activity is counted side by side before it goes to the units.
TILE: Final = 1024
#: A scratch: a block in float64, one in float32, a tile, then the histograms.
NEAR_AT: Final = 8 * BLOCK
TILE_AT: Final = 12 * BLOCK
HEAD: Final = 12 * BLOCK + 4 * TILE
#: Ways to count activity: with the moments, a run of one unit at a time or place by
#: place; otherwise in a loop of its own.
RUNS: Final = 0
PLACES: Final = 1
APART: Final = 2

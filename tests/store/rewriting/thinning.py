"""Runs with epochs that are longer than a column of a level, to be thinned."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xarray as xr
from tests.store import recording as rec
from tests.store.checking import sound

#: Batches of an epoch, and of a run: the columns of 16 that no end falls into are these.
EPOCH, N = 50, 200
FREE = [0, 1, 4, 7, 10]


def write_run(path: Path, n: int = N, *, epoch: int = EPOCH, **settings: object) -> Path:
    """Write a run of `n` training batches and half as many for validation."""
    writer = rec.new_writer(path, **settings)
    writer.declare_gradients(sound.INFO)
    for phase, length in (("train", n), ("valid", n // 2)):
        writer.declare_output(phase, rec.OUTPUT)
        for index in range(length):
            row = sound.batch_row(phase, index)
            row.epoch = index // epoch if phase == "train" else index // (epoch // 2)
            writer.append_batch(row)
            if index % 4 == 3:
                writer.append_window(sound.output_window(phase, index // 4, 4))
                writer.append_window(rec.unit_window(phase, index // 4, 4))
    writer.close()
    return writer.path


def blanks(path: Path, phase: str = "train") -> np.ndarray:
    """Return which (layer, batch) plain xarray reads as never written, in every bin."""
    with xr.open_datatree(path, engine="zarr", decode_times=False) as tree:
        count = tree[phase]["count"].values
    blank = count == np.iinfo(count.dtype).max
    assert (blank.all(1) == blank.any(1)).all()
    return np.asarray(blank.all(1))


def columns(blank: np.ndarray) -> list[int]:
    """Return the columns of 16 batches that are blank, all of each."""
    whole = blank[: len(blank) // 16 * 16].reshape(-1, 16)
    assert (whole.all(1) == whole.any(1)).all()
    assert not blank[len(whole) * 16 :].any()
    return np.flatnonzero(whole.all(1)).tolist()

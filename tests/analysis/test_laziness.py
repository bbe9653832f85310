"""Asking computes nothing; answering does not depend on how the run is chunked."""

from __future__ import annotations

from collections.abc import Callable

import dask
import dask.array
import numpy as np
import pytest
import xarray as xr
from tests.synthetic import synthetic_run

from actrace.analysis.classes import class_report
from actrace.analysis.divergence import divergence
from actrace.analysis.peaks import find_peaks
from actrace.analysis.rates import rates
from actrace.analysis.twin_peaks import twin_peaks

QUESTIONS: dict[str, Callable[[xr.DataTree], xr.Dataset]] = {
    "twin_peaks": twin_peaks,
    "twin_peaks by class": lambda run: twin_peaks(run, by="class"),
    "twin_peaks by unit": lambda run: twin_peaks(run, by="unit", window="epoch"),
    "class_report": class_report,
    "find_peaks": find_peaks,
    "divergence": divergence,
    "divergence by class": lambda run: divergence(run, by="class"),
    "rates by batch": rates,
    "rates by epoch": lambda run: rates(run, by="epoch"),
}
#: Small coordinates that say which batches a question is about.
SMALL = {"epoch", "first_batch", "batches", "samples", "step", "unit_layer"}


@pytest.fixture(scope="module")
def in_memory() -> xr.DataTree:
    return synthetic_run(n_batches=9)


def chunked(run: xr.DataTree, **chunks: int) -> xr.DataTree:
    return run.map_over_datasets(
        lambda ds: ds.chunk({k: v for k, v in chunks.items() if k in ds.dims})
    )


def guarded(run: xr.DataTree) -> xr.DataTree:
    """Return the run with every array but the small ones failing when computed."""

    def fail(block: np.ndarray) -> np.ndarray:
        raise AssertionError("computed before it was asked for")

    def guard(ds: xr.Dataset) -> xr.Dataset:
        return ds.assign(
            {
                name: variable.copy(
                    data=dask.array.map_blocks(
                        fail,
                        dask.array.from_array(variable.values, chunks=-1),
                        meta=variable.values[:0],
                    )
                )
                for name, variable in ds.data_vars.items()
                if name not in SMALL
            }
        )

    return run.map_over_datasets(guard)


@pytest.mark.parametrize("name", QUESTIONS)
def test_asking_computes_nothing(name: str, in_memory: xr.DataTree) -> None:
    found = QUESTIONS[name](guarded(in_memory))
    assert all(variable.chunks is not None for variable in found.values())
    with pytest.raises(AssertionError, match="before it was asked"):
        found.compute()


@pytest.mark.parametrize("name", QUESTIONS)
@pytest.mark.parametrize(
    "chunks",
    [
        {"batch": 1, "window": 1},
        {"batch": 4, "window": 5, "layer": 1},
        {"batch": 7, "window": 2, "bin": 100, "unit": 3, "role": 1, "output_unit": 2},
    ],
    ids=["single", "ragged", "everywhere"],
)
def test_answers_are_the_same_to_the_last_bit_for_any_chunks(
    name: str, chunks: dict[str, int], in_memory: xr.DataTree
) -> None:
    question = QUESTIONS[name]
    with dask.config.set(scheduler="synchronous"):
        expected, found = (
            question(in_memory).compute(),
            question(chunked(in_memory, **chunks)).compute(),
        )
    xr.testing.assert_identical(expected, found)


def test_threads_give_the_same_answers(in_memory: xr.DataTree) -> None:
    run = chunked(in_memory, batch=2, window=2)
    with dask.config.set(scheduler="threads", num_workers=4):
        threads = twin_peaks(run).compute()
    xr.testing.assert_identical(threads, twin_peaks(in_memory).compute())

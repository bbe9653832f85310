"""The same answers from memory, from disk through the opener, and by plain xarray."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import xarray as xr
from tests.analysis.storing import write
from tests.synthetic import synthetic_run

from actrace.analysis.classes import class_report
from actrace.analysis.divergence import divergence
from actrace.analysis.peaks import find_peaks
from actrace.analysis.rates import rates
from actrace.analysis.table import epoch_table
from actrace.analysis.twin_peaks import twin_peaks
from actrace.store.reader import open_run
from actrace.store.run import Run

QUESTIONS = {
    "twin_peaks": twin_peaks,
    "twin_peaks by class": lambda run: twin_peaks(run, by="class"),
    "class_report": class_report,
    "find_peaks": find_peaks,
    "divergence": divergence,
    "divergence by class": lambda run: divergence(run, by="class"),
    "rates by batch": rates,
    "rates by epoch": lambda run: rates(run, by="epoch"),
}


@pytest.fixture(scope="module")
def in_memory() -> Run:
    return synthetic_run(n_batches=6, window=2)


@pytest.fixture(scope="module")
def path(in_memory: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "made.zarr"
    write(in_memory, path)
    return path


@pytest.mark.parametrize("name", QUESTIONS)
def test_a_stored_run_answers_as_the_one_in_memory(name: str, in_memory: Run, path: Path) -> None:
    question = QUESTIONS[name]
    expected = question(in_memory).compute()
    with open_run(path) as run:
        xr.testing.assert_equal(question(run).compute(), expected)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # plain xarray's own, about consolidated metadata
        tree = xr.open_datatree(path)
    lazy = question(tree)
    assert all(variable.chunks is not None for variable in lazy.values())
    xr.testing.assert_equal(lazy.compute(), expected)
    tree.close()


def test_the_table_is_the_same_too(in_memory: Run, path: Path) -> None:
    with open_run(path) as run:
        assert epoch_table(run) == epoch_table(in_memory)

"""`actrace.runs`: one row a run, and only those asked for."""

from __future__ import annotations

import pandas as pd
import pytest
from tests.store import recording as rec

import actrace


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("table")
    settings = {
        "a": {"tags": ["good", "new"], "config": {"lr": 0.1, "optimizer": {"name": "sgd"}}},
        "sub/b": {"tags": ["new"], "config": {"lr": 0.01, "a.b": 1}},
        "sub/c": {},
    }
    for name, attributes in settings.items():
        rec.write_run(folder / name, 12, attributes=attributes)
    (rec.write_run(folder / "bad", 4) / "zarr.json").write_text("{")
    return folder


def test_a_row_a_run(folder):
    table = actrace.runs(folder)
    assert table.index.tolist() == ["a", "bad", "sub/b", "sub/c"]
    a = table.loc["a"]
    assert (a.status, a.phases, a.batches, a.epochs, a.layers) == ("finished", ("train",), 12, 2, 3)
    assert a.tags == ("good", "new")
    assert (a["config.lr"], a["config.optimizer.name"]) == (0.1, "sgd")
    assert a.train_loss == pytest.approx(
        sum(rec.batch_row("train", i).loss for i in (10, 11)) / 2, rel=1e-12
    )
    assert pd.isna(a.valid_loss)
    assert a.started.tzinfo is not None
    assert a.duration >= pd.Timedelta(0)
    assert a.path == str(folder / "a.zarr")
    assert table.loc["bad"].status == "damaged"
    assert "not whole JSON" in table.loc["bad"].problem


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({"tags": "new"}, ["a", "sub/b"]),
        ({"tags": ["new", "good"]}, ["a"]),
        ({"status": "damaged"}, ["bad"]),
        ({"status": ["damaged", "failed"]}, ["bad"]),
        ({"config": {"lr": 0.1}}, ["a"]),
        ({"config": {"lr": lambda lr: lr < 0.05}}, ["sub/b"]),
        ({"config": {"optimizer.name": "sgd"}}, ["a"]),
        ({"config": {"a.b": 1}}, ["sub/b"]),
        ({"config": {"lr.x": 1}}, []),
        ({"name": "sub/*"}, ["sub/b", "sub/c"]),
        ({"depth": 0}, ["a", "bad"]),
    ],
)
def test_runs_are_chosen(folder, asked, found):
    assert actrace.runs(folder, **asked).index.tolist() == found


def test_an_unknown_status_says_which_there_are(folder):
    with pytest.raises(ValueError, match=r"status is one of recording, finished, .*; got 'done'"):
        actrace.runs(folder, status="done")


def test_an_empty_folder_is_an_empty_table(tmp_path):
    table = actrace.runs(tmp_path)
    assert len(table) == 0
    assert "train_loss" in table.columns

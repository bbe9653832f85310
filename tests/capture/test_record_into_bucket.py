"""`actrace.record` into a bucket: the same run as on a disk, and the training left alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import obstore
import pytest
import torch
import xarray as xr
from torch import nn

import actrace
from actrace.errors import ActraceWarning, RunExistsError, RunLockedError
from actrace.store.catalogue.table import flat_config
from actrace.store.sources.bucket import connect

ROOT = Path(__file__).parents[2]


def train(path, **settings):
    """Train a little network, the same each time, and return the opened run and its weights."""
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    loss_fn, optimizer = nn.CrossEntropyLoss(), torch.optim.SGD(model.parameters(), 0.1)
    with actrace.record(model, path, criterion=loss_fn, **settings):
        for _ in range(3):
            model.train()
            for _ in range(40):
                loss = loss_fn(model(torch.randn(16, 4)), torch.randint(3, (16,)))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            model.eval()
            with torch.no_grad():
                loss_fn(model(torch.randn(16, 4)), torch.randint(3, (16,)))
    return actrace.open(path), [p.detach().clone() for p in model.parameters()]


def assert_same(one, other):
    """Assert that two runs hold the same but for the time of day."""
    assert [node.path for node in one.subtree] == [node.path for node in other.subtree]
    for a, b in zip(one.subtree, other.subtree, strict=True):
        first, second = (
            node.to_dataset(inherit=False).drop_vars("time", errors="ignore").drop_attrs(deep=False)
            for node in (a, b)
        )
        xr.testing.assert_identical(first, second)


def test_everything_that_is_recorded_is_there(bucket, tmp_path):
    """Layers, labels, units, gradients of parameters and outputs, levels and the summary."""
    settings = {"gradients": "outputs", "tags": ["x"], "config": {"lr": 0.1}}
    remote, weights = train(f"{bucket}/runs/a", **settings)
    local, others = train(tmp_path / "a", **settings)
    assert_same(remote, local)
    assert all(torch.equal(a, b) for a, b in zip(weights, others, strict=True))
    # Sums are taken as batches come to the writer, some at once: their last digits may differ.
    summaries = [flat_config(run.attrs["summary"]["phases"]) for run in (remote, local)]
    assert summaries[0] == pytest.approx(summaries[1], rel=1e-12)
    assert len(summaries[0]) > 10
    peaks = [actrace.twin_peaks(run).compute() for run in (remote, local)]
    xr.testing.assert_identical(*peaks)


def test_a_resumed_training_goes_on_where_it_was(bucket):
    url = f"{bucket}/a"
    train(url)
    run, _ = train(url, resume=True)
    assert (run.n_batches("train"), run.n_batches("valid")) == (240, 6)
    assert run["train"]["step"].values.tolist() == list(range(240))
    with pytest.raises(RunExistsError, match="resume=True"):
        train(url)
    run, _ = train(url, overwrite=True)
    assert run.n_batches("train") == 120
    assert train(f"{bucket}/new", resume=True)[0].n_batches("train") == 120


def test_a_second_recorder_is_refused_and_the_first_undisturbed(bucket):
    model = nn.Linear(2, 2)
    with actrace.record(model, f"{bucket}/a") as recorder:
        assert recorder.path == f"{bucket}/a.zarr"
        assert f"{bucket}/a.zarr" in repr(recorder)
        model(torch.zeros(1, 2))
        for how in ("resume", "overwrite"):
            with pytest.raises(RunLockedError, match="is being written by"):
                actrace.record(nn.Linear(2, 2), f"{bucket}/a", **{how: True})
        model(torch.zeros(1, 2))
    assert actrace.open(f"{bucket}/a").n_batches("train") == 2


def test_several_processes_record_below_one_url(bucket, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    with pytest.warns(ActraceWarning, match="without rank 0"):
        train(f"{bucket}/a", distributed=True)
    monkeypatch.setenv("RANK", "0")
    train(f"{bucket}/a", distributed=True)
    run, _ = train(f"{bucket}/a", distributed=True, resume=True)
    assert len(run.ranks) == 2
    assert run["train"]["samples"].values[:120].tolist() == [32] * 120
    monkeypatch.delenv("RANK")
    with pytest.raises(RunExistsError, match="a run of several processes lies at"):
        train(f"{bucket}/a", overwrite=True)
    train(f"{bucket}/b")
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(RunExistsError, match="a run of one process lies at"):
        train(f"{bucket}/b", overwrite=True)


def test_keys_are_written_nowhere(bucket, endpoint, monkeypatch, capfd, caplog):
    for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"):
        monkeypatch.delenv(name)
    options = {
        "endpoint": endpoint,
        "access_key_id": "open-sesame-id",
        "secret_access_key": "open-sesame",
        "region": "us-east-1",
    }
    model = nn.Linear(2, 2)
    recorder = actrace.record(model, f"{bucket}/a", storage_options=options)
    model(torch.zeros(1, 2))
    with pytest.raises(RunLockedError) as caught:
        actrace.record(nn.Linear(2, 2), f"{bucket}/a", resume=True, storage_options=options)
    said = [str(caught.value), repr(recorder), recorder._repr_html_(), str(recorder.report())]
    recorder.close()
    store = connect(f"{bucket}/a.zarr", options)
    for batch in obstore.list(store):
        for found in batch:
            answer = obstore.get(store, found["path"])
            said += [str(answer.attributes), bytes(answer.bytes()).decode("latin-1")]
    said += [*capfd.readouterr(), caplog.text]
    assert "sesame" not in "".join(said)


@pytest.mark.parametrize(
    ("end", "status"),
    [("", "finished"), ("raise SystemExit(0)", "finished"), ("raise ValueError", "failed")],
)
def test_a_recorder_that_nobody_closes_is_closed_at_exit(bucket, end, status):
    """Also with children forked meanwhile, which end as they please."""
    code = f"""
import os, sys, torch, actrace
from torch import nn
model = nn.Linear(2, 2)
recorder = actrace.record(model, sys.argv[1])
for n in range(30):
    model(torch.zeros(1, 2))
    if n % 10 == 5:
        recorder.flush()
        child = os.fork()
        if child == 0:
            sys.exit(0) if n > 10 else os._exit(0)
        os.waitpid(child, 0)
{end}
"""
    done = subprocess.run(
        [sys.executable, "-c", code, f"{bucket}/a"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == (1 if status == "failed" else 0), done.stderr
    assert "actrace" not in done.stderr
    run = actrace.open(f"{bucket}/a")
    assert (run.status, run.n_batches("train")) == (status, 30)

"""A signal that raises anywhere in a training neither hangs the recorder nor harms the run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

import actrace

ROOT = Path(__file__).parents[2]

INTERRUPTED = """
import faulthandler, json, random, signal, sys
import torch
from torch import nn
import actrace

class Stop(BaseException):
    pass

def stop(*_):
    raise Stop

faulthandler.dump_traceback_later(240, exit=True)
torch.set_num_threads(1)
model, loss_fn = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)), nn.CrossEntropyLoss()
x, y = torch.randn(5, 4), torch.randint(3, (5,))
recorder = actrace.record(model, sys.argv[1], criterion=loss_fn, flush_seconds=0.0)
loss_fn(torch.zeros(5, 3), y)  # else the first interrupts let it look as if it were never called
rng = random.Random(1)
signal.signal(signal.SIGALRM, stop)
interrupts = returned = 0
while interrupts < int(sys.argv[2]):
    try:
        signal.setitimer(signal.ITIMER_REAL, rng.uniform(5e-5, 3e-3))
        while True:
            loss_fn(model(x), y)
            returned += 1
    except Stop:
        interrupts += 1
signal.setitimer(signal.ITIMER_REAL, 0)
signal.signal(signal.SIGALRM, signal.SIG_IGN)
recorder.close()
report = recorder.report()
print(json.dumps({"returned": returned, "remarks": report.remarks, "lost": report.lost}))
"""


def test_signals_that_raise_at_random_moments_hang_nothing(tmp_path: Path, repeats: int) -> None:
    """A lock that the training held at such a moment would stop writer and training for good."""
    interrupts = 200 * repeats
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, str(tmp_path / "run"), str(interrupts)],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    found = json.loads(done.stdout)
    assert found["remarks"] == []
    assert found["lost"] == {}
    run = actrace.open(tmp_path / "run")
    train = run["train"].to_dataset()
    assert run.status == "finished"
    # What an interrupt in the recorder itself costs is less than a batch each.
    assert (
        found["returned"] - interrupts
        <= run.n_batches("train")
        <= found["returned"] + 2 * (interrupts)
    )
    assert (train["calls"] == 1).all()
    assert (train["samples"] == 5).all()
    np.testing.assert_array_equal(train["count"].sum("bin"), train["elements"])
    assert (np.diff(train["step"]) >= 1).all()
    for group in ("unit", "output"):
        # Windows may be missing, never doubled and never of batches that are not there.
        windows = run["train"][group].to_dataset().load()
        first, batches = windows["first_batch"].values, windows["batches"].values
        assert (first[1:] >= (first + batches)[:-1]).all()
        assert (first + batches)[-1] <= run.n_batches("train")
    units = run["train/unit"].to_dataset().load()
    np.testing.assert_array_equal(
        units["total"], np.broadcast_to(5 * units["batches"], units["total"].shape)
    )
    output = run["train/output"].to_dataset().load()
    # A batch whose criterion was interrupted has no labels, and is in its window all the same.
    missing = 5 * output["batches"] - output["samples"].sum("target_class").astype(int)
    assert (missing >= 0).all()
    assert (missing % 5 == 0).all()
    assert int(missing.sum()) <= 5 * interrupts

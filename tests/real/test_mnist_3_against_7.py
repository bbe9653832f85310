"""The twin peaks' first example on its own data: MNIST, 3 against 7.

Runs where ``mnist.npz`` is (``--data DIR``); says so where it is not.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn

import actrace

CHECKPOINTS = 6
BATCH = 64


class ConvNet(nn.Sequential):
    """Two convolutions and one logit: is it a 7?"""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(1, 8, 5, stride=2),
            nn.ReLU(),
            nn.Conv2d(8, 16, 5, stride=2),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(16 * 4 * 4, 1),
        )


def threes_and_sevens(images: np.ndarray, labels: np.ndarray) -> tuple[Tensor, Tensor]:
    """Return images (n, 1, 28, 28) of 3 and 7 and whether each is a 7, shape (n, 1)."""
    wanted = np.isin(labels, (3, 7))
    x = torch.tensor(images[wanted], dtype=torch.float32)[:, None] / 255
    y = torch.tensor(labels[wanted] == 7, dtype=torch.float32)[:, None]
    return x, y


def test_one_epoch_parts_the_peaks_as_accuracy_rises(tmp_path: Path, data_dir: Path) -> None:
    with np.load(data_dir / "mnist.npz") as data:
        x, y = threes_and_sevens(data["x_train"], data["y_train"])
        x_valid, y_valid = threes_and_sevens(data["x_test"], data["y_test"])
    torch.manual_seed(1)
    model, loss_fn = ConvNet(), nn.BCEWithLogitsLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
    parts = torch.randperm(len(x)).tensor_split(CHECKPOINTS)

    with actrace.record(
        model, tmp_path / "mnist", criterion=loss_fn, classes=["3", "7"]
    ) as recorder:
        # One pass over the data, looked at six times: each part stands as an epoch.
        for checkpoint, part in enumerate(parts):
            recorder.epoch(checkpoint)
            model.train()
            for batch in part.split(BATCH):
                loss = loss_fn(model(x[batch]), y[batch])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            model.eval()
            with torch.no_grad():
                for batch_x, batch_y in zip(x_valid.split(256), y_valid.split(256), strict=True):
                    loss_fn(model(batch_x), batch_y)

    run = actrace.open(tmp_path / "mnist")
    labelled = actrace.twin_peaks(run).sel(phase="valid").compute()
    peaks = actrace.find_peaks(run, phases=["valid"]).sel(phase="valid").compute()

    with torch.no_grad():
        accuracy = float(((model(x_valid) > 0) == (y_valid > 0.5)).double().mean())
    assert labelled["accuracy"].values[-1] == pytest.approx(accuracy, abs=1e-9)
    assert accuracy > 0.95
    assert int(peaks["n_peaks"].values[-1]) == 2
    rank = spearmanr(labelled["understanding"], labelled["accuracy"]).statistic
    assert rank > 0.8
    assert labelled["understanding"].values[-1] > 2 * labelled["understanding"].values[0]

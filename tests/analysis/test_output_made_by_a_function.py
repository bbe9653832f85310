"""A model whose output no layer returns: the labelled answers stand all the same."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import actrace
from actrace.analysis.table import epoch_table
from actrace.errors import NotRecordedError


class LogSoftmaxNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.log_softmax(self.fc(x), dim=1)


@pytest.fixture
def run(tmp_path: Path) -> actrace.Run:
    model, loss_fn = LogSoftmaxNet(), nn.NLLLoss()
    with actrace.record(model, tmp_path / "a", criterion=loss_fn):
        for training in (True, True, False, False):
            model.train(training)
            loss_fn(model(torch.randn(32, 4)), torch.randint(3, (32,)))
    return actrace.open(tmp_path / "a")


def test_twin_peaks_and_their_chart_are_there(run: actrace.Run, tmp_path: Path) -> None:
    assert actrace.twin_peaks(run)["elements_yes"].sum() > 0
    actrace.save_chart(actrace.twin_peaks_chart(run), tmp_path / "peaks.png")


def test_the_epoch_table_leaves_out_what_is_not_recorded(run: actrace.Run) -> None:
    (row,) = epoch_table(run)
    assert row.d_prime == row.d_prime
    assert row.divergence != row.divergence


def test_find_peaks_says_why_it_needs_a_layer(run: actrace.Run) -> None:
    with pytest.raises(NotRecordedError, match=r"'LogSoftmaxNet'.*layer="):
        actrace.find_peaks(run)
    assert actrace.find_peaks(run, layer="fc")["n_peaks"].sizes == {"phase": 2, "epoch": 1}

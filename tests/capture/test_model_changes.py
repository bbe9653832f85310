"""A model that is changed after record: what is no longer seen is said, once."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.capture.models import ConvNet, digits
from torch import nn

import actrace
from actrace.errors import ActraceWarning


@pytest.mark.parametrize("when", ["flush", "close"])
def test_a_layer_that_was_replaced_is_said(tmp_path: Path, when: str) -> None:
    model = ConvNet()
    recorder = actrace.record(model, tmp_path / "run")
    model(digits(4)[0])
    assert recorder.flush()
    assert recorder.report().remarks == ()
    model.fc = nn.Linear(54, 7)
    model(digits(4)[0])
    with pytest.warns(ActraceWarning, match=r"replaced.*'fc' \(Linear, now Linear\).*resume=True"):
        getattr(recorder, when)()
    recorder.close()
    assert len(recorder.report().remarks) == 1
    assert actrace.open(tmp_path / "run")["train"]["calls"].sel(layer="fc").values.tolist() == [
        1,
        0,
    ]
    with actrace.record(model, tmp_path / "run", resume=True) as recorder:
        model(digits(4)[0])
    found = actrace.open(tmp_path / "run")["train"]["calls"].sel(layer="fc").values.tolist()
    assert found == [1, 0, 1]


def test_layers_that_were_added_are_said(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(8, 3))
    recorder = actrace.record(model, tmp_path / "run")
    model(torch.ones(2, 8))
    model.append(nn.ReLU())
    model(torch.ones(2, 8))
    with pytest.warns(ActraceWarning, match="added since record.*'1'"):
        recorder.close()


def test_a_conversion_of_batch_norms_is_said(tmp_path: Path) -> None:
    model = ConvNet()
    recorder = actrace.record(model, tmp_path / "run")
    model(digits(4)[0])
    nn.SyncBatchNorm.convert_sync_batchnorm(model)
    with pytest.warns(ActraceWarning, match=r"'norm' \(BatchNorm2d, now SyncBatchNorm\)"):
        recorder.close()


def test_lazy_modules_that_take_their_class_are_no_change(tmp_path: Path) -> None:
    model = nn.Sequential(nn.LazyLinear(3), nn.ReLU())
    with actrace.record(model, tmp_path / "run") as recorder:
        model(torch.ones(2, 8))
    assert recorder.report().remarks == ()


def test_a_parametrised_weight_is_no_change(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(8, 3), nn.ReLU())
    with actrace.record(model, tmp_path / "run") as recorder:
        nn.utils.parametrizations.weight_norm(model[0])
        model(torch.ones(2, 8))
    assert recorder.report().remarks == ()

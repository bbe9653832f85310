"""Mixed precision: gradients are recorded without the loss scale."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.capture.models import MLP, digits
from tests.capture.test_gradients import check, check_row, now, recorded
from torch import nn

import actrace
from actrace.errors import ActraceWarning


@pytest.mark.parametrize("scale", [2.0**12, 1000.0])
def test_gradients_are_those_after_unscale(tmp_path: Path, scale: float) -> None:
    """Also where the scale is no power of two, and where it changes between batches."""
    model, wanted, scales = MLP(), [], []
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=scale, growth_interval=2)
    with actrace.record(model, tmp_path / "run", gradients="outputs", scaler=scaler) as recorder:
        for seed in range(4):
            optimizer.zero_grad()
            scaler.scale(model(digits(8, seed)[0]).square().mean()).backward()
            scales.append(scaler.get_scale())
            scaler.unscale_(optimizer)
            wanted.append(now(model))
            scaler.step(optimizer)
            scaler.update()
    group = check(tmp_path / "run", wanted)
    assert group.gradient_scale.values.tolist() == scales
    assert len(set(scales)) > 1
    assert recorder.report().remarks == ()
    outputs = actrace.open(tmp_path / "run")["train/output_gradient"]
    assert outputs["gradient_scale"].values.tolist() == scales
    # The last bias's gradient is the sum of the output's over samples.
    mean = outputs["mean"].sel(layer="4").values * 8
    np.testing.assert_allclose(mean, group["mean"].sel(parameter="4.bias"), rtol=1e-4)


def test_a_batch_whose_gradients_overflow_is_recorded_with_its_infinities(tmp_path: Path) -> None:
    model = nn.Linear(4, 2)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**120)
    x = torch.full((3, 4), 1e4)
    x[:, 0] = 1.0
    with actrace.record(model, tmp_path / "run", gradients=True, scaler=scaler):
        scaler.scale(model(x).sum()).backward()
        wanted = {name: value / 2.0**120 for name, value in now(model).items()}
    assert np.isinf(wanted["weight"]).sum() == 6
    group = recorded(tmp_path / "run")
    for name, value in wanted.items():
        check_row(group.sel(parameter=name).isel(batch=0), value, name)
    assert int(group.posinf.sel(parameter="weight").values[0]) == 6


def test_a_scaler_that_is_off_or_was_not_used_divides_nothing(tmp_path: Path) -> None:
    for at, scaler in enumerate(
        (torch.amp.GradScaler("cpu", enabled=False), torch.amp.GradScaler("cpu"))
    ):
        model, path = MLP(), tmp_path / str(at)
        with actrace.record(model, path, gradients=True, scaler=scaler):
            model(digits(8)[0]).sum().backward()
            wanted = now(model)
        assert (check(path, [wanted]).gradient_scale == 1).all()


def test_float16_autocast_without_a_scaler_is_said_once(tmp_path: Path) -> None:
    model = MLP()
    with actrace.record(model, tmp_path / "run", gradients=True) as recorder:
        said = pytest.warns(ActraceWarning, match="float16 autocast and no scaler was given")
        with said, torch.autocast("cpu", torch.float16):
            model(digits(8)[0]).float().sum().backward()
        with torch.autocast("cpu", torch.float16):
            model(digits(8)[0])
        with torch.autocast("cpu", torch.bfloat16):
            model(digits(8)[0])
    assert len(recorder.report().remarks) == 1


def test_bfloat16_autocast_needs_no_scaler(tmp_path: Path) -> None:
    model = MLP()
    with actrace.record(model, tmp_path / "run", gradients=True) as recorder:
        with torch.autocast("cpu", torch.bfloat16):
            out = model(digits(8)[0])
        out.float().square().mean().backward()
        wanted = now(model)
    check(tmp_path / "run", [wanted])
    assert recorder.report().remarks == ()

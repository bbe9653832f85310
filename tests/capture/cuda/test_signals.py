"""Ctrl-C anywhere in the device's half of a recording: what is kept is never another batch's."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest
import torch
import zarr
from tests.capture.cuda.doubles import HandDevice, on_gpu, record_on
from tests.capture.cuda.graph_double import captured
from torch import nn

PLACES = ("cuda/outbox.py", "cuda/ring.py", "cuda/rows.py", "cuda/capture.py", "capture/ring.py")


@contextmanager
def interrupted(at: int) -> Iterator[list[str]]:
    """Raise KeyboardInterrupt at the line number `at` that runs in `PLACES`."""
    lines, where = 0, []

    def look(frame: FrameType, event: str, _value: Any) -> Any:
        nonlocal lines
        if not frame.f_code.co_filename.endswith(PLACES):
            return None
        if event == "line":
            lines += 1
            if lines == at:
                where.append(f"{frame.f_code.co_filename}:{frame.f_lineno}")
                raise KeyboardInterrupt
        return look

    before = sys.gettrace()
    sys.settrace(look)
    try:
        yield where
    finally:
        sys.settrace(before)


@pytest.mark.parametrize("lag", [0, 2])
@pytest.mark.parametrize("start", range(10))
@pytest.mark.filterwarnings("ignore::actrace.errors.ActraceWarning")
def test_a_batch_is_never_taken_for_another(tmp_path: Path, start: int, lag: int) -> None:
    model, criterion = nn.Sequential(nn.Identity(), nn.Identity()), nn.MSELoss()
    recorder = record_on(
        HandDevice(lag), model, tmp_path / "run", n_rows=4, criterion=criterion, flush_seconds=1e6
    )
    zeros, stopped = on_gpu(torch.zeros(8, 3)), 0
    for step in range(90):
        x = on_gpu(torch.full((8, 3), float(step)))
        try:
            with interrupted(1 + start + 10 * (step // 4) if step % 4 == 3 else 0) as where:
                criterion(model(x), zeros)
                recorder.log(number=float(step))
        except KeyboardInterrupt:
            stopped += 1
            assert where
        assert torch.is_grad_enabled(), where
    recorder.close()
    assert recorder.closed
    assert stopped > 10
    run = zarr.open_group(tmp_path / "run.zarr", mode="r")
    number = np.asarray(run["train/number"])
    mean, loss = np.asarray(run["train/mean"]), np.asarray(run["train/loss"])
    elements = np.asarray(run["train/elements"])
    # Not one batch that nothing happened to is missing.
    untouched = {step for step in range(90) if step % 4 != 3}
    assert untouched <= set(number[~np.isnan(number)].astype(int).tolist())
    whole = ~np.isnan(number)
    np.testing.assert_array_equal(elements[:, whole], 24)
    np.testing.assert_allclose(mean[:, whole], np.tile(number[whole], (2, 1)), rtol=1e-6)
    np.testing.assert_allclose(loss[whole], number[whole] ** 2, rtol=1e-6)


@pytest.mark.parametrize("lag", [0, 2])
@pytest.mark.parametrize("start", range(10))
@pytest.mark.filterwarnings("ignore::actrace.errors.ActraceWarning")
def test_a_replay_is_never_counted_into_another_batch(tmp_path: Path, start: int, lag: int) -> None:
    model, criterion = nn.Sequential(nn.Identity(), nn.Identity()), nn.MSELoss()
    device, stopped = HandDevice(lag), 0
    recorder = record_on(device, model, tmp_path / "run", n_rows=4, criterion=criterion)
    x, zeros = on_gpu(torch.zeros(8, 3)), on_gpu(torch.zeros(8, 3))
    with recorder.batch():
        criterion(model(x), zeros)
    with captured(device) as graph:
        criterion(model(x), zeros)
    for step in range(1, 90):
        x.fill_(step)
        graph.replay()  # in no batch
        try:
            with interrupted(1 + start + 10 * (step // 4) if step % 4 == 3 else 0):
                with recorder.batch(samples=8):
                    graph.replay()
                recorder.log(number=float(step))
        except KeyboardInterrupt:
            stopped += 1
        graph.replay()
    recorder.close()
    assert stopped > 5
    run = zarr.open_group(tmp_path / "run.zarr", mode="r")
    number = np.asarray(run["train/number"])
    untouched = {step for step in range(1, 90) if step % 4 != 3}
    assert untouched <= set(number[~np.isnan(number)].astype(int).tolist())
    whole = ~np.isnan(number)
    mean, loss = np.asarray(run["train/mean"]), np.asarray(run["train/loss"])
    np.testing.assert_array_equal(np.asarray(run["train/elements"])[:, whole], 24)
    np.testing.assert_allclose(mean[:, whole], np.tile(number[whole], (2, 1)), rtol=1e-6)
    np.testing.assert_allclose(loss[whole], number[whole] ** 2, rtol=1e-6)

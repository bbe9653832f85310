"""The newest statistics, for a loop that reacts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.capture.models import MLP, digits
from torch import nn

import actrace
from actrace.errors import LayerNotFoundError

NAMES = ("mean", "std", "min", "max", "norm", "activation_rate", "death_rate")


def test_the_latest_batch_is_what_the_store_will_have(tmp_path: Path) -> None:
    model = MLP()
    with actrace.record(model, tmp_path / "run") as recorder:
        assert recorder.latest("1") is None
        found = []
        for seed in range(3):
            model(digits(4, seed)[0])
            found.append(recorder.latest("2"))
    stored = actrace.open(tmp_path / "run")["train"].to_dataset().sel(layer="2")
    for at, latest in enumerate(found):
        assert latest is not None
        assert (latest.layer, latest.phase, latest.epoch, latest.step) == ("2", "train", 0, at)
        assert (latest.calls, latest.elements) == (1, 128)
        np.testing.assert_array_equal(latest.count, stored["count"].values[:, at])
        assert latest.zero == int(stored["zero"][at])
        for name in NAMES:
            assert np.float32(getattr(latest, name)) == stored[name].values[at], name
    assert latest is not None
    assert len(latest.edges) == len(latest.count) + 1


def test_it_stays_when_the_batch_is_handed_over_and_after_the_end(tmp_path: Path) -> None:
    model = MLP()
    recorder = actrace.record(model, tmp_path / "run")
    model(digits(4)[0])
    recorder.flush()
    first = recorder.latest("1")
    with recorder.phase("test"):
        model.eval()
        model(digits(8)[0])
    second = recorder.latest("1")
    recorder.close()
    assert first is not None
    assert (first.phase, first.elements) == ("train", 128)
    assert second is not None
    assert (second.phase, second.elements) == ("test", 256)
    again = recorder.latest("1")
    assert again is not None
    assert again.mean == second.mean


def test_during_a_forward_it_is_the_batch_before(tmp_path: Path) -> None:
    class Asks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 2)
            self.recorder: actrace.Recorder | None = None
            self.steps: list[int | None] = []

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out = self.fc(x)
            if self.recorder is not None:
                latest = self.recorder.latest("fc")
                self.steps.append(None if latest is None else latest.step)
            return out

    model = Asks()
    model.recorder = actrace.record(model, tmp_path / "run")
    for _ in range(3):
        model(torch.ones(2, 4))
        model.recorder.latest("fc")
    model.recorder.close()
    assert model.steps == [None, 0, 1]


def test_an_unknown_layer_is_refused_with_those_there_are(tmp_path: Path) -> None:
    model = MLP()
    with actrace.record(model, tmp_path / "run") as recorder:
        model(digits(4)[0])
        with pytest.raises(LayerNotFoundError, match=r"'fc9' is not recorded; there are '0', '1'"):
            recorder.latest("fc9")


def test_it_reads_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = MLP()
    with actrace.record(model, tmp_path / "run", flush_seconds=1e6) as recorder:
        model(digits(4)[0])
        worker = recorder._session.worker
        asked: list[str] = []
        for name in ("flush", "commit", "call", "wait"):
            monkeypatch.setattr(worker, name, lambda *_, name=name: asked.append(name))
        assert recorder.latest("1") is not None
        assert asked == []
        monkeypatch.undo()

"""Models that are wrapped, copied, traced, exported, converted or checkpointed while recorded."""

from __future__ import annotations

import copy
import gc
import warnings
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.capture.models import MLP, digits
from torch import nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.checkpoint import (
    CheckpointPolicy,
    checkpoint,
    create_selective_checkpoint_contexts,
)

import actrace
from actrace.errors import ActraceWarning, RecorderError


def calls(path: Path, phase: str = "train") -> dict[str, list[int]]:
    """Return calls by layer, a number a batch."""
    found = actrace.open(path)[phase]["calls"]
    return {str(layer): found.sel(layer=layer).values.tolist() for layer in found["layer"].values}


def save_matmuls(_context: Any, op: Any, *_args: Any, **_kwargs: Any) -> CheckpointPolicy:
    kept = op is torch.ops.aten.addmm.default
    return CheckpointPolicy.MUST_SAVE if kept else CheckpointPolicy.PREFER_RECOMPUTE


class Checkpointed(nn.Module):
    def __init__(self, mode: str) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 8))
        self.head = nn.Linear(8, 2)
        self.mode = mode

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.flatten(1)
        if self.mode == "reentrant":
            return self.head(checkpoint(self.body, x.requires_grad_(), use_reentrant=True))
        settings: dict[str, Any] = {"use_reentrant": False}
        if self.mode == "selective":
            settings["context_fn"] = lambda: create_selective_checkpoint_contexts(save_matmuls)
        return self.head(checkpoint(self.body, x, **settings))


@pytest.mark.parametrize("mode", ["reentrant", "not reentrant", "selective"])
def test_what_checkpointing_runs_again_is_counted_once(tmp_path: Path, mode: str) -> None:
    model = Checkpointed(mode)
    fired: list[int] = []
    model.body[1].register_forward_hook(lambda *_: fired.append(1))
    with actrace.record(model, tmp_path / "run"):
        for _ in range(3):
            model(digits(4)[0]).sum().backward()
    assert len(fired) == 6
    assert calls(tmp_path / "run") == {
        name: [1, 1, 1] for name in ("body.0", "body.1", "body.2", "head")
    }


def test_shared_modules_and_cells_count_their_calls(tmp_path: Path) -> None:
    class Unrolled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell, self.shared = nn.GRUCell(8, 4), nn.Linear(4, 4)
            self.again = self.shared

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            hidden = x.new_zeros(len(x), 4)
            for step in x.view(-1, 8, 8).unbind(1):
                hidden = self.again(self.shared(self.cell(step, hidden)))
            return hidden

    model = Unrolled()
    with actrace.record(model, tmp_path / "run"):
        model(digits(4)[0])
    assert calls(tmp_path / "run") == {"cell": [8], "shared": [16]}
    found = actrace.open(tmp_path / "run")["train"]["elements"].values.tolist()
    assert found == [[8 * 16], [16 * 16]]


def test_aliases_of_the_input_are_recorded_as_layers(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(8, 3), nn.Identity(), nn.Dropout(0.5)).eval()
    with actrace.record(model, tmp_path / "run"):
        model(torch.randn(16, 8))
    found = actrace.open(tmp_path / "run")["valid"]
    assert (found["count"] == found["count"].sel(layer="0")).all()


def test_a_forward_called_directly_is_reported_as_never_fired(tmp_path: Path) -> None:
    class Direct(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.unseen, self.seen = nn.Linear(64, 4), nn.Linear(4, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.seen(self.unseen.forward(x.flatten(1)))

    model = Direct()
    with actrace.record(model, tmp_path / "run") as recorder:
        model(digits(4)[0])
    assert calls(tmp_path / "run") == {"unseen": [0], "seen": [1]}
    assert recorder.report().never_fired == ("unseen",)


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors is in prototype stage")
@pytest.mark.parametrize("padded", [False, True])
def test_the_transformers_fast_path_is_off_and_its_outputs_are_the_same(
    tmp_path: Path, padded: bool
) -> None:
    """Hooks turn the fused kernel off, so that each layer is seen; values stay equal."""
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)
    model = nn.TransformerEncoder(layer, 2, enable_nested_tensor=padded).eval()
    x = torch.randn(3, 6, 16)
    mask = torch.tensor([[False] * 6, [False] * 4 + [True] * 2, [False] * 5 + [True]])
    given = {"src_key_padding_mask": mask} if padded else {}
    with torch.no_grad():
        want = model(x, **given)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ActraceWarning)
            with actrace.record(model, tmp_path / "run") as recorder:
                got = model(x, **given)
    assert torch.equal(got, want)
    assert calls(tmp_path / "run", "valid")["layers.1.linear2"] == [0 if padded else 1]
    report = recorder.report()
    assert "layers.0.self_attn.out_proj" in report.never_fired
    # Padded, the encoder works on nested tensors, which are skipped with that reason.
    assert ("nested" in report.skipped.get("layers.1.linear2", "")) is padded


def test_a_frozen_batch_norm_does_not_change_the_phase(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    with actrace.record(model, tmp_path / "run"):
        model.train()
        model[1].eval()
        model(torch.randn(2, 1, 5, 5))
    assert actrace.open(tmp_path / "run").phases == ("train",)


def test_an_averaged_model_is_silent(tmp_path: Path) -> None:
    model = MLP()
    with actrace.record(model, tmp_path / "run"):
        averaged = AveragedModel(model)
        for _ in range(2):
            model(digits(4)[0])
            averaged.update_parameters(model)
            averaged(digits(4)[0])
    assert actrace.open(tmp_path / "run").n_batches("train") == 2
    assert actrace.open(tmp_path / "run").phases == ("train",)


def test_data_parallel_on_the_cpu_is_one_batch(tmp_path: Path) -> None:
    model = MLP()
    with actrace.record(model, tmp_path / "run"):
        nn.DataParallel(model)(digits(4)[0])
    assert set(map(tuple, calls(tmp_path / "run").values())) == {(1,)}


@pytest.mark.parametrize("strict", [False, True])
def test_a_recorded_model_can_be_exported(tmp_path: Path, strict: bool) -> None:
    model = MLP().eval()
    x = digits(4)[0]
    with actrace.record(model, tmp_path / "run"):
        want = model(x)
        exported = torch.export.export(model, (x,), strict=strict)
        bare = torch.export.export(copy.deepcopy(model), (x,), strict=strict)
    assert torch.equal(exported.module()(x), want)
    operations = [str(node.target) for node in bare.graph.nodes]
    assert [str(node.target) for node in exported.graph.nodes] == operations
    assert actrace.open(tmp_path / "run").n_batches("valid") == 1


@pytest.mark.filterwarnings("ignore:`torch.jit")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_recorded_model_can_be_traced_and_scripting_it_says_what_to_do(tmp_path: Path) -> None:
    model = MLP().eval()
    x = digits(4)[0]
    recorder = actrace.record(model, tmp_path / "run")
    want = model(x)
    traced = torch.jit.trace(model, x, check_trace=False)
    assert torch.equal(traced(x), want)
    with pytest.raises(RecorderError, match=r"cannot be scripted.*recorder\.close\(\) first"):
        torch.jit.script(model)
    recorder.close()
    assert torch.equal(torch.jit.script(model)(x), want)
    assert actrace.open(tmp_path / "run").n_batches("valid") == 1
    with pytest.raises(RecorderError, match="ScriptModule refuses hooks"):
        actrace.record(traced, tmp_path / "other")


@pytest.mark.filterwarnings("ignore:.*torch.nn.utils.spectral_norm:FutureWarning")
def test_the_old_spectral_norm_is_one_layer(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.utils.spectral_norm(nn.Linear(64, 4)), nn.ReLU())
    twin = copy.deepcopy(model)
    with actrace.record(model, tmp_path / "run"):
        got = model(torch.ones(2, 64))
    assert torch.equal(got, twin(torch.ones(2, 64)))
    assert torch.equal(model[0].weight_u, twin[0].weight_u)
    assert calls(tmp_path / "run") == {"0": [1], "1": [1]}


def test_hooks_of_the_user_that_replace_an_output(tmp_path: Path) -> None:
    """What hooks from before the recorder replaced is recorded; from after it, is not."""
    model = nn.Sequential(nn.Linear(8, 3), nn.Identity())
    model[0].register_forward_hook(lambda m, a, out: torch.full_like(out, 7))
    with actrace.record(model, tmp_path / "run"):
        model[0].register_forward_hook(lambda m, a, out: torch.full_like(out, 9))
        out = model(torch.randn(2, 8))
    assert (out == 9).all()
    mean = actrace.open(tmp_path / "run")["train"]["mean"].isel(batch=0)
    assert mean.values.tolist() == [7, 9]


def test_another_dtype_after_record_is_recorded_on(tmp_path: Path) -> None:
    model = MLP()
    with actrace.record(model, tmp_path / "run") as recorder:
        model(digits(4)[0])
        for dtype in (torch.float64, torch.bfloat16):
            model.to(dtype)
            model(digits(4)[0].to(dtype))
    assert calls(tmp_path / "run")["4"] == [1, 1, 1]
    assert recorder.report().remarks == ()


def test_model_and_recorder_are_freed_without_the_garbage_collector(tmp_path: Path) -> None:
    gc.collect()
    gc.disable()
    try:
        model, loss_fn = MLP(), nn.CrossEntropyLoss()
        recorder = actrace.record(model, tmp_path / "run", criterion=loss_fn)
        x, y = digits(4)
        loss_fn(model(x), y).backward()
        recorder.close()
        gone = [weakref.ref(recorder), weakref.ref(recorder._session), weakref.ref(model)]
        del recorder, model
        assert [ref() for ref in gone] == [None, None, None]
        model = MLP()
        recorder = actrace.record(model, tmp_path / "second")
        model(x)
        gone = [weakref.ref(model)]
        del model
        assert gone[0]() is None
        recorder.close()
    finally:
        gc.enable()
    assert np.array_equal(actrace.open(tmp_path / "second")["train"]["step"], [0])

"""A training with the recorder is, bit for bit, the training without it."""

from __future__ import annotations

import gc
import tracemalloc
import weakref
from pathlib import Path

import pytest
import torch
from tests.capture.models import MLP, MODELS, digits, step
from torch import nn

import actrace


def train(name: str, path: Path | None, kernel: str | None = None) -> dict[str, object]:
    """Return everything a training leaves behind, recorded if `path` is given."""
    torch.manual_seed(7)
    model, loss_fn = MODELS[name](), nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    recorder = None
    if path is not None:
        recorder = actrace.record(model, path, criterion=loss_fn, kernel=kernel)
    outputs, losses = [], []
    for epoch in range(2):
        model.train()
        seeds = range(10 * epoch, 10 * epoch + 3)
        losses += [step(model, loss_fn, optimizer, *digits(16, seed)) for seed in seeds]
        model.eval()
        with torch.no_grad():
            outputs.append(model(digits(16, 99)[0]).clone())
    left: dict[str, object] = {
        "outputs": outputs,
        "losses": losses,
        "gradients": [p.grad.clone() for p in model.parameters() if p.grad is not None],
        "weights": [t.clone() for t in model.state_dict().values()],
        "random": torch.get_rng_state(),
        "keys": list(model.state_dict()),
    }
    if recorder is not None:
        recorder.close()
        assert recorder.report().remarks == ()
        assert recorder.report().batches == {"train": 6, "valid": 2}
    return left


def same(left: object, right: object) -> bool:
    if isinstance(left, torch.Tensor) and isinstance(right, torch.Tensor):
        return torch.equal(left, right)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    return bool(left == right)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("kernel", ["numba", "torch"])
def test_outputs_gradients_weights_and_random_state_are_untouched(
    tmp_path: Path, name: str, kernel: str
) -> None:
    bare, recorded = train(name, None), train(name, tmp_path / "run", kernel)
    for what in bare:
        assert same(bare[what], recorded[what]), what


def test_memory_does_not_grow_with_the_run(tmp_path: Path) -> None:
    model, loss_fn = MLP(), nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    with actrace.record(model, tmp_path / "run", criterion=loss_fn) as recorder:

        def more(batches: int) -> int:
            for seed in range(batches):
                step(model, loss_fn, optimizer, *digits(8, seed))
            recorder.flush()
            gc.collect()
            return tracemalloc.get_traced_memory()[0]

        tracemalloc.start()
        try:
            more(300)
            before = more(50)
            after = more(300)
        finally:
            tracemalloc.stop()
    # A row is 41 KB here; 300 of them kept would be 12 MB.
    assert after - before < 1_000_000


def test_no_tensor_is_kept_once_its_batch_is_sealed(tmp_path: Path) -> None:
    model = MLP()
    kept: list[weakref.ref[torch.Tensor]] = []
    model[2].register_forward_hook(lambda m, a, out: kept.append(weakref.ref(out)))
    with actrace.record(model, tmp_path / "run") as recorder:
        for seed in range(3):
            out = model(digits(4, seed)[0])
            kept.append(weakref.ref(out))
            del out
            assert kept[-1]() is None
        recorder.flush()
    gc.collect()
    assert all(ref() is None for ref in kept)


def test_a_recorded_model_can_be_collected(tmp_path: Path) -> None:
    model = MLP()
    recorder = actrace.record(model, tmp_path / "run")
    model(digits(4)[0])
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None
    recorder.close()
    assert actrace.open(tmp_path / "run").status == "finished"


def test_closing_takes_every_hook_off(tmp_path: Path) -> None:
    model, loss_fn = MODELS["conv"](), nn.CrossEntropyLoss()
    with actrace.record(model, tmp_path / "run", criterion=loss_fn, layers="fc"):
        loss_fn(model(digits(4)[0]), digits(4)[1])
    for module in (*model.modules(), loss_fn):
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
        assert not module._forward_hooks_with_kwargs

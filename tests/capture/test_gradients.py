"""Parameter gradients: every row is what p.grad was after the backward pass."""

from __future__ import annotations

import copy
import gc
import io
import pickle
import warnings
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from tests.capture.models import MLP, MODELS, digits, step
from torch import nn
from torch.utils.checkpoint import checkpoint

import actrace
from actrace.errors import ActraceWarning, RecorderError
from actrace.store.gradients import GRADIENT_AXIS

Gradients = dict[str, np.ndarray | None]


def now(model: nn.Module) -> Gradients:
    """Return every parameter's gradient as it is now, in float64."""
    return {
        name: None if p.grad is None else p.grad.detach().to(torch.float64).numpy().copy()
        for name, p in model.named_parameters()
    }


def recorded(path: Path, phase: str = "train") -> xr.Dataset:
    """Return a phase's gradient group, loaded."""
    run = actrace.open(path)
    try:
        return run[f"{phase}/gradient"].to_dataset().load()
    finally:
        run.close()


def check_row(row: xr.Dataset, value: np.ndarray | None, name: str = "") -> None:
    """Assert that a row holds what NumPy says of the gradient."""
    outside = ("underflow", "overflow", "nan", "posinf", "neginf")
    total = int(row["count"].values.sum(dtype="u8")) + sum(int(row[n]) for n in outside)
    assert total == int(row.elements), name
    if value is None:
        assert int(row.elements) == 0, name
        assert np.isnan([row[n] for n in ("mean", "std", "min", "norm", "death_rate")]).all(), name
        return
    assert int(row.elements) == value.size, name
    finite = value[np.isfinite(value)]
    inside = finite[(finite >= GRADIENT_AXIS.edges[0]) & (finite <= GRADIENT_AXIS.edges[-1])]
    want = np.histogram(inside, GRADIENT_AXIS.edges)[0]
    np.testing.assert_array_equal(row["count"].values, want, err_msg=name)
    assert int(row.zero) == (value == 0).sum(), name
    assert int(row.posinf) == (value == np.inf).sum(), name
    active = np.abs(value) > 1e-8
    units = active.reshape(len(value), -1) if value.ndim else active.reshape(1, 1)
    close = {"rtol": 2e-5, "atol": 1e-12, "err_msg": name}
    np.testing.assert_allclose(row.activation_rate, active.mean(), **close)
    np.testing.assert_allclose(row.death_rate, (~units.any(axis=1)).mean(), **close)
    np.testing.assert_allclose(row.norm, np.sqrt((finite**2).sum()), **close)
    np.testing.assert_allclose(row["min"], finite.min(), **close)
    np.testing.assert_allclose(row["max"], finite.max(), **close)
    np.testing.assert_allclose(row["std"], finite.std(), **close)


def check(path: Path, wanted: list[Gradients], phase: str = "train") -> xr.Dataset:
    """Assert that the store holds `wanted`, batch for batch; return the group."""
    group = recorded(path, phase)
    assert group.sizes["batch"] == len(wanted)
    for at, gradients in enumerate(wanted):
        for name, value in gradients.items():
            row = group.sel(parameter=name).isel(batch=at)
            check_row(row, value, f"{name} in batch {at}")
    return group


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("kernel", ["numba", "torch", "reference"])
def test_every_row_is_the_gradient_after_the_backward(
    tmp_path: Path, name: str, kernel: str
) -> None:
    torch.manual_seed(1)
    model, loss_fn = MODELS[name](), nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    wanted = []
    with actrace.record(model, tmp_path / "run", gradients=True, kernel=kernel) as recorder:
        for seed in range(3):
            step(model, loss_fn, optimizer, *digits(8, seed))
            wanted.append(now(model))
    assert recorder.report().remarks == ()
    group = check(tmp_path / "run", wanted)
    assert list(group.parameter.values) == [n for n, _ in model.named_parameters()]
    shapes = ["x".join(map(str, p.shape)) for p in model.parameters()]
    assert list(group.parameter_shape.values) == shapes
    assert group.attrs["gradients"] == "whole"
    assert (group.gradient_scale == 1).all()


def test_one_row_a_batch_with_and_without_a_backward(tmp_path: Path) -> None:
    """A group begins with the first gradient of its phase; rows before it are empty."""
    model, loss_fn = MLP(), nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    wanted: list[Gradients] = []
    with actrace.record(model, tmp_path / "run", gradients=True) as recorder:
        for seed in range(7):
            if seed in (3, 6):
                step(model, loss_fn, optimizer, *digits(8, seed))
                wanted.append(now(model))
            else:
                model(digits(8, seed)[0])
                wanted.append(dict.fromkeys(dict(model.named_parameters())))
        model.eval()
        with torch.no_grad():
            model(digits(8)[0])
    assert recorder.report().gradients == "4 of 4 parameters had one"
    group = check(tmp_path / "run", wanted)
    seen = [at in (3, 6) for at in range(7)]
    np.testing.assert_array_equal(np.isfinite(group.gradient_scale), seen)
    with warnings.catch_warnings(), xr.open_datatree(tmp_path / "run.zarr") as tree:
        warnings.simplefilter("error")
        assert "gradient" not in tree["valid"].children
        assert tree["train/gradient"].sizes["batch"] == tree["train"].sizes["batch"] == 7
        assert set(tree["train/gradient"].coords) >= {"parameter", "gradient_bin_left"}


def test_accumulated_gradients_are_the_running_sum(tmp_path: Path) -> None:
    model, wanted = MLP(), []
    with actrace.record(model, tmp_path / "run", gradients=True):
        for seed in range(4):
            if seed == 2:
                model.zero_grad()
            model(digits(8, seed)[0]).square().mean().backward()
            wanted.append(now(model))
    check(tmp_path / "run", wanted)


def test_a_second_backward_replaces_the_row_by_the_state_after_it(tmp_path: Path) -> None:
    model = MLP()
    with actrace.record(model, tmp_path / "run", gradients=True):
        out = model(digits(8)[0])
        out.square().mean().backward(retain_graph=True)
        out.sum().backward()
        wanted = now(model)
    check(tmp_path / "run", [wanted])


def test_a_gradient_penalty_with_double_backward(tmp_path: Path) -> None:
    model, x = MLP(), digits(8)[0].requires_grad_()
    with actrace.record(model, tmp_path / "run", gradients=True):
        (slope,) = torch.autograd.grad(model(x).square().sum(), x, create_graph=True)
        slope.square().sum().backward()
        wanted = now(model)
    check(tmp_path / "run", [wanted])


def test_gradients_asked_for_by_autograd_grad_are_not_recorded(tmp_path: Path) -> None:
    model = MLP()
    with actrace.record(model, tmp_path / "run", gradients=True):
        torch.autograd.grad(model(digits(8)[0]).sum(), list(model.parameters()))
    assert "gradient" not in actrace.open(tmp_path / "run")["train"].children


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointed_layers_have_their_gradients_once(tmp_path: Path, reentrant: bool) -> None:
    class Checkpointed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(64, 32), nn.Linear(32, 10)
            self.middle = nn.Sequential(nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 32))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            hidden = checkpoint(self.middle, self.first(x.flatten(1)), use_reentrant=reentrant)
            return self.last(hidden)

    model, wanted = Checkpointed(), []
    with actrace.record(model, tmp_path / "run", gradients=True):
        for seed in range(2):
            model.zero_grad()
            model(digits(8, seed)[0]).square().mean().backward()
            wanted.append(now(model))
    check(tmp_path / "run", wanted)


@pytest.mark.parametrize("first", ["theirs", "ours"])
def test_an_optimizer_that_steps_in_the_backward_leaves_its_gradient_seen(
    tmp_path: Path, first: str
) -> None:
    model = MLP()
    plain = copy.deepcopy(model).eval()
    seen: list[str] = []

    def drop(parameter: nn.Parameter) -> None:
        seen.append("dropped")
        parameter.grad = None

    if first == "theirs":
        for parameter in model.parameters():
            parameter.register_post_accumulate_grad_hook(drop)
    with actrace.record(model.eval(), tmp_path / "run", gradients=True) as recorder:
        if first == "ours":
            for parameter in model.parameters():
                parameter.register_post_accumulate_grad_hook(drop)
        for _ in range(2):
            with recorder.phase("train"):
                model(digits(8)[0]).square().mean().backward()
        assert [p.grad for p in model.parameters()] == [None] * 4
    assert len(seen) == 8
    plain(digits(8)[0]).square().mean().backward()
    check(tmp_path / "run", [now(plain)] * 2)
    assert recorder.report().remarks == ()


def test_a_gradient_dropped_behind_our_back_is_said_and_read_in_time_from_then_on(
    tmp_path: Path,
) -> None:
    """By a hook of the accumulation itself, which cannot be seen on the parameter."""
    model = nn.Linear(3, 2, bias=False)
    node = model.weight.view_as(model.weight).grad_fn.next_functions[0][0]

    def drop(*_: Any) -> None:
        model.weight.grad = None

    node.register_hook(drop)
    x = torch.ones(2, 3)
    with actrace.record(model, tmp_path / "run", gradients=True) as recorder:
        with pytest.warns(ActraceWarning, match="'weight' was gone at the end of the backward"):
            model(x).sum().backward()
        model(x).sum().backward()
    assert len(recorder.report().remarks) == 1
    check(tmp_path / "run", [{"weight": None}, {"weight": np.full((2, 3), 2.0)}])


def test_frozen_and_unused_parameters_have_no_elements_until_they_have_a_gradient(
    tmp_path: Path,
) -> None:
    model = nn.ModuleDict({"a": nn.Linear(3, 3), "b": nn.Linear(3, 3), "c": nn.Linear(3, 3)})
    model.forward = lambda x: model["b"](model["a"](x))  # type: ignore[method-assign]
    model["a"].requires_grad_(False)
    wanted = []
    with actrace.record(model, tmp_path / "run", gradients=True) as recorder:
        for batch in range(4):
            model["a"].requires_grad_(batch >= 2)
            model.zero_grad()
            model(torch.ones(2, 3)).sum().backward()
            wanted.append(now(model))
    check(tmp_path / "run", wanted)
    assert recorder.report().gradients == "4 of 6 parameters had one; none yet: c.weight, c.bias"


def test_a_tied_parameter_stands_once_under_its_first_name(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4, bias=False))
    model[2].weight = model[0].weight
    with actrace.record(model, tmp_path / "run", gradients=True):
        model(torch.randn(3, 4)).sum().backward()
        wanted = now(model)
    assert list(check(tmp_path / "run", [wanted]).parameter.values) == ["0.weight", "0.bias"]


def test_sparse_gradients_are_skipped_with_the_reason(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Embedding(5, 3, sparse=True), nn.Linear(3, 2))
    with actrace.record(model, tmp_path / "run", gradients=True) as recorder:
        model(torch.tensor([0, 3])).sum().backward()
    run = actrace.open(tmp_path / "run")
    skipped = run.attrs["skipped"]["0.weight (gradient)"]
    assert skipped == "a sparse_coo tensor: only dense tensors are recorded"
    assert recorder.report().gradients == "3 of 3 parameters had one"
    group = recorded(tmp_path / "run")
    assert group.elements.values[:, 0].tolist() == [0, 6, 2]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_gradients_of_every_floating_dtype(tmp_path: Path, dtype: torch.dtype) -> None:
    model = nn.Linear(6, 5).to(dtype)
    with actrace.record(model, tmp_path / "run", gradients=True):
        model(torch.randn(4, 6).to(dtype)).square().sum().backward()
        wanted = now(model)
    check(tmp_path / "run", [wanted])


def test_channels_last_and_transposed_convolutions(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ConvTranspose2d(4, 2, 3, bias=False))
    model = model.to(memory_format=torch.channels_last)
    x = torch.randn(2, 3, 6, 6).contiguous(memory_format=torch.channels_last)
    with actrace.record(model, tmp_path / "run", gradients=True):
        model(x).square().sum().backward()
        wanted = now(model)
    check(tmp_path / "run", [wanted])


def test_a_lazy_module_s_shape_is_that_of_its_first_call(tmp_path: Path) -> None:
    model = nn.Sequential(nn.LazyLinear(4), nn.Linear(4, 2))
    with actrace.record(model, tmp_path / "run", gradients=True):
        model(torch.randn(3, 7)).sum().backward()
        wanted = now(model)
    group = check(tmp_path / "run", [wanted])
    assert group.parameter_shape.values.tolist() == ["4x7", "4", "2x4", "2"]


def test_names_are_free_of_wrappers_and_parametrizations(tmp_path: Path) -> None:
    inner = nn.utils.parametrizations.weight_norm(nn.Linear(3, 3))
    model = nn.Sequential(inner, nn.utils.parametrizations.orthogonal(nn.Linear(3, 3, bias=False)))
    with actrace.record(model, tmp_path / "run", gradients=True):
        model(torch.randn(2, 3)).sum().backward()
    names = recorded(tmp_path / "run").parameter.values.tolist()
    assert names == ["0.bias", "0.weight.original0", "0.weight.original1", "1.weight"]


def test_a_backward_that_fails_leaves_the_next_one_recorded(tmp_path: Path) -> None:
    model = MLP()

    def fail(_: torch.Tensor) -> None:
        raise KeyError("planted")

    with actrace.record(model, tmp_path / "run", gradients=True):
        out = model(digits(8)[0])
        handle = model[1].weight.register_hook(fail)
        with pytest.raises(KeyError, match="planted"):
            out.sum().backward()
        handle.remove()
        model.zero_grad()
        model(digits(8)[0]).sum().backward()
        wanted = now(model)
    group = recorded(tmp_path / "run")
    for name, value in wanted.items():
        check_row(group.sel(parameter=name).isel(batch=-1), value, name)


def test_a_fault_of_ours_switches_one_parameter_off_and_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, wanted = MLP(), []
    with actrace.record(model, tmp_path / "run", gradients=True) as recorder:
        kernel = recorder._session.gradients.kernel
        add = kernel.add

        def fail(flat: torch.Tensor, shape: Any, slot: Any) -> None:
            if flat.numel() == 10:
                raise MemoryError("planted")
            add(flat, shape, slot)

        monkeypatch.setattr(kernel, "add", fail)
        with pytest.warns(ActraceWarning, match=r"'4.bias' is no longer recorded: MemoryError"):
            model(digits(8)[0]).sum().backward()
        wanted.append({**now(model), "4.bias": None})
        model(digits(8)[0]).sum().backward()
        wanted.append({**now(model), "4.bias": None})
    check(tmp_path / "run", wanted)
    assert "switched off" in actrace.open(tmp_path / "run").attrs["skipped"]["4.bias (gradient)"]


def test_copies_are_silent_and_closing_takes_every_hook_off(tmp_path: Path) -> None:
    model = MLP()
    with actrace.record(model, tmp_path / "run", gradients=True):
        file = io.BytesIO()
        torch.save(model, file)
        copies = [copy.deepcopy(model), pickle.loads(pickle.dumps(model))]
        copies.append(torch.load(io.BytesIO(file.getvalue()), weights_only=False))
        for other in copies:
            assert not any(p._post_accumulate_grad_hooks for p in other.parameters())
        assert all(p._post_accumulate_grad_hooks for p in model.parameters())
        model(digits(8)[0]).sum().backward()
        wanted = now(model)
        for other in copies:
            other(digits(8)[0]).sum().backward()
    assert not any(p._post_accumulate_grad_hooks for p in model.parameters())
    check(tmp_path / "run", [wanted])


def test_nothing_is_registered_where_gradients_are_not_asked_for(tmp_path: Path) -> None:
    model = MLP()
    with actrace.record(model, tmp_path / "run") as recorder:
        assert not any(p._post_accumulate_grad_hooks for p in model.parameters())
        out = model(digits(8)[0])
        assert not out._backward_hooks
        out.sum().backward()
    assert recorder.report().gradients is None
    assert "gradient" not in actrace.open(tmp_path / "run")["train"].children


def test_no_gradient_and_no_model_is_kept_alive(tmp_path: Path) -> None:
    model = MLP()
    recorder = actrace.record(model, tmp_path / "run", gradients="outputs")
    model(digits(8)[0]).sum().backward()
    gone = [weakref.ref(p.grad) for p in model.parameters()]
    model.zero_grad()
    assert [ref() for ref in gone] == [None] * 4
    gone = [weakref.ref(model), *(weakref.ref(p) for p in model.parameters())]
    del model
    gc.collect()
    assert [ref() for ref in gone] == [None] * 5
    recorder.close()


def train(name: str, path: Path | None, gradients: Any) -> list[torch.Tensor]:
    """Return all that a training leaves behind, recorded if `path` is given."""
    torch.manual_seed(7)
    model, loss_fn = MODELS[name](), nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    recorder = None
    if path is not None:
        recorder = actrace.record(model, path, criterion=loss_fn, gradients=gradients)
    losses = [step(model, loss_fn, optimizer, *digits(16, seed)) for seed in range(4)]
    left = [p.grad for p in model.parameters()] + list(model.state_dict().values())
    if recorder is not None:
        recorder.close()
        assert recorder.report().remarks == ()
    return [*losses, *left, torch.get_rng_state()]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("gradients", [True, "outputs"])
def test_a_training_with_recorded_gradients_is_bit_for_bit_the_same(
    tmp_path: Path, name: str, gradients: Any
) -> None:
    bare, watched = train(name, None, False), train(name, tmp_path / "run", gradients)
    assert all(torch.equal(a, b) for a, b in zip(bare, watched, strict=True))


def test_a_backward_after_its_batch_was_ended_is_said_once(tmp_path: Path) -> None:
    model, wanted = MLP(), []
    with actrace.record(model, tmp_path / "run", gradients=True) as recorder:
        model(digits(8)[0]).sum().backward()
        wanted.append(now(model))
        with recorder.phase("train"):
            out = model(digits(8)[0])
        with pytest.warns(ActraceWarning, match="a gradient came while no batch was open"):
            out.sum().backward()
        wanted.append(dict.fromkeys(wanted[0]))
    assert len(recorder.report().remarks) == 1
    check(tmp_path / "run", wanted)


@pytest.mark.filterwarnings("default::UserWarning")  # torch's own, while it traces
def test_compiled_autograd_is_said_to_leave_no_gradients(tmp_path: Path) -> None:
    from torch._dynamo import compiled_autograd, config

    model = MLP()
    with actrace.record(model, tmp_path / "run", gradients=True) as recorder:
        model(digits(8)[0]).sum().backward()
        wanted = [now(model)]
        said = pytest.warns(ActraceWarning, match="gradients of a compiled backward are not")
        with said, config.patch(compiled_autograd=True):
            out = model(digits(8)[0])
        with compiled_autograd._enable(torch.compile(backend="eager", fullgraph=True)):
            out.sum().backward()
        wanted.append(dict.fromkeys(wanted[0]))
        torch._dynamo.reset()
    assert len(recorder.report().remarks) == 1
    check(tmp_path / "run", wanted)


def test_two_recorders_of_one_model_record_the_same(tmp_path: Path) -> None:
    model, wanted = MLP(), []
    with (
        actrace.record(model, tmp_path / "a", gradients=True),
        actrace.record(model, tmp_path / "b", gradients=True),
    ):
        for seed in range(2):
            model(digits(8, seed)[0]).sum().backward()
            wanted.append(now(model))
    for name in "ab":
        check(tmp_path / name, wanted)


def test_a_loss_over_two_forwards_goes_to_the_second(tmp_path: Path) -> None:
    model = MLP()
    with actrace.record(model, tmp_path / "run", gradients=True):
        (model(digits(8, 0)[0]).sum() - model(digits(8, 1)[0]).sum()).backward()
        wanted = [dict.fromkeys(now(model)), now(model)]
    check(tmp_path / "run", wanted)


def test_batches_that_are_left_out_leave_nothing(tmp_path: Path) -> None:
    model, wanted = MLP(), []
    with actrace.record(model, tmp_path / "run", gradients=True, schedule=actrace.every(2)):
        for seed in range(5):
            model.zero_grad()
            model(digits(8, seed)[0]).sum().backward()
            if seed % 2 == 0:
                wanted.append(now(model))
    check(tmp_path / "run", wanted)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"gradients": "weights"}, "gradients must be True, False or 'outputs', got 'weights'"),
        ({"gradients": True, "scaler": 128.0}, "scaler must be the loop's torch.amp.GradScaler"),
    ],
)
def test_settings_that_mean_nothing_are_refused(
    tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(RecorderError, match=message):
        actrace.record(MLP(), tmp_path / "run", **settings)
    assert not (tmp_path / "run.zarr").exists()


def test_a_model_without_parameters_has_no_gradients_to_record(tmp_path: Path) -> None:
    with pytest.raises(RecorderError, match="ReLU has no parameter"):
        actrace.record(nn.ReLU(), tmp_path / "run", gradients=True)


def test_a_resumed_run_goes_on_with_its_gradients_and_with_the_same_parameters(
    tmp_path: Path,
) -> None:
    """Left out, their rows are empty; asked for late, the rows before are."""
    wanted: list[Gradients] = []

    def go_on(gradients: bool) -> None:
        model = MLP()
        with actrace.record(model, tmp_path / "run", gradients=gradients, resume=True):
            for seed in range(3):
                model.zero_grad()
                model(digits(8, seed)[0]).sum().backward()
                names = dict.fromkeys(dict(model.named_parameters()))
                wanted.append(now(model) if gradients else names)

    for gradients in (False, True, False, True):
        go_on(gradients)
    check(tmp_path / "run", wanted)
    other = MLP()
    other[1] = nn.Linear(64, 32, bias=False)
    with pytest.raises(RecorderError, match=r"gradients of other parameters: '1.bias' differ"):
        actrace.record(other, tmp_path / "run", gradients=True, resume=True)
    check(tmp_path / "run", wanted)

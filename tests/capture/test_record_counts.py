"""What stands in the store is what NumPy finds in the activations, for every layer and batch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.capture.models import MLP, MODELS, digits, step
from torch import nn

import actrace

COUNTERS = ("underflow", "overflow", "nan", "posinf", "neginf")


class Emit(nn.Module):
    """Returns what it is told to."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


class Spread(nn.Module):
    """Sends its input through a layer of each kind of memory layout."""

    def __init__(self) -> None:
        super().__init__()
        self.plain = Emit()
        self.turned = Emit()
        self.last = Emit()
        self.strided = Emit()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.plain(x)
        self.turned(x.transpose(2, 3))
        self.last(x.contiguous(memory_format=torch.channels_last))
        return self.strided(x[:, ::2, ::2])


def hard(n: int, dtype: torch.dtype, edges: np.ndarray) -> torch.Tensor:
    """Return n numbers, some on edges, some not finite, as `dtype` holds them."""
    rng = np.random.default_rng(n)
    values = rng.normal(size=n) * rng.choice([0.1, 1, 30, 5000], n)
    values[::7] = 0.0
    values[1 : 1 + min(len(edges), n // 2)] = edges[: n // 2]
    tensor = torch.from_numpy(values)
    if dtype.is_floating_point:
        tensor[-3:] = torch.tensor([float("nan"), float("inf"), float("-inf")])
        return tensor.to(dtype)
    return tensor.clamp(-100, 100).to(dtype)


def check_row(
    phase: object, layer: str, batch: int, output: torch.Tensor, edges: np.ndarray
) -> None:
    """Hold one (layer, batch) against plain NumPy on the activation itself."""
    row = phase.to_dataset().sel(layer=layer).isel(batch=batch)  # type: ignore[attr-defined]
    values = output.detach().to(torch.float64).numpy()
    finite = values[np.isfinite(values)]
    inside = finite[(finite >= edges[0]) & (finite <= edges[-1])]
    np.testing.assert_array_equal(row["count"], np.histogram(inside, edges)[0])
    assert int(row["zero"]) == (values == 0).sum()
    assert int(row["nan"]) == np.isnan(values).sum()
    assert int(row["underflow"]) == (finite < edges[0]).sum()
    assert int(row["overflow"]) == (finite > edges[-1]).sum()
    whole = int(row["count"].sum()) + sum(int(row[name]) for name in COUNTERS)
    assert whole == int(row["elements"]) == values.size
    if finite.size:
        np.testing.assert_allclose(float(row["mean"]), finite.mean(), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(float(row["std"]), finite.std(), rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(float(row["min"]), finite.min(), rtol=1e-6)
        np.testing.assert_allclose(float(row["max"]), finite.max(), rtol=1e-6)
        tame = np.where(np.isfinite(values), values, 0).reshape(len(values), -1)
        np.testing.assert_allclose(
            float(row["norm"]), np.linalg.norm(tame, axis=1).mean(), rtol=1e-5
        )


@pytest.mark.parametrize(
    "dtype",
    [
        torch.float32,
        torch.float64,
        torch.float16,
        torch.bfloat16,
        torch.int64,
        torch.int16,
        torch.uint8,
        torch.bool,
    ],
    ids=lambda dtype: str(dtype)[6:],
)
@pytest.mark.parametrize("kernel", ["numba", "torch"])
def test_counts_are_those_of_numpy_for_every_dtype_and_layout(
    tmp_path: Path, dtype: torch.dtype, kernel: str
) -> None:
    axis = actrace.Asinh()
    x = hard(3 * 8 * 10 * 6, dtype, axis.edges).reshape(3, 8, 10, 6)
    model = Spread()
    with actrace.record(model, tmp_path / "run", kernel=kernel) as recorder:
        model(x)
        model(x[:2])
    assert recorder.report().remarks == ()
    train = actrace.open(tmp_path / "run")["train"]
    for batch, given in enumerate((x, x[:2])):
        check_row(train, "plain", batch, given, axis.edges)
        check_row(train, "turned", batch, given.transpose(2, 3), axis.edges)
        check_row(train, "last", batch, given, axis.edges)
        check_row(train, "strided", batch, given[:, ::2, ::2], axis.edges)


@pytest.mark.parametrize("name", MODELS)
def test_every_layer_of_a_training_is_what_its_hook_saw(tmp_path: Path, name: str) -> None:
    torch.manual_seed(0)
    model, loss_fn = MODELS[name](), nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    axis = actrace.Linear(-3, 3, 100)
    seen: dict[tuple[str, int], torch.Tensor] = {}
    batch = 0

    def keep(layer: str, output: object) -> None:
        if isinstance(output, torch.Tensor):
            seen[layer, batch] = output.detach().clone()
        elif isinstance(output, tuple) and isinstance(output[0], torch.Tensor):
            seen[f"{layer}[0]", batch] = output[0].detach().clone()

    recorder = actrace.record(model, tmp_path / "run", axis=axis, criterion=loss_fn)
    for layer, module in model.named_modules():
        if not list(module.children()):
            module.register_forward_hook(lambda m, a, output, layer=layer: keep(layer, output))
    for batch in range(4):
        step(model, loss_fn, optimizer, *digits(16, batch))
    recorder.close()
    train = actrace.open(tmp_path / "run")["train"]
    assert seen
    for (layer, at), output in seen.items():
        check_row(train, layer, at, output, axis.edges)


def test_rates_follow_their_definition(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5), nn.ReLU())
    with torch.no_grad():
        model[0].bias[1] = -100.0
        model[3].bias[:2] = -100.0
    outputs: dict[str, torch.Tensor] = {}
    for at in ("1", "4"):
        model[int(at)].register_forward_hook(lambda m, a, out, at=at: outputs.update({at: out}))
    with actrace.record(model, tmp_path / "run"):
        model(torch.randn(20, 1, 8, 8))
    train = actrace.open(tmp_path / "run")["train"].to_dataset().isel(batch=0)
    for at, output in outputs.items():
        per_unit = (output.abs() > 1e-8).double().movedim(1, 0).flatten(1).mean(1)
        row = train.sel(layer=at)
        assert float(row["activation_rate"]) == pytest.approx(float(per_unit.mean()), rel=1e-6)
        assert float(row["death_rate"]) == pytest.approx(float((per_unit == 0).double().mean()))
        assert float(row["death_rate"]) > 0


def test_units_are_counted_over_windows(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(64, 6), nn.ReLU(), nn.Linear(6, 3))
    active = torch.zeros(15, dtype=torch.int64)
    with actrace.record(model, tmp_path / "run") as recorder:
        for seed in range(40):
            x = digits(7, seed)[0].flatten(1)
            model(x)
            hidden = model[0](x)
            parts = (hidden, hidden.relu(), model[2](hidden.relu()))
            active += torch.cat([(part.abs() > 1e-8).sum(0) for part in parts])
        recorder.flush()
    unit = actrace.open(tmp_path / "run")["train/unit"].to_dataset()
    np.testing.assert_array_equal(unit["active"].sum("window"), active)
    np.testing.assert_array_equal(unit["total"].sum("window"), np.full(15, 40 * 7))
    np.testing.assert_array_equal(unit["unit_layer"], [0] * 6 + [1] * 6 + [2] * 3)
    assert int(unit["batches"].sum()) == 40


def test_calls_of_a_shared_layer_merge_into_its_row(tmp_path: Path) -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.act = nn.ReLU()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.act(self.act(x - 1)[:, :4] - 0.5)

    model = Shared()
    x = torch.randn(9, 6)
    with actrace.record(model, tmp_path / "run"):
        model(x)
    row = actrace.open(tmp_path / "run")["train"].to_dataset().isel(layer=0, batch=0)
    first = (x - 1).relu()
    second = (first[:, :4] - 0.5).relu()
    both = torch.cat([first.flatten(), second.flatten()])
    shares = torch.cat([(first > 1e-8).double().mean(0), (second > 1e-8).double().mean(0)])
    assert int(row["calls"]) == 2
    assert int(row["elements"]) == both.numel() == int(row["count"].sum())
    assert float(row["std"]) == pytest.approx(float(both.double().std(correction=0)), rel=1e-5)
    assert float(row["activation_rate"]) == pytest.approx(float(shares.mean()), rel=1e-6)


def test_an_empty_batch_is_a_row_with_nothing_in_it(tmp_path: Path) -> None:
    model = MLP()
    with actrace.record(model, tmp_path / "run") as recorder:
        model(torch.zeros(3, 8, 8))
        model(torch.zeros(0, 8, 8))
    row = actrace.open(tmp_path / "run")["train"].to_dataset().isel(batch=1)
    assert not row["elements"].any()
    assert np.isnan(row["mean"]).all()
    assert row["calls"].values.tolist() == [1] * 5
    assert recorder.report().remarks == ()


def test_the_reports_numbers_are_the_stores(tmp_path: Path) -> None:
    model = MLP()
    with actrace.record(model, tmp_path / "run", schedule=actrace.every(3)) as recorder:
        for _ in range(10):
            model(torch.zeros(2, 8, 8))
    train = actrace.open(tmp_path / "run")["train"]
    np.testing.assert_array_equal(train["step"], [0, 3, 6, 9])
    assert recorder.report().batches == {"train": 4}
    assert {layer.calls for layer in recorder.report().layers} == {4}

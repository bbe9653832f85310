"""Outputs of every kind of number: each is counted exactly or skipped with its reason."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.capture.models import MLP, digits
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

import actrace
from actrace.errors import ActraceWarning


class Apply(nn.Module):
    def __init__(self, function: Callable[[torch.Tensor], Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> Any:
        return self.function(x)


class Each(nn.Module):
    """Calls every layer with the input and returns the input."""

    def __init__(self, **layers: nn.Module) -> None:
        super().__init__()
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.children():
            layer(x)
        return x


def first_batch(path: Path, layer: str, phase: str = "train") -> Any:
    """Return one layer's variables in the first batch of a phase."""
    return actrace.open(path)[phase].to_dataset().sel(layer=layer).isel(batch=0)


X = torch.tensor([[-1.5, 0.0, 0.25, 3.0], [7.0, -0.0, 1.0, 100.0]])
AXIS = actrace.Linear(-2, 8, 20)


@pytest.mark.parametrize(
    "dtype_name",
    [
        *("bool", "uint8", "int8", "int16", "int32", "int64"),
        *("float16", "bfloat16", "float32", "float64", "float8_e4m3fn", "float8_e5m2"),
    ],
)
def test_plain_numbers_of_every_kind_are_counted(tmp_path: Path, dtype_name: str) -> None:
    dtype = getattr(torch, dtype_name)
    x = X if dtype.is_signed else X.abs()
    model = Each(layer=Apply(lambda t: t.to(dtype)))
    with actrace.record(model, tmp_path / "run", axis=AXIS):
        model(x)
    values = x.to(dtype).to(torch.float64).numpy().ravel()
    edges = np.linspace(-2, 8, 21)
    row = first_batch(tmp_path / "run", "layer")
    np.testing.assert_array_equal(row["count"], np.histogram(values, edges)[0])
    assert int(row["overflow"]) == (values > 8).sum()
    assert int(row["zero"]) == (values == 0).sum()
    np.testing.assert_allclose(float(row["mean"]), values.mean(), rtol=1e-6)
    np.testing.assert_allclose(float(row["std"]), values.std(), rtol=1e-6)


def test_nan_and_infinities_are_counted_and_left_out_of_the_moments(tmp_path: Path) -> None:
    x = torch.tensor([[float("nan"), float("inf"), 1.0], [float("-inf"), float("nan"), 3.0]])
    model = Each(layer=nn.Identity())
    with actrace.record(model, tmp_path / "run"):
        model(x)
    row = first_batch(tmp_path / "run", "layer")
    names = ("nan", "posinf", "neginf", "elements", "mean", "std", "min", "max")
    assert [float(row[name]) for name in names] == [2, 1, 1, 6, 2, 1, 1, 3]


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda t: t.to(torch.complex64), "complex64"),
        (lambda t: torch.quantize_per_tensor(t, 0.1, 0, torch.qint8), "quantised"),
        (lambda t: t.to_sparse_csr(), "sparse_csr"),
        (lambda t: torch.nested.nested_tensor([t[0], t[1, :3]], layout=torch.jagged), "nested"),
        (lambda t: t.to("meta"), "meta"),
    ],
    ids=["complex", "quantised", "csr", "nested", "meta"],
)
@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta")
@pytest.mark.filterwarnings("ignore:.*quantize_per_tensor")
def test_what_cannot_be_counted_is_said_and_skipped(
    tmp_path: Path, make: Callable[[torch.Tensor], torch.Tensor], reason: str
) -> None:
    model = Each(odd=Apply(make), plain=nn.ReLU())
    with actrace.record(model, tmp_path / "run") as recorder:
        with pytest.warns(ActraceWarning, match="1 of 2 layers cannot be recorded.*'odd'"):
            model(X)
        model(X)
    assert reason in recorder.report().skipped["odd"]
    found = actrace.open(tmp_path / "run")["train"]
    assert found["elements"].values.tolist() == [[0, 0], [8, 8]]


def test_a_forward_of_fake_tensors_is_skipped_and_works(tmp_path: Path) -> None:
    model = MLP()
    with actrace.record(model, tmp_path / "run") as recorder:
        model(digits(4)[0])
        mode = FakeTensorMode(allow_non_fake_inputs=True)
        with mode:
            fake = model(mode.from_tensor(digits(4)[0]))
        assert fake.shape == (4, 10)
        model(digits(4)[0])
    found = actrace.open(tmp_path / "run")["train"].sel(layer="4")
    assert found["elements"].values.tolist() == [40, 0, 40]
    assert "holds no values" in recorder.report().skipped["4"]


@pytest.mark.parametrize("sizes", [(4, 0, 4), (0, 4)])
def test_an_empty_batch_is_a_row_of_no_elements(tmp_path: Path, sizes: tuple[int, ...]) -> None:
    model = nn.Sequential(nn.Linear(8, 3), nn.ReLU())
    with actrace.record(model, tmp_path / "run"):
        for n in sizes:
            assert model(torch.ones(n, 8)).shape == (n, 3)
    train = actrace.open(tmp_path / "run")["train"].to_dataset()
    assert train["elements"].values.tolist() == [[3 * n for n in sizes]] * 2
    assert train["samples"].values.tolist() == list(sizes)
    assert (train["calls"] == 1).all()
    empty = np.array(sizes) == 0
    for name in ("mean", "std", "min", "max", "norm", "activation_rate", "death_rate"):
        assert np.isnan(train[name].values[:, empty]).all(), name
        assert np.isfinite(train[name].values[:, ~empty]).all(), name


def test_an_output_changed_in_place_later_is_recorded_as_it_was(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(8, 3), nn.BatchNorm1d(3), nn.ReLU(inplace=True))
    with actrace.record(model, tmp_path / "run"):
        model(torch.randn(16, 8))
    least = actrace.open(tmp_path / "run")["train"]["min"].isel(batch=0)
    assert float(least.sel(layer="1")) < 0
    assert float(least.sel(layer="2")) == 0


def test_half_precision_is_summed_without_overflow(tmp_path: Path) -> None:
    model = nn.Identity()
    with actrace.record(model, tmp_path / "run", axis=actrace.Linear(0, 65536, 8)):
        model(torch.full((4, 50_000), 60_000.0, dtype=torch.float16))
    row = first_batch(tmp_path / "run", "Identity")
    assert float(row["mean"]) == float(row["max"]) == 60_000
    assert float(row["std"]) == 0
    np.testing.assert_allclose(float(row["norm"]), 60_000 * 50_000**0.5, rtol=1e-6)


@pytest.mark.parametrize("kernel", ["numba", "torch"])
def test_a_bin_counts_beyond_what_float32_holds(tmp_path: Path, kernel: str) -> None:
    model = nn.Identity()
    n = 2**24 + 3
    with actrace.record(model, tmp_path / "run", kernel=kernel):
        model(torch.ones(1, n, dtype=torch.bfloat16))
    row = first_batch(tmp_path / "run", "Identity")
    assert int(row["count"].max()) == int(row["elements"]) == n


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_leaves_the_counts_those_of_the_reduced_values(
    tmp_path: Path, dtype: torch.dtype
) -> None:
    """Autocast is on inside the hooks too, and must not touch what they compute."""
    model = MLP().eval()
    seen: list[torch.Tensor] = []
    model[1].register_forward_hook(lambda m, a, out: seen.append(out.detach().clone()))
    with actrace.record(model, tmp_path / "run"), torch.autocast("cpu", dtype=dtype):
        model(digits(256)[0])
    assert seen[0].dtype is dtype
    values = seen[0].to(torch.float64).numpy().ravel()
    run = actrace.open(tmp_path / "run")
    row = first_batch(tmp_path / "run", "1", "valid")
    edges = np.append(run["bin_left"].values, run["bin_right"].values[-1])
    np.testing.assert_array_equal(row["count"], np.histogram(values, edges)[0])
    np.testing.assert_allclose(float(row["mean"]), values.mean(), rtol=1e-6)
    np.testing.assert_allclose(float(row["std"]), values.std(), rtol=1e-6)

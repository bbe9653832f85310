"""monitorch and actrace watch the same training and say the same, epoch by epoch.

Both hang on one model at the same time, so every batch is the same to the last
bit. monitorch takes the mean over an epoch's batches of each batch's number.
Its rates are of elements above 1e-8; an output's unit is a channel, a weight's
is an output row, a bias's is an element. It looks at parameters only of modules
that have all those it was asked for, so a layer without bias needs a lens for
weights alone. Its output rates are means in float32, ours in float64 kept as
float32, hence the tolerance.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from monitorch.inspector import PyTorchInspector
from monitorch.lens import OutputActivation, OutputNorm, ParameterGradientActivation
from monitorch.visualizer import DummyVisualizer
from numpy.typing import NDArray
from tests.capture.models import digits, step
from torch import nn

import actrace

EPOCHS, BATCHES = 3, 4


class Net(nn.Module):
    """With and without bias, with norms, dropout, dead units and dead gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 6, 3, bias=False)
        self.norm = nn.BatchNorm2d(6)
        self.act = nn.ReLU()
        self.drop = nn.Dropout2d(0.3)
        self.fc1 = nn.Linear(216, 24)
        self.relu = nn.ReLU()
        self.layernorm = nn.LayerNorm(24)
        self.fc2 = nn.Linear(24, 10, bias=False)
        with torch.no_grad():
            self.fc1.bias[:9] = -50.0  # units that never fire

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.drop(self.act(self.norm(self.conv(x[:, None])))).flatten(1)
        return self.fc2(self.layernorm(self.relu(self.fc1(hidden))))


class Epochs(DummyVisualizer):
    """A monitorch visualizer that keeps what it is given, by tag."""

    def __init__(self) -> None:
        self.kept: dict[str, list[dict[str, Any]]] = {}

    def plot_probabilities(self, epoch: int, main_tag: str, values_dict: Any) -> None:
        self._keep(main_tag, values_dict)

    def plot_numerical_values(
        self, epoch: int, main_tag: str, values_dict: Any, ranges_dict: Any = None
    ) -> None:
        self._keep(main_tag, values_dict)

    def _keep(self, tag: str, values: Any) -> None:
        # Copied: monitorch gives the same dictionaries again.
        self.kept.setdefault(tag, []).append({k: dict(v) for k, v in values.items()})


Both = tuple[dict[str, list[dict[str, Any]]], xr.DataTree]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    """Give what monitorch showed of each epoch, and the run of the same training."""
    path = tmp_path_factory.mktemp("peers") / "run"
    torch.manual_seed(0)
    model, loss_fn = Net(), nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), 0.5)
    shown = Epochs()
    lenses = [
        OutputActivation(include=(nn.Conv2d, nn.Linear)),
        OutputNorm(include=(nn.Conv2d, nn.Linear, nn.LayerNorm)),
        ParameterGradientActivation(),
    ]
    weights = Epochs()
    alone = [ParameterGradientActivation(parameters=("weight",))]
    inspectors = [
        PyTorchInspector(lenses=lenses, module=model, visualizer=shown),
        PyTorchInspector(lenses=alone, module=model, visualizer=weights),
    ]
    with actrace.record(model, path, gradients=True) as recorder:
        for epoch in range(EPOCHS):
            recorder.epoch(epoch)
            for seed in range(BATCHES):
                step(model, loss_fn, optimizer, *digits(16, seed))
            for inspector in inspectors:
                inspector.tick_epoch()
    shown.kept["Weight Gradient Activation"] = weights.kept["Weight Gradient Activation"]
    run = actrace.open(path)
    yield shown.kept, run
    run.close()


def by_epoch(variable: xr.DataArray, epochs: xr.DataArray) -> NDArray[Any]:
    """Return the mean over each epoch's batches, shape (epoch,)."""
    values, of = variable.values.astype(np.float64), epochs.values
    return np.array([values[of == epoch].mean() for epoch in range(EPOCHS)])


@pytest.mark.parametrize(
    ("tag", "names"),
    [
        ("Output Activations", {"activation_rate": "activation_rate", "death_rate": "death_rate"}),
        ("Output Norm", {"norm": "mean"}),
    ],
)
def test_activation_rate_death_rate_and_norm_of_outputs(
    both: Both, tag: str, names: dict[str, str]
) -> None:
    shown, run = both
    train = run["train"].to_dataset()
    assert len(shown[tag]) == EPOCHS
    layers = set(shown[tag][0])
    assert layers >= {"conv", "act", "fc1", "relu", "fc2"}
    for layer in layers:
        for ours, theirs in names.items():
            mine = by_epoch(train[ours].sel(layer=layer), train["epoch"])
            want = [epoch[layer][theirs] for epoch in shown[tag]]
            np.testing.assert_allclose(mine, want, rtol=1e-6, atol=1e-6, err_msg=f"{layer} {ours}")


@pytest.mark.parametrize("kind", ["weight", "bias"])
def test_activation_and_death_rates_of_gradients(both: Both, kind: str) -> None:
    """Layers without bias, and norm layers, whose weights are vectors, included."""
    shown, run = both
    group, epochs = run["train/gradient"].to_dataset(), run["train"]["epoch"]
    shares: list[float] = []
    kept = shown[f"{kind.title()} Gradient Activation"]
    assert len(kept) == EPOCHS
    layers = {"conv", "norm", "fc1", "layernorm", "fc2"} - (
        {"conv", "fc2"} if kind == "bias" else set()
    )
    assert set(kept[0]) == layers
    for layer in layers:
        for rate in ("activation_rate", "death_rate"):
            mine = by_epoch(group[rate].sel(parameter=f"{layer}.{kind}"), epochs)
            want = [epoch[layer][rate] for epoch in kept]
            np.testing.assert_allclose(mine, want, rtol=0, atol=1e-6, err_msg=f"{layer} {rate}")
            shares += list(mine)
    # Rates that are all 0 or 1 would agree whatever the definition.
    assert any(0.1 < share < 0.9 for share in shares)

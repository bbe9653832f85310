"""The rules on real trainings on handwritten digits: one that is well, and some that are not."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

import actrace

Plant = Callable[[nn.Sequential], None]


@cache
def digits() -> tuple[torch.Tensor, torch.Tensor]:
    images, labels = load_digits(return_X_y=True)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    return torch.tensor(images / 16, dtype=torch.float32)[order], torch.tensor(labels)[order]


def network(depth: int = 2, function: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    """Return layers of 32 units; the output layer is the last."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for at in range(depth):
        layers += [nn.Linear(32 if at else 64, 32), function()]
    return nn.Sequential(*layers, nn.Linear(32, 10))


def train(
    model: nn.Sequential,
    path: Path,
    *,
    epochs: int = 4,
    lr: float = 3e-3,
    spoil: Callable[[int, torch.Tensor], torch.Tensor] = lambda step, x: x,
    gradients: bool = False,
) -> actrace.Findings:
    """Return what is found in a training."""
    x, y = digits()
    loss_fn = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    step = 0
    with actrace.record(model, path, criterion=loss_fn, gradients=gradients):
        for _ in range(epochs):
            model.train()
            for batch in torch.randperm(1400).split(50):
                loss = loss_fn(model(spoil(step, x[batch])), y[batch])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                step += 1
            model.eval()
            with torch.no_grad():
                loss_fn(model(x[1400:]), y[1400:])
    return actrace.diagnose(actrace.open(path)).at_least("warning")


def rules(found: actrace.Findings) -> set[str]:
    return {finding.rule for finding in found}


@pytest.mark.parametrize("function", [nn.ReLU, nn.Tanh])
def test_a_good_training_has_no_warning(function: type[nn.Module], tmp_path: Path) -> None:
    found = train(network(function=function), tmp_path / "run", gradients=True, epochs=10)
    assert repr(found).splitlines()[0] == "nothing found in run by 19 rules"


def test_a_nan_is_traced_to_its_layer_and_step(tmp_path: Path) -> None:
    def spoil(step: int, x: torch.Tensor) -> torch.Tensor:
        return x * torch.tensor(float("nan")) if step == 40 else x

    found = train(network(), tmp_path / "run", spoil=spoil)
    first = min(found.of("not-finite"), key=lambda finding: finding.first_step or 0)
    assert (first.layer, first.first_step, first.first_epoch) == ("0", 40, 1)


def test_twelve_sigmoids_let_the_gradient_vanish(tmp_path: Path) -> None:
    found = train(network(12, nn.Sigmoid), tmp_path / "run", gradients=True, epochs=2)
    (finding,) = [f for f in found.of("vanishing") if f.parameter == "gradient"]
    assert finding.layer == "0.weight"


def test_large_weights_saturate_a_tanh(tmp_path: Path) -> None:
    model = network(function=nn.Tanh)
    model[0].weight.data *= 30  # type: ignore[operator, union-attr]
    assert [f.layer for f in train(model, tmp_path / "run").of("saturation")] == ["1"]


def test_a_learning_rate_of_1_is_too_high_for_adam(tmp_path: Path) -> None:
    assert "learning-rate-too-high" in rules(train(network(), tmp_path / "run", lr=1.0))


def test_a_training_that_stands_still_has_a_constant_output(tmp_path: Path) -> None:
    found = train(network(), tmp_path / "run", lr=0.0)
    assert {"constant-output", "no-peaks"} <= rules(found)


def test_a_first_layer_left_out_of_the_optimiser_does_not_learn(tmp_path: Path) -> None:
    model = network()
    model[0].requires_grad_(False)
    assert [f.layer for f in train(model, tmp_path / "run").of("layer-not-learning")] == ["0"]

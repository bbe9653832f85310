"""Small models and one training step, shared by the tests of capture."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


class MLP(nn.Sequential):
    """64 numbers to 10 classes, with dropout."""

    def __init__(self) -> None:
        super().__init__(
            nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Dropout(0.3), nn.Linear(32, 10)
        )


class ConvNet(nn.Module):
    """Images 1x8x8 to 10 classes, with batch norm, dropout and an in-place ReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 3)
        self.norm = nn.BatchNorm2d(6)
        self.act = nn.ReLU(inplace=True)
        self.drop = nn.Dropout2d(0.2)
        self.pool = nn.MaxPool2d(2)
        self.fc = nn.Linear(6 * 9, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = x.view(-1, 1, 8, 8)
        x = self.pool(self.drop(self.act(self.norm(self.conv1(x)))))
        return self.fc(x.flatten(1))


class LSTMNet(nn.Module):
    """Eight steps of 8 numbers to 10 classes."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(8, 12, num_layers=2, dropout=0.1, batch_first=True)
        self.head = nn.Linear(12, 10)

    def forward(self, x: Tensor) -> Tensor:
        steps, _ = self.lstm(x.view(-1, 8, 8))
        return self.head(steps[:, -1])


class TransformerNet(nn.Module):
    """Eight tokens of 8 numbers to 10 classes."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, batch_first=True)
        self.head = nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(x.view(-1, 8, 8)).mean(1))


MODELS: dict[str, Callable[[], nn.Module]] = {
    "mlp": MLP,
    "conv": ConvNet,
    "lstm": LSTMNet,
    "transformer": TransformerNet,
}


def digits(n: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return inputs (n, 8, 8) and classes (n,), without touching the global generator."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 8, 8, generator=generator)
    return x, torch.randint(0, 10, (n,), generator=generator)


def step(
    model: nn.Module, loss_fn: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor
) -> Tensor:
    """Train on one batch; return its loss."""
    optimizer.zero_grad()
    loss: Tensor = loss_fn(model(x), y)
    loss.backward()
    optimizer.step()
    return loss.detach()

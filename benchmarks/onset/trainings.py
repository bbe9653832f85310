"""The trainings: what is learnt from how much, by which network, for how long."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

#: The commonest words are the inputs of a review.
WORDS = 2000


@dataclass(frozen=True, slots=True)
class Training:
    """One training: its data, its network, how long and how it is trained."""

    name: str
    data: str
    n_train: int
    network: Callable[[], nn.Module]
    epochs: int
    lr: float = 1e-3
    weight_decay: float = 0.0
    wrong_labels: float = 0.0
    batch: int = 32
    n_valid: int = 1000
    noise: float = 0.0  # augmentation: noise added to each training batch
    momentum: bool = False  # SGD with momentum rather than AdamW


def mlp(
    inputs: int, hidden: int, *, drop: float = 0.0, norm: bool = False, classes: int = 10
) -> Callable[[], nn.Module]:
    """Return what builds two hidden layers, each with what is asked for."""

    def block(n_in: int) -> list[nn.Module]:
        made: list[nn.Module] = [nn.Linear(n_in, hidden)]
        made += [nn.BatchNorm1d(hidden)] if norm else []
        made += [nn.ReLU()]
        return made + ([nn.Dropout(drop)] if drop else [])

    return lambda: nn.Sequential(*block(inputs), *block(hidden), nn.Linear(hidden, classes))


def conv(
    channels: int, side: int, *, width: int = 16, drop: float = 0.0, norm: bool = False
) -> Callable[[], nn.Module]:
    """Return what builds two convolutions with pooling and a linear layer."""

    def block(n_in: int, n_out: int) -> list[nn.Module]:
        made: list[nn.Module] = [nn.Conv2d(n_in, n_out, 3, padding=1)]
        made += [nn.BatchNorm2d(n_out)] if norm else []
        return [*made, nn.ReLU(), nn.MaxPool2d(2)]

    def build() -> nn.Module:
        return nn.Sequential(
            nn.Unflatten(1, (channels, side, side)),
            *block(channels, width),
            *block(width, 2 * width),
            nn.Flatten(),
            *([nn.Dropout(drop)] if drop else []),
            nn.Linear(2 * width * (side // 4) ** 2, 10),
        )

    return build


def linear(inputs: int, classes: int = 10) -> Callable[[], nn.Module]:
    """Return what builds one linear layer."""
    return lambda: nn.Sequential(nn.Linear(inputs, classes))


# fmt: off
#: Made to overfit: few samples or wrong labels, and trained for long.
OVERFIT = (
    Training("digits, MLP, 4 of 10 labels wrong", "digits", 300,
             mlp(64, 256), 40, lr=5e-3, wrong_labels=0.4, n_valid=600),
    Training("digits, MLP with BatchNorm, 4 of 10 wrong", "digits", 300,
             mlp(64, 128, norm=True), 40, lr=5e-3, wrong_labels=0.4, n_valid=600),
    Training("digits, conv, 4 of 10 wrong", "digits", 300,
             conv(1, 8), 40, lr=1e-2, wrong_labels=0.4, n_valid=600),
    Training("digits, MLP, 200 samples, 2 of 10 wrong", "digits", 200,
             mlp(64, 512), 40, lr=2e-3, wrong_labels=0.2, n_valid=600, batch=16),
    Training("mnist, MLP, 500 samples", "mnist", 500, mlp(784, 256), 25),
    Training("mnist, MLP, 1000 samples, 3 of 10 wrong", "mnist", 1000,
             mlp(784, 256), 20, wrong_labels=0.3),
    Training("mnist, conv, 500 samples, 2 of 10 wrong", "mnist", 500,
             conv(1, 28, width=8), 24, lr=2e-3, wrong_labels=0.2),
    Training("mnist, MLP with BatchNorm, 3 of 10 wrong", "mnist", 2000,
             mlp(784, 128, norm=True), 16, wrong_labels=0.3, batch=64),
    Training("mnist, MLP with weight decay, 4 of 10 wrong", "mnist", 1000,
             mlp(784, 256), 20, wrong_labels=0.4, weight_decay=0.1),
    Training("mnist, MLP, SGD, 300 samples, 1 of 10 wrong", "mnist", 300,
             mlp(784, 256), 30, lr=0.05, wrong_labels=0.1, momentum=True),
    Training("cifar, MLP, 1000 samples", "cifar", 1000, mlp(3072, 128), 20),
    Training("cifar, MLP, 4000 samples", "cifar", 4000, mlp(3072, 128), 16, batch=64),
    Training("cifar, MLP with dropout, 1000 samples", "cifar", 1000, mlp(3072, 256, drop=0.2), 24),
    Training("cifar, MLP with BatchNorm, 1000 samples", "cifar", 1000,
             mlp(3072, 128, norm=True), 16),
    Training("cifar, conv, 1500 samples", "cifar", 1500, conv(3, 32), 22, lr=3e-3),
    Training("cifar, conv with BatchNorm, 1500 samples", "cifar", 1500,
             conv(3, 32, norm=True), 16, lr=2e-3),
    Training("reviews, linear, 1000 samples", "reviews", 1000, linear(WORDS, 2), 40, lr=2e-2),
    Training("reviews, MLP, 1000 samples", "reviews", 1000, mlp(WORDS, 64, classes=2), 14),
    Training("reviews, MLP, one output, 2000 samples", "reviews", 2000,
             mlp(WORDS, 64, classes=1), 12),
    Training("reviews, MLP with dropout, 1500 samples", "reviews", 1500,
             mlp(WORDS, 128, drop=0.5, classes=2), 14),
)
#: Healthy: data enough for the network, or trained no longer than it takes.
WELL = (
    Training("digits, MLP with dropout", "digits", 1197,
             mlp(64, 64, drop=0.2), 15, weight_decay=0.01, n_valid=600),
    Training("digits, linear", "digits", 1197, linear(64), 20, n_valid=600),
    Training("digits, conv with dropout", "digits", 1197, conv(1, 8, drop=0.3), 12, n_valid=600),
    Training("digits, MLP with BatchNorm, noise added", "digits", 1197,
             mlp(64, 64, norm=True), 10, lr=5e-4, n_valid=600, noise=0.2),
    Training("mnist, MLP with dropout", "mnist", 12000,
             mlp(784, 64, drop=0.3), 6, batch=64, n_valid=3000),
    Training("mnist, linear", "mnist", 12000, linear(784), 8, lr=5e-4, batch=64, n_valid=3000),
    Training("mnist, conv with dropout", "mnist", 5000,
             conv(1, 28, width=8, drop=0.4), 7, batch=64),
    Training("mnist, MLP with BatchNorm, noise added", "mnist", 8000,
             mlp(784, 64, norm=True), 6, lr=5e-4, batch=64, noise=0.3),
    Training("mnist, linear, 2 of 10 labels wrong", "mnist", 12000,
             linear(784), 6, lr=3e-4, wrong_labels=0.2, batch=64),
    Training("mnist, MLP, SGD", "mnist", 12000, mlp(784, 32), 8, lr=5e-3, batch=64, momentum=True),
    Training("cifar, MLP with dropout", "cifar", 10000,
             mlp(3072, 64, drop=0.5), 6, lr=3e-4, weight_decay=0.01, batch=64, n_valid=2000),
    Training("cifar, linear", "cifar", 8000, linear(3072), 8, lr=1e-4, batch=64, n_valid=2000),
    Training("cifar, conv with dropout", "cifar", 8000,
             conv(3, 32, width=8, drop=0.3), 6, batch=64, n_valid=2000),
    Training("reviews, linear", "reviews", 8000, linear(WORDS, 2), 8, batch=64),
    Training("reviews, linear, one output", "reviews", 8000,
             linear(WORDS, 1), 8, batch=64, weight_decay=0.01),
    Training("digits, linear, fast and long", "digits", 1197,
             linear(64), 40, lr=1e-2, n_valid=600, weight_decay=0.1),
    Training("mnist, linear, fast and long", "mnist", 12000,
             linear(784), 12, lr=3e-3, batch=64, n_valid=3000, weight_decay=0.1),
    Training("mnist, MLP with dropout, long", "mnist", 12000,
             mlp(784, 64, drop=0.5), 14, lr=2e-3, batch=64, n_valid=3000),
    Training("cifar, MLP with dropout, long", "cifar", 12000,
             mlp(3072, 64, drop=0.5), 14, lr=1e-3, batch=64, n_valid=2000, weight_decay=0.1),
    Training("reviews, MLP, slow", "reviews", 8000,
             mlp(WORDS, 16, drop=0.5, classes=2), 6, lr=1e-4, batch=64),
)
# fmt: on

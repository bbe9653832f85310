"""The trainings: a plain one of every configuration from several seeds, and changed ones.

Half of the configurations are there to choose the defaults of `compare` on, the other half
to report what they give. Widths, data and kinds of network are in both, not the same of
each. Imports torch and actrace.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import torch
from benchmarks.onset.learn import Data, load
from torch import nn

import actrace

__all__ = [
    "CHANGES",
    "CONFIGURATIONS",
    "HALVES",
    "PLAIN",
    "Change",
    "Configuration",
    "Sets",
    "record",
    "trainings",
]

HALVES: Final = ("choose", "report")
SAMPLES, EPOCHS, BATCH = 1200, 4, 64
VALID = 300
#: Channels and side of an image, by data set.
_SHAPES: Final = {"digits": (1, 8), "mnist": (1, 28), "cifar": (3, 32)}


@dataclass(frozen=True, slots=True)
class Change:
    """What a training does otherwise than the plain one.

    Attributes
    ----------
    rate, scale : float
        Factors of the learning rate and of the weights that it begins with.
    adam : bool
        Adam at 1e-3, not SGD with momentum.
    norm : bool
        Whether it has its norms; without them it lacks no layer, they hand on what they get.
    wrong : float
        Share of labels drawn at random.
    inverted : bool
        The images' dark and bright exchanged.
    """

    rate: float = 1.0
    scale: float = 1.0
    adam: bool = False
    norm: bool = True
    wrong: float = 0.0
    inverted: bool = False


PLAIN: Final = Change()
CHANGES: Final = {
    "learning rate x 10": Change(rate=10.0),
    "learning rate / 10": Change(rate=0.1),
    "learning rate x 2": Change(rate=2.0),
    "weights begun x 3": Change(scale=3.0),
    "Adam": Change(adam=True),
    "without its norm": Change(norm=False),
    "3 of 10 labels drawn": Change(wrong=0.3),
    "images inverted": Change(inverted=True),
}


def mlp(
    *widths: int, act: Callable[[], nn.Module] = nn.ReLU, norm: bool = False
) -> Callable[[int, int, bool], nn.Sequential]:
    """Return what builds linear layers of these widths, with LayerNorm if it is asked for."""

    def build(channels: int, side: int, normed: bool) -> nn.Sequential:
        layers: list[nn.Module] = [nn.Flatten()]
        before = channels * side * side
        for width in widths:
            layers.append(nn.Linear(before, width))
            if norm:
                layers.append(nn.LayerNorm(width) if normed else nn.Identity())
            layers.append(act())
            before = width
        return nn.Sequential(*layers, nn.Linear(before, 10))

    return build


def conv(*widths: int, norm: bool = False) -> Callable[[int, int, bool], nn.Sequential]:
    """Return what builds convolutions of so many channels, with BatchNorm if it is asked for."""

    def build(channels: int, side: int, normed: bool) -> nn.Sequential:
        layers: list[nn.Module] = []
        before = channels
        for width in widths:
            layers.append(nn.Conv2d(before, width, 5, stride=2, padding=2))
            if norm:
                layers.append(nn.BatchNorm2d(width) if normed else nn.Identity())
            layers.append(nn.ReLU())
            before, side = width, (side + 1) // 2
        return nn.Sequential(*layers, nn.Flatten(), nn.Linear(before * side * side, 10))

    return build


@dataclass(frozen=True, slots=True)
class Configuration:
    """A network on a data set, and the half that it belongs to.

    Attributes
    ----------
    data : {"digits", "mnist", "cifar"}
    network : str
    half : {"choose", "report"}
    build : callable
        Channels, side, and whether with its norms -> network.
    rate : float
        Of SGD with momentum 0.9.
    norm : bool
        Whether there are norms to be left out.
    """

    data: str
    network: str
    half: str
    build: Callable[[int, int, bool], nn.Sequential]
    rate: float
    norm: bool = False

    @property
    def name(self) -> str:
        """Return what tells it from the others, as ``digits, MLP``."""
        return f"{self.data}, {self.network}"


# fmt: off
CONFIGURATIONS: Final = (
    Configuration("digits", "MLP", "choose", mlp(64, 32), 0.05),
    Configuration("digits", "MLP, tanh", "report", mlp(64, 32, act=nn.Tanh), 0.05),
    Configuration("digits", "ConvNet of 8", "choose", conv(8, 16), 0.03),
    Configuration("digits", "ConvNet of 8, BatchNorm", "report",
                  conv(8, 16, norm=True), 0.05, True),
    Configuration("digits", "narrow MLP, LayerNorm", "choose", mlp(16, 16, norm=True), 0.05, True),
    Configuration("digits", "ConvNet of 4", "report", conv(4, 8), 0.03),
    Configuration("mnist", "ConvNet of 8, BatchNorm", "choose", conv(8, 16, norm=True), 0.02, True),
    Configuration("mnist", "MLP, LayerNorm", "report", mlp(64, 64, norm=True), 0.03, True),
    Configuration("mnist", "ConvNet of 4", "choose", conv(4, 8), 0.02),
    Configuration("mnist", "ConvNet of 8", "report", conv(8, 16), 0.02),
    Configuration("mnist", "MLP", "choose", mlp(128, 64), 0.02),
    Configuration("mnist", "ConvNet of 32, BatchNorm", "report",
                  conv(32, 32, norm=True), 0.02, True),
    Configuration("cifar", "ConvNet of 16, BatchNorm", "choose",
                  conv(16, 32, norm=True), 0.02, True),
    Configuration("cifar", "ConvNet of 8, BatchNorm", "report",
                  conv(8, 16, norm=True), 0.02, True),
    Configuration("cifar", "MLP, LayerNorm", "choose", mlp(64, 64, norm=True), 0.02, True),
    Configuration("cifar", "ConvNet of 4", "report", conv(4, 16), 0.02),
)
# fmt: on


@dataclass(slots=True)
class Sets:
    """The data sets, each loaded once.

    Attributes
    ----------
    folder : Path
        Of ``mnist.npz`` and ``cifar10.npz``.
    loaded : dict of str to tuple of Tensor
    """

    folder: Path
    loaded: dict[str, Data]

    def images(self, name: str) -> Data:
        """Return images, float32 of (samples, channels, side, side), and their classes."""
        if name not in self.loaded:
            x, y = load(name, self.folder)
            some = SAMPLES + VALID
            self.loaded[name] = x[:some].reshape(-1, _SHAPES[name][0], *_SHAPES[name][1:] * 2), y
        x, y = self.loaded[name]
        return x, y[: len(x)]


def trainings(
    configuration: Configuration, seeds: int, changed: int
) -> Iterator[tuple[str, Change, int]]:
    """Yield label, change and seed of each training of a configuration, the plain ones first."""
    for seed in range(seeds):
        yield "plain", PLAIN, seed
    for at, (label, change) in enumerate(CHANGES.items()):
        if change.norm or configuration.norm:
            for seed in range(changed):
                yield label, change, 1000 + 100 * at + seed


def record(
    configuration: Configuration, label: str, change: Change, seed: int, path: Path, sets: Sets
) -> None:
    """Train and record once."""
    x, y = sets.images(configuration.data)
    if change.inverted:
        x = x.min() + x.max() - x
    (x, x_valid), (y, y_valid) = x.split([SAMPLES, VALID]), y.split([SAMPLES, VALID])
    torch.manual_seed(seed)
    y = y.clone()
    wrong = torch.rand(len(y)) < change.wrong
    y[wrong] = torch.randint(10, (int(wrong.sum()),))
    model = configuration.build(*_SHAPES[configuration.data], change.norm)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.data.mul_(change.scale)
    loss_fn = nn.CrossEntropyLoss()
    optimizer: torch.optim.Optimizer
    if change.adam:
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    else:
        rate = configuration.rate * change.rate
        optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9)
    config = {"configuration": configuration.name, "label": label, "seed": seed, **asdict(change)}
    with actrace.record(model, path, criterion=loss_fn, config=config, overwrite=True):
        for _ in range(EPOCHS):
            model.train()
            for batch in torch.randperm(len(x)).split(BATCH):
                optimizer.zero_grad()
                loss_fn(model(x[batch]), y[batch]).backward()
                optimizer.step()
            model.eval()
            with torch.no_grad():
                loss_fn(model(x_valid), y_valid)

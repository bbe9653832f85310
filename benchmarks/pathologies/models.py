"""The architectures: MLP, ConvNet, residual network, transformer, text network, autoencoder.

Each takes the shape of its data and can be had with other activations, depths and with or
without normalisation, so that a fault can be planted where people meet it. May import torch.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import torch
from benchmarks.pathologies.data import WORDS, Split
from torch import Tensor, nn
from torch.nn import functional as F

if TYPE_CHECKING:
    from benchmarks.pathologies.trainings import Training

__all__ = ["ARCHITECTURES", "build", "hidden_layers", "weighted_layers"]

ACTIVATIONS: Final[Mapping[str, type[nn.Module]]] = MappingProxyType(
    {"relu": nn.ReLU, "gelu": nn.GELU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid}
)


def build(training: Training, split: Split) -> nn.Module:
    """Return the training's model, its weights drawn from torch's random state."""
    return ARCHITECTURES[training.architecture](training, split)


def weighted_layers(model: nn.Module) -> list[nn.Linear | nn.Conv2d]:
    """Return the linear and convolutional layers in their order; the last gives the output."""
    return [m for m in model.modules() if isinstance(m, nn.Linear | nn.Conv2d)]


def hidden_layers(model: nn.Module) -> list[nn.Linear | nn.Conv2d]:
    """Return those of `weighted_layers` that do not give the output."""
    return weighted_layers(model)[:-1]


def _mlp(training: Training, split: Split) -> nn.Module:
    """Return fully connected layers of 96, 64, 64, ... units, two by default."""
    layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
    width = split.x[0].numel()
    for at in range(1, (training.depth or 2) + 1):
        following = 96 if at == 1 else 64
        layers[f"fc{at}"] = nn.Linear(width, following)
        if training.norm:
            layers[f"bn{at}"] = nn.BatchNorm1d(following)
        layers[f"act{at}"] = ACTIVATIONS[training.activation]()
        if training.dropout:
            layers[f"drop{at}"] = nn.Dropout(training.dropout)
        width = following
    layers["head"] = nn.Linear(width, training.outputs or split.classes)
    return nn.Sequential(layers)


def _convnet(training: Training, split: Split) -> nn.Module:
    """Return convolutions of 12, 24, 24, ... channels, two by default, and a hidden layer."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    channels, side = split.x.shape[1], split.x.shape[2]
    for at in range(1, (training.depth or 2) + 1):
        following = 12 if at == 1 else 24
        layers[f"conv{at}"] = nn.Conv2d(channels, following, 3, padding=1)
        if training.norm:
            layers[f"bn{at}"] = nn.BatchNorm2d(following)
        layers[f"act{at}"] = ACTIVATIONS[training.activation]()
        if at <= 2:
            layers[f"pool{at}"] = nn.MaxPool2d(2)
            side //= 2
        channels = following
    layers["flatten"] = nn.Flatten()
    layers["fc"] = nn.Linear(channels * side * side, 48)
    layers["act"] = ACTIVATIONS[training.activation]()
    if training.dropout:
        layers["drop"] = nn.Dropout(training.dropout)
    layers["head"] = nn.Linear(48, training.outputs or split.classes)
    return nn.Sequential(layers)


class _ResidualBlock(nn.Module):
    """Two convolutions with BatchNorm beside a shortcut (He et al. 2016)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.relu2 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output, shaped as its input."""
        return self.relu2(x + self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x))))))


def _resnet(training: Training, split: Split) -> nn.Module:
    """Return a stem, two residual blocks of 12 channels and a head."""
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        stem=nn.Conv2d(split.x.shape[1], 12, 3, padding=1, bias=False),
        bn=nn.BatchNorm2d(12),
        relu=nn.ReLU(),
    )
    if split.x.shape[2] > 8:
        layers["shrink"] = nn.MaxPool2d(2)
    for at in range(1, (training.depth or 2) + 1):
        layers[f"block{at}"] = _ResidualBlock(12)
    layers |= {"pool": nn.AdaptiveAvgPool2d(2), "flatten": nn.Flatten()}
    if training.dropout:
        layers["drop"] = nn.Dropout(training.dropout)
    layers["head"] = nn.Linear(48, training.outputs or split.classes)
    return nn.Sequential(layers)


class _Tokens(nn.Module):
    """Word numbers, or the rows of an image, as vectors with their places added."""

    def __init__(self, split: Split, width: int) -> None:
        super().__init__()
        self.embed: nn.Module
        if split.x.is_floating_point():
            _, channels, length, columns = split.x.shape
            self.embed = nn.Linear(channels * columns, width)
        else:
            length = split.x.shape[1]
            self.embed = nn.Embedding(WORDS, width, padding_idx=0)
        self.places = nn.Parameter(0.02 * torch.randn(length, width))

    def forward(self, x: Tensor) -> Tensor:
        """Return vectors, shape (sample, place, width)."""
        if x.is_floating_point():
            x = x.transpose(1, 2).flatten(2)
        found: Tensor = self.embed(x) + self.places
        return found


class _TransformerBlock(nn.Module):
    """Pre-norm attention and feed-forward, as in GPT-2 (Radford et al. 2019), not masked."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.ln1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.ln2 = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, 2 * width)
        self.act = nn.GELU()
        self.drop = nn.Dropout(dropout)
        self.fc2 = nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output, shaped as its input."""
        n, length, width = x.shape
        qkv = self.qkv(self.ln1(x)).view(n, length, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(q, k, v)
        x = x + self.proj(seen.transpose(1, 2).reshape(n, length, width))
        found: Tensor = x + self.drop(self.fc2(self.act(self.fc1(self.ln2(x)))))
        return found


class _MeanPlace(nn.Module):
    """The mean over the places of a sequence."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the mean, shape (sample, width)."""
        return x.mean(1)


def _transformer(training: Training, split: Split) -> nn.Module:
    """Return two blocks of width 32 over words or rows of pixels, their mean, and a head."""
    layers: OrderedDict[str, nn.Module] = OrderedDict(tokens=_Tokens(split, 32))
    for at in range(1, (training.depth or 2) + 1):
        layers[f"block{at}"] = _TransformerBlock(32, 2, training.dropout)
    layers |= {"ln": nn.LayerNorm(32), "mean": _MeanPlace()}
    layers["head"] = nn.Linear(32, training.outputs or split.classes)
    return nn.Sequential(layers)


def _textnet(training: Training, split: Split) -> nn.Module:
    """Return the mean of the words' vectors and one hidden layer, as in fastText."""
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        words=nn.EmbeddingBag(WORDS, 32, mode="mean", padding_idx=0)
    )
    if training.dropout:
        layers["drop"] = nn.Dropout(training.dropout)
    layers |= {"fc": nn.Linear(32, 32), "act": ACTIVATIONS[training.activation]()}
    layers["head"] = nn.Linear(32, training.outputs or split.classes)
    return nn.Sequential(layers)


def _autoencoder(training: Training, split: Split) -> nn.Module:
    """Return layers that squeeze an image through 24 units and give its pixels again."""
    pixels = split.x[0].numel()
    activation = ACTIVATIONS[training.activation]
    return nn.Sequential(
        OrderedDict(
            flatten=nn.Flatten(),
            encode=nn.Linear(pixels, 96),
            act1=activation(),
            code=nn.Linear(96, 24),
            decode=nn.Linear(24, 96),
            act2=activation(),
            pixels=nn.Linear(96, pixels),
        )
    )


ARCHITECTURES: Final[Mapping[str, Callable[[Training, Split], nn.Module]]] = MappingProxyType(
    {
        "mlp": _mlp,
        "convnet": _convnet,
        "resnet": _resnet,
        "transformer": _transformer,
        "textnet": _textnet,
        "autoencoder": _autoencoder,
    }
)

"""The notebooks' data: MNIST, CIFAR-10 and film reviews from a folder, digits without it.

The folder is `settings.DATA`. Where a file is missing, scikit-learn's digits stand in for
images, in the same shape, and `note` says so plainly; nothing stands in for the reviews.
May import torch and scikit-learn.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor
from torch.nn import functional as F

from common.settings import DATA

__all__ = ["Images", "Sentences", "cifar10", "mnist", "reviews"]

_FILES = ("movie_reviews_neg.txt", "movie_reviews_pos.txt")
CIFAR10 = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Images:
    """Images with their labels, to train on and to validate with.

    Attributes
    ----------
    name : str
        Whose images they are: ``"MNIST"``, ``"CIFAR-10"`` or ``"scikit-learn's digits"``.
    x, x_valid : Tensor
        float32, shape (sample, channel, row, column), of mean 0 and spread 1 in training.
    y, y_valid : Tensor
        int64, shape (sample,).
    classes : tuple of str
        Names of the labels.
    note : str
        What was asked for and what is here.
    """

    name: str
    x: Tensor
    y: Tensor
    x_valid: Tensor
    y_valid: Tensor
    classes: tuple[str, ...]
    note: str


@dataclass(frozen=True, slots=True)
class Sentences:
    """Sentences as word numbers, and which are praise.

    Attributes
    ----------
    x, x_valid : Tensor
        int64, shape (sample, place); 0 stands for no word, 1 for a rare one.
    y, y_valid : Tensor
        float32, shape (sample,): 1 is praise.
    words : int
        How many words are told apart.
    note : str
    """

    x: Tensor
    y: Tensor
    x_valid: Tensor
    y_valid: Tensor
    words: int
    note: str


def mnist(n_train: int, n_valid: int) -> Images:
    """Return handwritten digits of 28 x 28 pixels; training and test parts as published."""
    names = tuple(str(digit) for digit in range(10))
    return _images("MNIST", "mnist.npz", n_train, n_valid, names, channels=1, side=28)


def cifar10(n_train: int, n_valid: int) -> Images:
    """Return colour photographs of 32 x 32 pixels; training and test parts as published."""
    return _images("CIFAR-10", "cifar10.npz", n_train, n_valid, CIFAR10, channels=3, side=32)


def reviews(n_train: int, n_valid: int, *, words: int = 2000, length: int = 24) -> Sentences | None:
    """Return sentences of film reviews, None where their files are missing."""
    paths = [_path(name) for name in _FILES]
    if not all(paths):
        return None
    lines = [path.read_text(encoding="utf-8").splitlines() for path in paths if path]
    sentences = [line.split() for side in lines for line in side]
    praise = np.repeat([0.0, 1.0], [len(side) for side in lines])
    order = np.random.default_rng(0).permutation(len(sentences))[: n_train + n_valid]
    common = Counter(word for at in order[:n_train] for word in sentences[at])
    number = {word: at for at, (word, _) in enumerate(common.most_common(words - 2), start=2)}
    x = torch.zeros(len(order), length, dtype=torch.int64)
    for row, at in zip(x, order, strict=True):
        known = [number.get(word, 1) for word in sentences[at][:length]]
        row[: len(known)] = torch.tensor(known, dtype=torch.int64)
    y = torch.tensor(praise[order], dtype=torch.float32)
    note = f"film reviews: {n_train} sentences to train on, {len(order) - n_train} to validate with"
    return Sentences(x[:n_train], y[:n_train], x[n_train:], y[n_train:], words, note)


def _images(
    name: str,
    file: str,
    n_train: int,
    n_valid: int,
    classes: tuple[str, ...],
    *,
    channels: int,
    side: int,
) -> Images:
    path = _path(file)
    if path is None:
        where = "ACTRACE_DATA names no folder" if DATA is None else f"it is not in {DATA}"
        note = f"{name} needs {file}, and {where}: these are scikit-learn's digits in its place"
        pixels, labels = _digits(channels, side)
        n_train, n_valid = min(n_train, 1437), min(n_valid, 360)
        parts = (pixels[:n_train], labels[:n_train]), (pixels[-n_valid:], labels[-n_valid:])
        name, classes = "scikit-learn's digits", tuple(str(digit) for digit in range(10))
    else:
        with np.load(path) as held:
            parts = tuple(
                (_pixels(held[f"x_{part}"][:n]), torch.tensor(held[f"y_{part}"][:n].ravel()))
                for part, n in (("train", n_train), ("test", n_valid))
            )
        note = ""
    (x, y), (x_valid, y_valid) = parts
    note = note or f"{name}: {len(x)} images to train on, {len(x_valid)} to validate with"
    mean, spread = x.mean(), x.std()
    x, x_valid = (x - mean) / spread, (x_valid - mean) / spread
    return Images(name, x, y.long(), x_valid, y_valid.long(), classes, note)


def _pixels(images: np.ndarray) -> Tensor:
    """Return float32 images, channels first."""
    x = torch.tensor(images, dtype=torch.float32)
    return x[:, None] if x.ndim == 3 else x.permute(0, 3, 1, 2).contiguous()


def _digits(channels: int, side: int) -> tuple[Tensor, Tensor]:
    """Return the digits, each pixel drawn as 3 x 3 or more, in a frame of zeros."""
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(images))
    x = torch.tensor(images[order] * (255 / 16), dtype=torch.float32).reshape(-1, 1, 8, 8)
    x = F.interpolate(x, scale_factor=side // 8, mode="nearest")
    x = F.pad(x, [(side - x.shape[-1]) // 2] * 4)
    return x.repeat(1, channels, 1, 1), torch.tensor(labels[order])


def _path(name: str) -> Path | None:
    """Return the file in the data's folder, None where it is missing."""
    if DATA is None or not (DATA / name).is_file():
        return None
    return DATA / name

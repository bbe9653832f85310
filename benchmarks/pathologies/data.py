"""The data sets, small enough for trainings of seconds: digits, MNIST, CIFAR-10, film reviews.

Only the digits come with scikit-learn; the others are read from a folder that the user
names. May import torch and scikit-learn.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["DATA_SETS", "Split", "load"]

#: Words of the film reviews that are told apart, and words of a sentence that are read.
WORDS: Final = 2000
LENGTH: Final = 24
#: Aeroplane, car, frog, horse, ship.
CIFAR5: Final = (0, 1, 6, 7, 8)


@dataclass(frozen=True, slots=True)
class Split:
    """What is trained on and what is validated with.

    Attributes
    ----------
    x, y : Tensor
        Training inputs, float32 (sample, channel, row, column) or (sample, word), or
        int64 word numbers (sample, place); and labels, int64 (sample).
    x_valid, y_valid : Tensor
        The same for validation.
    classes : int
    mean, spread : float
        What the inputs were standardised with, in their own units; 0 and 1 for words.
    """

    x: Tensor
    y: Tensor
    x_valid: Tensor
    y_valid: Tensor
    classes: int
    mean: float = 0.0
    spread: float = 1.0


def load(name: str, folder: Path | None) -> Split:
    """Return a data set, its order the same each time.

    Parameters
    ----------
    name : str
        One of `DATA_SETS`.
    folder : Path or None
        Where ``mnist.npz``, ``cifar10.npz``, ``movie_reviews_pos.txt`` and
        ``movie_reviews_neg.txt`` lie; the digits need none.

    Raises
    ------
    ValueError
        There is no such data set.
    FileNotFoundError
        Its files are not in the folder.
    """
    if name not in DATA_SETS:
        raise ValueError(f"no data set is called {name!r}; there are {', '.join(DATA_SETS)}")
    return DATA_SETS[name](folder)


def _digits(folder: Path | None) -> Split:
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(images))
    x = torch.tensor(images[order] * (255 / 16), dtype=torch.float32).reshape(-1, 1, 8, 8)
    return _images(x, torch.tensor(labels[order]), n_train=1437)


def _mnist(folder: Path | None) -> Split:
    with np.load(_file(folder, "mnist.npz")) as found:
        x = np.concatenate([found["x_train"][:8000], found["x_test"][:1000]])
        y = np.concatenate([found["y_train"][:8000], found["y_test"][:1000]])
    return _images(_halved(torch.from_numpy(x)[:, None]), torch.from_numpy(y).long(), n_train=8000)


def _cifar5(folder: Path | None) -> Split:
    """CIFAR-10's classes that are about equally hard: small networks tell few cats, say."""
    with np.load(_file(folder, "cifar10.npz")) as found:
        parts = [(found[f"x_{part}"], found[f"y_{part}"].reshape(-1)) for part in ("train", "test")]
    kept = [(x[np.isin(y, CIFAR5)], y[np.isin(y, CIFAR5)]) for x, y in parts]
    x, y = (np.concatenate(both) for both in zip(*kept, strict=True))
    pixels = torch.from_numpy(x).permute(0, 3, 1, 2)
    labels = torch.from_numpy(np.searchsorted(CIFAR5, y))
    return _images(_halved(pixels), labels, n_train=len(kept[0][0]), classes=len(CIFAR5))


def _reviews(folder: Path | None) -> Split:
    """Sentences as word numbers; 0 stands for no word, 1 for a rare one."""
    sentences, labels = _sentences(folder)
    common = Counter(word for sentence in sentences for word in sentence)
    number = {word: at for at, (word, _) in enumerate(common.most_common(WORDS - 2), start=2)}
    x = torch.zeros(len(sentences), LENGTH, dtype=torch.int64)
    for row, sentence in zip(x, sentences, strict=True):
        found = [number.get(word, 1) for word in sentence[:LENGTH]]
        row[: len(found)] = torch.tensor(found)
    return Split(x[:9000], labels[:9000], x[9000:], labels[9000:], classes=2)


def _words(folder: Path | None) -> Split:
    """The same sentences as bags of words: 1 where a word occurs, scaled to a spread of 1."""
    split = _reviews(folder)
    x, x_valid = (
        torch.zeros(len(ids), WORDS).scatter_(1, ids, 1.0)[:, 2:]
        for ids in (split.x, split.x_valid)
    )
    spread = float(x.std())
    return Split(x / spread, split.y, x_valid / spread, split.y_valid, 2, 0.0, spread)


DATA_SETS: Final[Mapping[str, Callable[[Path | None], Split]]] = MappingProxyType(
    {"digits": _digits, "mnist": _mnist, "cifar5": _cifar5, "reviews": _reviews, "words": _words}
)


def _images(x: Tensor, y: Tensor, *, n_train: int, classes: int = 10) -> Split:
    """Return images from 0 to 255 as a split, standardised by the training images."""
    mean, spread = float(x[:n_train].mean()), float(x[:n_train].std())
    x = (x - mean) / spread
    return Split(x[:n_train], y[:n_train], x[n_train:], y[n_train:], classes, mean, spread)


def _halved(pixels: Tensor) -> Tensor:
    """Return images of half the height and width, float32: a quarter of the work."""
    return F.avg_pool2d(pixels.float(), 2)


def _sentences(folder: Path | None) -> tuple[list[list[str]], Tensor]:
    """Return the words of all sentences, mixed, and which are praise."""
    sentences: list[list[str]] = []
    labels: list[int] = []
    for label, name in enumerate(("movie_reviews_neg.txt", "movie_reviews_pos.txt")):
        lines = _file(folder, name).read_text(encoding="utf-8").splitlines()
        sentences += [line.split() for line in lines]
        labels += [label] * len(lines)
    order = np.random.default_rng(0).permutation(len(labels))
    return [sentences[at] for at in order], torch.tensor(labels)[order]


def _file(folder: Path | None, name: str) -> Path:
    found = None if folder is None else folder / name
    if found is None or not found.is_file():
        where = "no folder was given" if folder is None else f"it is not in {folder}"
        raise FileNotFoundError(
            f"{name} is needed and {where}; name the folder that has it by --data DIR"
        )
    return found

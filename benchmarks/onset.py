"""How near the onset of overfitting lies to the least validation loss, on real data.

Usage: python benchmarks/onset.py --data DIR [--runs DIR] [--only PATTERN]

Trains forty small networks (digits of scikit-learn; of DIR: mnist.npz, cifar10.npz,
movie_reviews_pos.txt and movie_reviews_neg.txt), half of them made to overfit by few
samples or wrong labels, half not, and prints what `actrace.onset` says beside where the
recorded validation loss was lowest. Defaults were chosen on the trainings of even
number; those of odd number are the test. It takes some ten minutes on one core; with
--runs the recordings are kept, and found again by the next call.
"""

from __future__ import annotations

import argparse
import fnmatch
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn

import actrace

Data = tuple[torch.Tensor, torch.Tensor]


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


FILES = ("mnist.npz", "cifar10.npz", "movie_reviews_pos.txt", "movie_reviews_neg.txt")
#: The commonest words are the inputs of a review.
WORDS = 2000
OVERFIT = (
    Training(
        "digits, MLP, 4 of 10 labels wrong",
        "digits",
        300,
        mlp(64, 256),
        40,
        lr=5e-3,
        wrong_labels=0.4,
        n_valid=600,
    ),
    Training(
        "digits, MLP with BatchNorm, 4 of 10 wrong",
        "digits",
        300,
        mlp(64, 128, norm=True),
        40,
        lr=5e-3,
        wrong_labels=0.4,
        n_valid=600,
    ),
    Training(
        "digits, conv, 4 of 10 wrong",
        "digits",
        300,
        conv(1, 8),
        40,
        lr=1e-2,
        wrong_labels=0.4,
        n_valid=600,
    ),
    Training(
        "digits, MLP, 200 samples, 2 of 10 wrong",
        "digits",
        200,
        mlp(64, 512),
        40,
        lr=2e-3,
        wrong_labels=0.2,
        n_valid=600,
        batch=16,
    ),
    Training("mnist, MLP, 500 samples", "mnist", 500, mlp(784, 256), 25),
    Training(
        "mnist, MLP, 1000 samples, 3 of 10 wrong",
        "mnist",
        1000,
        mlp(784, 256),
        20,
        wrong_labels=0.3,
    ),
    Training(
        "mnist, conv, 500 samples, 2 of 10 wrong",
        "mnist",
        500,
        conv(1, 28, width=8),
        24,
        lr=2e-3,
        wrong_labels=0.2,
    ),
    Training(
        "mnist, MLP with BatchNorm, 3 of 10 wrong",
        "mnist",
        2000,
        mlp(784, 128, norm=True),
        16,
        wrong_labels=0.3,
        batch=64,
    ),
    Training(
        "mnist, MLP with weight decay, 4 of 10 wrong",
        "mnist",
        1000,
        mlp(784, 256),
        20,
        wrong_labels=0.4,
        weight_decay=0.1,
    ),
    Training(
        "mnist, MLP, SGD, 300 samples, 1 of 10 wrong",
        "mnist",
        300,
        mlp(784, 256),
        30,
        lr=0.05,
        wrong_labels=0.1,
        momentum=True,
    ),
    Training("cifar, MLP, 1000 samples", "cifar", 1000, mlp(3072, 128), 20),
    Training("cifar, MLP, 4000 samples", "cifar", 4000, mlp(3072, 128), 16, batch=64),
    Training("cifar, MLP with dropout, 1000 samples", "cifar", 1000, mlp(3072, 256, drop=0.2), 24),
    Training(
        "cifar, MLP with BatchNorm, 1000 samples", "cifar", 1000, mlp(3072, 128, norm=True), 16
    ),
    Training("cifar, conv, 1500 samples", "cifar", 1500, conv(3, 32), 22, lr=3e-3),
    Training(
        "cifar, conv with BatchNorm, 1500 samples",
        "cifar",
        1500,
        conv(3, 32, norm=True),
        16,
        lr=2e-3,
    ),
    Training("reviews, linear, 1000 samples", "reviews", 1000, linear(WORDS, 2), 40, lr=2e-2),
    Training("reviews, MLP, 1000 samples", "reviews", 1000, mlp(WORDS, 64, classes=2), 14),
    Training(
        "reviews, MLP, one output, 2000 samples", "reviews", 2000, mlp(WORDS, 64, classes=1), 12
    ),
    Training(
        "reviews, MLP with dropout, 1500 samples",
        "reviews",
        1500,
        mlp(WORDS, 128, drop=0.5, classes=2),
        14,
    ),
)
WELL = (
    Training(
        "digits, MLP with dropout",
        "digits",
        1197,
        mlp(64, 64, drop=0.2),
        15,
        weight_decay=0.01,
        n_valid=600,
    ),
    Training("digits, linear", "digits", 1197, linear(64), 20, n_valid=600),
    Training("digits, conv with dropout", "digits", 1197, conv(1, 8, drop=0.3), 12, n_valid=600),
    Training(
        "digits, MLP with BatchNorm, noise added",
        "digits",
        1197,
        mlp(64, 64, norm=True),
        10,
        lr=5e-4,
        n_valid=600,
        noise=0.2,
    ),
    Training(
        "mnist, MLP with dropout", "mnist", 12000, mlp(784, 64, drop=0.3), 6, batch=64, n_valid=3000
    ),
    Training("mnist, linear", "mnist", 12000, linear(784), 8, lr=5e-4, batch=64, n_valid=3000),
    Training(
        "mnist, conv with dropout", "mnist", 5000, conv(1, 28, width=8, drop=0.4), 7, batch=64
    ),
    Training(
        "mnist, MLP with BatchNorm, noise added",
        "mnist",
        8000,
        mlp(784, 64, norm=True),
        6,
        lr=5e-4,
        batch=64,
        noise=0.3,
    ),
    Training(
        "mnist, linear, 2 of 10 labels wrong",
        "mnist",
        12000,
        linear(784),
        6,
        lr=3e-4,
        wrong_labels=0.2,
        batch=64,
    ),
    Training("mnist, MLP, SGD", "mnist", 12000, mlp(784, 32), 8, lr=5e-3, batch=64, momentum=True),
    Training(
        "cifar, MLP with dropout",
        "cifar",
        10000,
        mlp(3072, 64, drop=0.5),
        6,
        lr=3e-4,
        weight_decay=0.01,
        batch=64,
        n_valid=2000,
    ),
    Training("cifar, linear", "cifar", 8000, linear(3072), 8, lr=1e-4, batch=64, n_valid=2000),
    Training(
        "cifar, conv with dropout",
        "cifar",
        8000,
        conv(3, 32, width=8, drop=0.3),
        6,
        batch=64,
        n_valid=2000,
    ),
    Training("reviews, linear", "reviews", 8000, linear(WORDS, 2), 8, batch=64),
    Training(
        "reviews, linear, one output",
        "reviews",
        8000,
        linear(WORDS, 1),
        8,
        batch=64,
        weight_decay=0.01,
    ),
    Training(
        "digits, linear, fast and long",
        "digits",
        1197,
        linear(64),
        40,
        lr=1e-2,
        n_valid=600,
        weight_decay=0.1,
    ),
    Training(
        "mnist, linear, fast and long",
        "mnist",
        12000,
        linear(784),
        12,
        lr=3e-3,
        batch=64,
        n_valid=3000,
        weight_decay=0.1,
    ),
    Training(
        "mnist, MLP with dropout, long",
        "mnist",
        12000,
        mlp(784, 64, drop=0.5),
        14,
        lr=2e-3,
        batch=64,
        n_valid=3000,
    ),
    Training(
        "cifar, MLP with dropout, long",
        "cifar",
        12000,
        mlp(3072, 64, drop=0.5),
        14,
        lr=1e-3,
        batch=64,
        n_valid=2000,
        weight_decay=0.1,
    ),
    Training(
        "reviews, MLP, slow",
        "reviews",
        8000,
        mlp(WORDS, 16, drop=0.5, classes=2),
        6,
        lr=1e-4,
        batch=64,
    ),
)


def load(name: str, folder: Path) -> Data:
    """Return inputs, each a row, and classes of one data set, shuffled."""
    if name == "digits":
        x, y = load_digits(return_X_y=True)
        x = x / 16
    elif name == "reviews":
        x, y = reviews(folder)
    else:
        file = folder / {"mnist": "mnist.npz", "cifar": "cifar10.npz"}[name]
        with np.load(file) as arrays:
            x, y = arrays["x_train"][:15000] / 255, arrays["y_train"][:15000]
    order = np.random.default_rng(0).permutation(len(x))
    flat = x.reshape(len(x), -1)[order].astype(np.float32)
    if name == "cifar":
        # Channels first, and around zero.
        flat = flat.reshape(-1, 32, 32, 3).transpose(0, 3, 1, 2).reshape(len(x), -1) - 0.5
    return torch.tensor(flat), torch.tensor(np.ravel(y)[order].astype(np.int64))


def reviews(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return sentences as bags of the commonest words, and whether each is friendly."""
    texts, classes = [], []
    for label, which in enumerate(("neg", "pos")):
        lines = (folder / f"movie_reviews_{which}.txt").read_text(
            encoding="utf-8", errors="replace"
        )
        texts += [re.findall(r"[a-z']+", line.lower()) for line in lines.splitlines()]
        classes += [label] * (len(texts) - len(classes))
    common = Counter(word for text in texts for word in text).most_common(WORDS)
    place = {word: i for i, (word, _) in enumerate(common)}
    bags = np.zeros((len(texts), WORDS), dtype=np.float32)
    for row, text in zip(bags, texts, strict=True):
        row[[place[word] for word in text if word in place]] = 1
    return bags, np.array(classes)


def train(training: Training, data: Data, path: Path) -> None:
    """Train and record."""
    x, y = data
    x_valid, y_valid = x[-training.n_valid :], y[-training.n_valid :]
    x, y = x[: training.n_train], y[: training.n_train].clone()
    torch.manual_seed(1)
    wrong = torch.rand(len(y)) < training.wrong_labels
    y[wrong] = torch.randint(10, (int(wrong.sum()),))
    model = training.network()
    one_output = model[-1].out_features == 1
    loss_fn: nn.Module = nn.BCEWithLogitsLoss() if one_output else nn.CrossEntropyLoss()
    if one_output:
        y, y_valid = y.float()[:, None], y_valid.float()[:, None]
    optimizer: torch.optim.Optimizer
    if training.momentum:
        optimizer = torch.optim.SGD(
            model.parameters(), training.lr, momentum=0.9, weight_decay=training.weight_decay
        )
    else:
        optimizer = torch.optim.AdamW(
            model.parameters(), training.lr, weight_decay=training.weight_decay
        )
    with actrace.record(model, path, criterion=loss_fn, overwrite=True):
        for _ in range(training.epochs):
            model.train()
            for batch in torch.randperm(len(x)).split(training.batch):
                seen = x[batch]
                if training.noise:
                    seen = seen + training.noise * torch.randn_like(seen)
                loss = loss_fn(model(seen), y[batch])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            model.eval()
            with torch.no_grad():
                for batch in torch.arange(len(x_valid)).split(250):
                    loss_fn(model(x_valid[batch]), y_valid[batch])


@dataclass(frozen=True, slots=True)
class Row:
    """What one training's losses and its onset say."""

    name: str
    overfits: bool
    test: bool
    epochs: int
    least: int
    rise: float
    onset: int | None
    off: float

    @property
    def right(self) -> bool:
        """An onset within two epochs of the least loss, or none where none is due."""
        if self.onset is None:
            return not self.overfits
        return self.overfits and abs(self.onset - self.least) <= 2


def judge(training: Training, path: Path, *, overfits: bool, test: bool) -> Row:
    """Return a training's row; `off` is how far the error lies from the validation loss."""
    found = actrace.onset(actrace.open(path))
    valid = found.series.sel(phase="valid")
    loss, error = valid["loss"].to_numpy(), valid["error"].to_numpy()
    return Row(
        training.name,
        overfits,
        test,
        training.epochs,
        int(loss.argmin()),
        float(loss[-1] / loss.min()),
        found.epoch,
        float(np.abs(error / loss - 1).mean()),
    )


def print_rows(rows: list[Row]) -> None:
    """Print the table, and what of it was right."""
    print("| training | set | epochs | least loss in | last / least | onset | error off by | |")
    print("|---|---|---|---|---|---|---|---|")
    for row in rows:
        print(
            f"| {row.name} | {'test' if row.test else 'choice'} | {row.epochs} | {row.least} | "
            f"{row.rise:.2f} | {'none' if row.onset is None else row.onset} | "
            f"{100 * row.off:.0f} % | {'' if row.right else 'wrong'} |"
        )
    print()
    for overfits, what in ((True, "onset within two epochs of the least loss"), (False, "none")):
        for test in (False, True):
            some = [row for row in rows if (row.overfits, row.test) == (overfits, test)]
            print(
                f"{'made to overfit' if overfits else 'healthy'}, {'test' if test else 'choice'}: "
                f"{what} in {sum(row.right for row in some)} of {len(some)}"
            )
    if rows:
        off = np.median([row.off for row in rows])
        print(f"error of the outputs off the recorded loss by {100 * off:.1f} % in the median")


def main() -> None:
    """Train what is not there yet, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--runs", type=Path, help="where recordings are kept between calls")
    parser.add_argument("--only", default="*", help="trainings whose name fits this pattern")
    args = parser.parse_args()
    missing = [name for name in FILES if not (args.data / name).is_file()]
    if missing:
        sys.exit(f"{args.data} has no {', '.join(missing)}: give the folder of all by --data DIR")
    torch.set_num_threads(1)
    sets: dict[str, Data] = {}
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = args.runs or Path(scratch)
        for overfits, group in ((True, OVERFIT), (False, WELL)):
            for number, training in enumerate(group):
                if not fnmatch.fnmatch(training.name, args.only):
                    continue
                path = folder / f"{'over' if overfits else 'well'}-{number}.zarr"
                if not path.exists():
                    if training.data not in sets:
                        sets[training.data] = load(training.data, args.data)
                    train(training, sets[training.data], path)
                rows.append(judge(training, path, overfits=overfits, test=number % 2 == 1))
                print(f"{len(rows)}. {training.name}", file=sys.stderr, flush=True)
    print_rows(rows)


if __name__ == "__main__":
    main()

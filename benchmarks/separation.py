"""How well the shape of the outputs alone ranks trainings, against the labelled answer.

Usage: python benchmarks/separation.py --data DIR [--runs FOLDER] [--epochs N]

Records trainings on MNIST and CIFAR-10: three architectures at five learning rates, from far
too low to far too high. Then holds, epoch by epoch, what `actrace.find_peaks` says of
the output layer without labels against what `actrace.twin_peaks` says with them, and
the confusion that the activations show against the true confusion matrix. Runs that
are already in FOLDER are not recorded again.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import nn

import actrace

_BARE = ("separation", "two_normals_d")
TRAIN, VALID, BATCH = 4000, 1000, 64
RATES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)


def load(folder: Path, name: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Return images (samples, channels, height, width) around 0, and labels."""
    path = folder / f"{name}.npz"
    if not path.is_file():
        raise SystemExit(f"no {path.name} in {folder}: give its folder by --data DIR")
    with np.load(path) as held:
        images, labels = held["x_train"][: TRAIN + VALID], held["y_train"][: TRAIN + VALID]
    x = torch.tensor(images, dtype=torch.float32) / 255 - 0.5
    x = x[:, None] if x.ndim == 3 else x.permute(0, 3, 1, 2).contiguous()
    return x, torch.tensor(labels.astype(np.int64).ravel())


def linear(channels: int, size: int) -> nn.Module:
    """Return a softmax regression."""
    return nn.Sequential(nn.Flatten(), nn.Linear(channels * size * size, 10))


def perceptron(channels: int, size: int) -> nn.Module:
    """Return a network of two hidden layers."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(channels * size * size, 128),
        nn.ReLU(),
        nn.Linear(128, 64),
        nn.ReLU(),
        nn.Linear(64, 10),
    )


def convolutional(channels: int, size: int) -> nn.Module:
    """Return a small convolutional network with normalisation."""
    return nn.Sequential(
        nn.Conv2d(channels, 8, 3, stride=2, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, stride=2, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(16 * (size // 4) ** 2, 10),
    )


MODELS: dict[str, Callable[[int, int], nn.Module]] = {
    "linear": linear,
    "mlp": perceptron,
    "conv": convolutional,
}


def record(
    path: Path, x: torch.Tensor, y: torch.Tensor, model: nn.Module, rate: float, epochs: int
) -> None:
    """Train a model once and record its output layer."""
    optimizer, loss_fn = torch.optim.Adam(model.parameters(), lr=rate), nn.CrossEntropyLoss()
    with actrace.record(model, path, criterion=loss_fn, overwrite=True):
        for _ in range(epochs):
            model.train()
            for batch in torch.randperm(TRAIN).split(BATCH):
                loss = loss_fn(model(x[batch]), y[batch])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            model.eval()
            with torch.no_grad():
                for batch in torch.arange(TRAIN, TRAIN + VALID).split(250):
                    loss_fn(model(x[batch]), y[batch])


def recorded(folder: Path, data: Path, epochs: int) -> list[Path]:
    """Return the runs, recording those that are not there yet."""
    paths = []
    for name in ("mnist", "cifar10"):
        x, y = load(data, name)
        for (kind, make), rate in itertools.product(MODELS.items(), RATES):
            path = folder / f"{name}-{kind}-{rate:g}.zarr"
            if not path.exists():
                torch.manual_seed(0)
                record(path, x, y, make(x.shape[1], x.shape[2]), rate, epochs)
                print(f"recorded {path.name}", flush=True)
            paths.append(path)
    return paths


def rank_agreement(paths: list[Path]) -> None:
    """Print how the unlabelled separation ranks epochs and trainings, against the labelled."""
    rows = []
    for path in paths:
        run = actrace.open(path)
        shape = actrace.find_peaks(run).compute()
        apart = actrace.twin_peaks(run).compute()
        for phase, epoch in itertools.product(("train", "valid"), apart["epoch"].values.tolist()):
            at = {"phase": phase, "epoch": epoch}
            label, bare = apart.sel(at), shape.sel(at)
            labelled = [float(label[n]) for n in ("understanding", "d_prime", "auc")]
            rows.append((path.name, phase, epoch, *labelled, *(float(bare[n]) for n in _BARE)))
    last = max(row[2] for row in rows)
    print("| phase | of | pairs | separation: understanding | d' | AUC | D of two normals: d' |")
    print("|---|---|---|---|---|---|---|")
    for phase, data, only in itertools.product(
        ("train", "valid"), ("mnist", "cifar10", ""), (False, True)
    ):
        some = [
            row[3:]
            for row in rows
            if row[1] == phase and row[0].startswith(data) and (row[2] == last or not only)
        ]
        values = np.array(some)
        found = [
            spearmanr(values[:, a], values[:, b]).statistic
            for a, b in ((3, 0), (3, 1), (3, 2), (4, 1))
        ]
        what = f"{data or 'both'}, {'last epochs' if only else 'every epoch'}"
        print(
            f"| {phase} | {what} | {len(values)} | " + " | ".join(f"{r:.2f}" for r in found) + " |"
        )


def confusion_agreement(paths: list[Path]) -> None:
    """Print how the confusion that activations show ranks pairs, against the counted one."""
    print("\n| run | accuracy | Spearman | the 5 most counted among the 10 most seen |")
    print("|---|---|---|---|")
    every = []
    for path in paths:
        one = actrace.class_report(actrace.open(path), phases="valid").isel(phase=0, epoch=-1)
        one = one[["confusion_seen", "confusion", "accuracy", "samples"]].compute()
        off = ~np.eye(one.sizes["target_class"], dtype=bool)
        seen, counted = (one[name].values[off] for name in ("confusion_seen", "confusion"))
        accuracy = float((one["accuracy"] * one["samples"]).sum() / one["samples"].sum())
        both = len({*np.argsort(-counted)[:5].tolist()} & {*np.argsort(-seen)[:10].tolist()})
        every.append((accuracy, spearmanr(seen, counted).statistic, both))
        print(f"| {path.stem} | {100 * accuracy:.0f} % | {every[-1][1]:.2f} | {both} |")
    learnt = [row for row in every if row[0] > 0.3]
    print(
        f"\nOf the {len(learnt)} above 30 %: Spearman {np.median([r[1] for r in learnt]):.2f} in "
        f"the middle, {min(r[1] for r in learnt):.2f} at least; "
        f"{np.mean([r[2] for r in learnt]):.1f} of 5 on average"
    )


def main() -> None:
    """Record, measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the .npz files")
    parser.add_argument("--runs", type=Path, help="where runs are kept (default: nowhere)")
    parser.add_argument("--epochs", type=int, default=5, help="epochs (default: 5)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        paths = recorded(args.runs or Path(scratch), args.data, args.epochs)
        rank_agreement(paths)
        confusion_agreement(paths)


if __name__ == "__main__":
    main()

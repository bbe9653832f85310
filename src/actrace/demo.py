"""The main job, end to end: two real trainings recorded, told apart, drawn.

A small residual network learns scikit-learn's handwritten digits twice, once
with a sensible learning rate and once with one far too high. May import every
part of actrace; needs scikit-learn (``pip install "actrace[demo]"``).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import actrace
from actrace.errors import MissingDependencyError

__all__ = ["DemoRun", "ResidualNet", "load_digits", "run_demo", "train"]

BATCH = 64


class ResidualBlock(nn.Module):
    """Two convolutions with BatchNorm around a shortcut (He et al. 2016)."""

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
        residual = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
        out: Tensor = self.relu2(residual + x)
        return out


class ResidualNet(nn.Module):
    """A residual network for 8 x 8 images of 10 classes, 19 leaf modules."""

    def __init__(self, channels: int = 16) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, channels, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU()
        self.block1 = ResidualBlock(channels)
        self.block2 = ResidualBlock(channels)
        self.pool = nn.AdaptiveAvgPool2d(2)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(4 * channels, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits, shape (batch, 10)."""
        x = self.relu(self.bn(self.stem(x)))
        x = self.pool(self.block2(self.block1(x)))
        logits: Tensor = self.fc(self.flatten(x))
        return logits


@dataclass(frozen=True, slots=True)
class DemoRun:
    """One of the demo's trainings.

    Attributes
    ----------
    name, title : str
        The run's file name and what it shows.
    learning_rate : float
        Step size of plain SGD with momentum 0.9.
    """

    name: str
    title: str
    learning_rate: float


RUNS = (
    DemoRun("good", "a learning rate that suits: 0.05", 0.05),
    DemoRun("too-high", "a learning rate far too high: 4", 4.0),
)


def load_digits() -> tuple[TensorDataset, TensorDataset]:
    """Return scikit-learn's digits as training and validation sets.

    Returns
    -------
    train, valid : TensorDataset
        1,437 and 360 images, float32 (1, 8, 8) of mean 0 and spread 1, and
        int64 labels.

    Raises
    ------
    MissingDependencyError
        scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits as sklearn_digits
    except ImportError as error:
        raise MissingDependencyError(
            "the demo learns scikit-learn's digits, and scikit-learn is not installed; "
            'run: pip install "actrace[demo]"'
        ) from error
    images, labels = sklearn_digits(return_X_y=True)
    x = torch.tensor(images, dtype=torch.float32).reshape(-1, 1, 8, 8)
    x = (x - x.mean()) / x.std()
    y = torch.tensor(labels, dtype=torch.int64)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    train, valid = order[:1437], order[1437:]
    return TensorDataset(x[train], y[train]), TensorDataset(x[valid], y[valid])


def train(
    path: Path,
    learning_rate: float,
    *,
    epochs: int,
    overwrite: bool = False,
    on_batch: Callable[[], None] = lambda: None,
) -> Path:
    """Train one network, recorded, and return the path of its run.

    Everything here is an ordinary training loop; the lines that name
    ``recorder`` are all that recording takes.

    Parameters
    ----------
    path : Path
        Where the run goes.
    learning_rate : float
    epochs : int
        Passes over the training set, each followed by validation.
    overwrite : bool
        Replace a run that stands there.
    on_batch : callable
        Called after every batch, for a progress bar.
    """
    torch.manual_seed(0)
    training, validation = load_digits()
    model = ResidualNet()
    loss_fn = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=learning_rate, momentum=0.9)
    recorder = actrace.record(
        model,
        path,
        criterion=loss_fn,
        config={"learning_rate": learning_rate, "epochs": epochs, "batch_size": BATCH},
        tags=["demo"],
        overwrite=overwrite,
    )
    with recorder:
        for _ in range(epochs):
            model.train()
            for x, y in DataLoader(training, batch_size=BATCH, shuffle=True):
                loss = loss_fn(model(x), y)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                on_batch()
            model.eval()
            with torch.no_grad():
                for x, y in DataLoader(validation, batch_size=BATCH):
                    loss_fn(model(x), y)
                    on_batch()
    return Path(recorder.path)


def n_batches(epochs: int) -> int:
    """Return how many batches one training of the demo runs."""
    return epochs * (-(-1437 // BATCH) + -(-360 // BATCH))


def run_demo(
    directory: Path,
    *,
    epochs: int,
    overwrite: bool,
    on_run: Callable[[DemoRun], None],
    on_batch: Callable[[], None],
    on_chart: Callable[[Path], None],
) -> list[tuple[DemoRun, Path, float]]:
    """Train and draw both runs.

    Parameters
    ----------
    directory : Path
        Where the runs and pictures go; made if missing.
    epochs : int
    overwrite : bool
        Replace runs that stand there.
    on_run, on_batch, on_chart : callable
        Called before each training, after each batch and after each picture.

    Returns
    -------
    list of (DemoRun, Path, float)
        Each run's description, path and training time in seconds.
    """
    done = []
    for demo in RUNS:
        on_run(demo)
        began = time.perf_counter()
        path = train(
            directory / demo.name,
            demo.learning_rate,
            epochs=epochs,
            overwrite=overwrite,
            on_batch=on_batch,
        )
        done.append((demo, path, time.perf_counter() - began))
    for demo, path, _ in done:
        run = actrace.open(path)
        charts = {
            "colorful": actrace.colorful_chart(run),
            "colorful-fc": actrace.colorful_chart(run, layer="fc"),
            "twin-peaks": actrace.twin_peaks_chart(run),
        }
        for kind, chart in charts.items():
            for suffix in (".png", ".html"):
                picture = directory / f"{demo.name}-{kind}{suffix}"
                actrace.save_chart(chart, picture)
                on_chart(picture)
    return done

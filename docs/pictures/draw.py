"""Draws the pictures of docs/charts-more.md: ``python docs/pictures/draw.py demo``.

`demo` is the folder that ``make demo`` recorded its two trainings into. The network of the
gradients is trained here, on the same digits.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import torch
from torch import nn

import actrace
from actrace.demo import load_digits

HERE = Path(__file__).parent
DPI = 90


def vanishing(path: Path) -> None:
    """Record a network of ten sigmoids, through which next to no gradient comes back."""
    torch.manual_seed(0)
    (images, labels), _ = (part.tensors for part in load_digits())
    hidden = [layer for _ in range(10) for layer in (nn.Linear(32, 32), nn.Sigmoid())]
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), *hidden, nn.Linear(32, 10))
    loss_fn, optimizer = nn.CrossEntropyLoss(), torch.optim.SGD(model.parameters(), lr=0.1)
    with actrace.record(model, path, criterion=loss_fn, gradients=True, overwrite=True):
        for _ in range(4):
            for batch in torch.randperm(len(images)).split(64):
                optimizer.zero_grad()
                loss_fn(model(images[batch]), labels[batch]).backward()
                optimizer.step()


def main(folder: Path) -> None:
    """Draw all of them."""
    good, bad = (actrace.open(folder / f"{name}.zarr") for name in ("good", "too-high"))
    found = actrace.diagnose(bad)
    with tempfile.TemporaryDirectory() as scratch:
        vanishing(Path(scratch) / "ten-sigmoids")
        sigmoids = actrace.open(Path(scratch) / "ten-sigmoids")
        charts = {
            "marked": actrace.colorful_chart(bad, layer="block2.relu2", findings=found),
            "units": actrace.units_chart(bad, layer="block1.relu2"),
            "gradients": actrace.gradients_chart(sigmoids),
            "comparison": actrace.comparison_chart({"good": good, "too-high": bad}),
            "difference": actrace.difference_chart(good, bad, layer="block1.relu2"),
        }
        for name, chart in charts.items():
            actrace.save_chart(chart, HERE / f"{name}.png", dpi=DPI)


if __name__ == "__main__":
    if len(sys.argv) != 2 or not (Path(sys.argv[1]) / "too-high.zarr").exists():
        sys.exit("usage: python docs/pictures/draw.py FOLDER, where make demo recorded its runs")
    main(Path(sys.argv[1]))

"""Draw the pictures of the README and of the pages on charts from the demo's two runs.

``python docs/pictures.py DEMO docs/pictures``, where DEMO is the folder that
``actrace demo`` recorded into; ``make pictures`` does both. The network of the
gradients is trained here, on the same digits.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

import torch
from torch import nn

import actrace
from actrace.demo import load_digits

#: Drawn by the demo itself.
FROM_THE_DEMO = (
    "good-colorful",
    "good-colorful-fc",
    "good-twin-peaks",
    "too-high-colorful",
    "too-high-twin-peaks",
)
#: Picture -> the run, the chart and what it is asked.
OVER_TIME = {
    "separation": ("good", actrace.separation_chart, {}),
    "separation-by-class": ("good", actrace.separation_chart, {"by": "class"}),
    "divergence": ("good", actrace.divergence_chart, {"layers": ["*relu*", "fc"]}),
    "rates": ("too-high", actrace.rates_chart, {}),
    "warning": ("too-high", actrace.warning_chart, {}),
    "class-peaks": ("good", actrace.class_peaks_chart, {"epoch": 0}),
}


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


def main() -> None:
    """Draw them all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("demo", type=Path, help="what `actrace demo` wrote")
    parser.add_argument("pictures", type=Path, help="where the pictures go")
    args = parser.parse_args()
    args.pictures.mkdir(parents=True, exist_ok=True)
    for name in FROM_THE_DEMO:
        shutil.copyfile(args.demo / f"{name}.png", args.pictures / f"{name}.png")
    for name, (run, chart, asked) in OVER_TIME.items():
        opened = actrace.open(args.demo / f"{run}.zarr")
        actrace.save_chart(chart(opened, **asked), args.pictures / f"{name}.png", dpi=80)
    good, bad = (actrace.open(args.demo / f"{name}.zarr") for name in ("good", "too-high"))
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
        for name, drawn in charts.items():
            actrace.save_chart(drawn, args.pictures / f"{name}.png", dpi=90)


if __name__ == "__main__":
    main()

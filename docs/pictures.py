"""Draw the pictures of the README and of docs/charts.md from the demo's two runs.

``python docs/pictures.py DEMO docs/pictures``, where DEMO is the folder that
``actrace demo`` recorded into; ``make pictures`` does both.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import actrace

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


if __name__ == "__main__":
    main()

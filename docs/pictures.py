"""Draw the pictures of the README and the documentation, and write the gallery.

``python docs/pictures.py DEMO docs``, where DEMO is the folder that ``actrace demo``
recorded into; ``make pictures`` does both. The line of code under each picture of the
gallery is the one that drew it: this script evaluates it. The network of the gradients
is trained here, on the demo's digits.
"""

from __future__ import annotations

import argparse
import io
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import nn

import actrace
from actrace.analysis.charts.showing.save import drawing
from actrace.demo import load_digits

#: Bytes that a picture may have.
MOST = 150_000
#: Dots an inch and colours that are tried, the best first; words must stay readable.
QUALITIES = ((150, 256), (110, 256), (100, 128), (90, 96), (80, 64), (75, 40))


@dataclass(frozen=True)
class Shot:
    """A picture: its file, the line that draws it, and its place in the gallery.

    ``reading`` is empty where the picture stands elsewhere alone.
    """

    name: str
    code: str
    title: str = ""
    reading: str = ""
    paper: str = "light"


SHOTS = (
    Shot(
        "good-colorful",
        "actrace.colorful_chart(good)",
        "Every layer: the colorful dimension",
        "A tile a layer, a column a batch, value up, colour the log of the count. Healthy "
        "layers spread early, then change slowly.",
    ),
    Shot(
        "good-colorful-fc",
        'actrace.colorful_chart(good, layer="fc")',
        "One layer, large",
        "The output of a classifier: out of one bright line the fainter YES band parts and rises.",
    ),
    Shot(
        "colorful-by-class",
        'actrace.colorful_chart(good, by="class")',
        "The output by class",
        "A tile a true class: YES, its own unit, in orange over NO, the others, in blue. A "
        "class whose orange stays in the blue is not learned.",
    ),
    Shot(
        "marked",
        'actrace.colorful_chart(too_high, layer="block2.relu2", findings=found)',
        "Findings where they are",
        "A lane a rule, a bar over the batches that it is about: this layer died.",
    ),
    Shot("too-high-colorful", "actrace.colorful_chart(too_high)"),
    Shot("too-high-twin-peaks", "actrace.twin_peaks_chart(too_high)"),
    Shot(
        "good-twin-peaks",
        "actrace.twin_peaks_chart(good)",
        "Twin peaks, epoch by epoch",
        "What the output says where the answer is NO (blue) and where it is YES (orange): lines "
        "are training, filled is validation. The further apart, the better.",
    ),
    Shot(
        "twin-peaks-stacked",
        'actrace.twin_peaks_chart(good, view="stacked")',
        "Twin peaks along time",
        "The epochs behind one another, the last in front; the lines join the means. Peaks that "
        "part as the lines come down are a network that learns.",
    ),
    Shot(
        "twin-peaks-film",
        'actrace.twin_peaks_chart(good, view="slider")',
        "Twin peaks as a film",
        "The same frame by frame, on axes that stand still; saved as `.html` it is a page with "
        "a slider.",
    ),
    Shot(
        "twin-peaks-by-class",
        'actrace.twin_peaks_chart(good, by="class", epochs=[0, 1, 3, 7])',
        "Twin peaks by class",
        "YES of each class, in a colour of its own, on NO of all of them. A class that hangs "
        "behind lags.",
    ),
    Shot(
        "twin-peaks-class-stacks",
        'actrace.twin_peaks_chart(good, by="class", view="stacked", most=6)',
        "Each class along time",
        "The same for each class alone, here the six whose YES and NO are least apart.",
    ),
    Shot(
        "separation",
        "actrace.separation_chart(good)",
        "How far YES and NO are apart",
        "The numbers of the twin peaks over the epochs. Bands are how far the bins' width may "
        "have moved them.",
    ),
    Shot(
        "separation-by-class",
        'actrace.separation_chart(good, by="class")',
        "The same by class",
        "A panel a class, the whole output dotted behind it. A ring: the class lags beyond chance.",
    ),
    Shot(
        "class-peaks",
        "actrace.class_peaks_chart(good, epoch=0)",
        "Which class lags",
        "YES and NO of each class in one epoch. A coloured ground: told right less often than "
        "the others, beyond chance.",
    ),
    Shot(
        "divergence",
        'actrace.divergence_chart(good, layers=["*relu*", "fc"])',
        "Validation against training",
        "The distance of the two phases in each layer. In the grey band it is what training "
        "shows by itself; a dot is beyond it; an upright would be the onset of overfitting.",
    ),
    Shot(
        "rates",
        "actrace.rates_chart(too_high)",
        "Active and dead",
        "A row a layer, dark for silence: a network that dies goes dark from the top left.",
    ),
    Shot(
        "warning",
        "actrace.warning_chart(too_high)",
        "The layers in danger",
        "The least active and the most dead layer of each batch, in the colour of the layer.",
    ),
    Shot(
        "units",
        'actrace.units_chart(too_high, layer="block1.relu2")',
        "Units, one by one",
        "A row a unit, black where it is silent; the first to die on top.",
    ),
    Shot(
        "gradients",
        "actrace.gradients_chart(sigmoids)",
        "Gradients",
        "Parameters from the input down to the output. Ten sigmoids: what comes back to the "
        "first is nothing.",
    ),
    Shot(
        "comparison",
        'actrace.comparison_chart({"good": good, "too-high": too_high})',
        "Where runs part",
        "Bright where a layer is far from the baseline's; an upright bar where it parts for good.",
    ),
    Shot(
        "difference",
        'actrace.difference_chart(good, too_high, layer="block1.relu2")',
        "One layer of two runs",
        "On one axis and one scale, and what the second has more of (orange) or fewer (blue).",
    ),
    Shot(
        "twin-peaks-dark",
        'actrace.twin_peaks_chart(good, view="stacked")',
        "On dark paper",
        'Any chart, by `actrace.save_chart(chart, "peaks.png", theme="dark")`. Pages follow '
        "their reader's setting.",
        paper="dark",
    ),
)

HEAD = """\
# Gallery

Every chart, of real trainings: the two of `actrace demo` (handwritten digits, one learning rate
that suits and one far too high), and ten sigmoids in a row. How to read it, and the line that makes
it. [Charts](charts.md) and [more charts](charts-more.md) say more.

```python
import actrace

good = actrace.open("demo/good.zarr")
too_high = actrace.open("demo/too-high.zarr")
found = actrace.diagnose(too_high)
sigmoids = actrace.open("runs/ten-sigmoids")  # recorded with gradients=True
```

`actrace.save_chart(chart, "chart.png")` saves each as PNG, SVG or a page of HTML that needs no
network.

*Written by `make pictures`.*
"""


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


def draw(shots: tuple[Shot, ...], runs: Mapping[str, Any], folder: Path) -> None:
    """Draw pictures into a folder."""
    for shot in shots:
        # The lines of this file, so that what a reader sees is what drew the picture.
        chart = eval(shot.code, {"actrace": actrace, **runs})  # noqa: S307
        path = folder / file_of(shot)
        if path.suffix == ".gif":
            actrace.save_chart(chart, path, dpi=80)
        else:
            path.write_bytes(small(chart, shot.paper))


def small(chart: Any, paper: str) -> bytes:
    """Return the sharpest PNG of a chart that is small enough."""
    with drawing(chart, paper) as figure:
        for dpi, colours in QUALITIES:
            raw, out = io.BytesIO(), io.BytesIO()
            figure.savefig(raw, format="png", dpi=dpi, facecolor=figure.get_facecolor())
            with Image.open(raw) as image:
                few = image.convert("RGB").quantize(colours, dither=Image.Dither.NONE)
                few.save(out, "PNG", optimize=True)
            if out.tell() <= MOST:
                break
    return out.getvalue()


def gallery() -> Iterator[str]:
    """Yield the parts of the gallery."""
    yield HEAD
    for shot in SHOTS:
        if shot.reading:
            picture = f"![{shot.title}](pictures/{file_of(shot)})"
            yield f"## {shot.title}\n\n{picture}\n\n{shot.reading}\n\n```python\n{shot.code}\n```\n"


def file_of(shot: Shot) -> str:
    """Return the name of a picture's file."""
    return f"{shot.name}.gif" if "slider" in shot.code else f"{shot.name}.png"


def main() -> None:
    """Draw them all, or those named, and write the gallery."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("demo", type=Path, help="what `actrace demo` wrote")
    parser.add_argument("docs", type=Path, help="where pictures/ and gallery.md go")
    parser.add_argument("names", nargs="*", help="draw these alone (default: all)")
    args = parser.parse_args()
    folder = args.docs / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    shots = tuple(shot for shot in SHOTS if not args.names or shot.name in args.names)
    with tempfile.TemporaryDirectory() as scratch:
        runs: dict[str, Any] = {
            "good": actrace.open(args.demo / "good.zarr"),
            "too_high": actrace.open(args.demo / "too-high.zarr"),
        }
        runs["found"] = actrace.diagnose(runs["too_high"])
        if any("sigmoids" in shot.code for shot in shots):
            vanishing(Path(scratch) / "ten-sigmoids")
            runs["sigmoids"] = actrace.open(Path(scratch) / "ten-sigmoids")
        draw(shots, runs, folder)
    (args.docs / "gallery.md").write_text("\n".join(gallery()), encoding="utf-8")


if __name__ == "__main__":
    main()

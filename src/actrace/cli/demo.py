"""``actrace demo``: two recorded trainings, their tables and pictures."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from actrace.cli.text import console, printable, size

NAME = "demo"
HELP = "record two real trainings, compare them and draw them"
EPILOG = """\
A residual network learns scikit-learn's handwritten digits twice: with a learning rate
that suits and with one far too high. Takes about a minute.

examples:
  actrace demo                        into ./demo
  actrace demo --directory /tmp/d     somewhere else
  actrace demo --epochs 3             a shorter one"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommand's arguments."""
    parser.add_argument(
        "--directory", type=Path, default=Path("demo"), help="where it goes (default: demo)"
    )
    parser.add_argument("--epochs", type=_epochs, default=8, help="epochs a run (default: 8)")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier demo")


def _epochs(text: str) -> int:
    epochs = int(text)
    if epochs < 1:
        raise argparse.ArgumentTypeError(f"expected 1 epoch or more, got {epochs}")
    return epochs


def run(args: argparse.Namespace) -> int:
    """Train, print the two tables, and say where everything is."""
    import actrace
    from actrace.cli.tables import epoch_table
    from actrace.demo import RUNS, DemoRun, n_batches, run_demo
    from actrace.store.paths import size_on_disk

    out = console()
    pictures: list[Path] = []
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=out,
    )
    with progress:
        training = progress.add_task("", total=n_batches(args.epochs), visible=False)
        drawing = progress.add_task("drawing", total=6 * len(RUNS), visible=False)

        def on_run(demo: DemoRun) -> None:
            progress.reset(training, description=f"training: {demo.title}", visible=True)

        def on_chart(path: Path) -> None:
            pictures.append(path)
            progress.update(drawing, advance=1, visible=True)

        done = run_demo(
            args.directory,
            epochs=args.epochs,
            overwrite=args.overwrite,
            on_run=on_run,
            on_batch=lambda: progress.update(training, advance=1),
            on_chart=on_chart,
        )
    done = [(demo, Path(os.path.relpath(path)), seconds) for demo, path, seconds in done]
    for demo, path, _ in done:
        out.print(epoch_table(actrace.open(path), title=demo.title))
    out.print("Runs, each a Zarr store that plain xarray opens:")
    for _, path, seconds in done:
        text = f"  {path}  {size(size_on_disk(path))}, trained in {seconds:.1f} s"
        out.print(printable(text), markup=False, soft_wrap=True)
    out.print("Pictures (each also as .html, to zoom in a browser):")
    for picture in pictures:
        if picture.suffix == ".png":
            out.print(printable(f"  {picture}"), markup=False, soft_wrap=True)
    good, bad = done[0][1], done[1][1]
    out.print("\nTry next:")
    for line in (
        f"actrace info {good} --layers",
        f"actrace chart {bad} colorful --layer block1.relu1 -o layer.html",
        f"python -c \"import xarray; print(xarray.open_datatree('{good}'))\"",
    ):
        out.print(printable(f"  {line}"), markup=False, soft_wrap=True)
    return 0

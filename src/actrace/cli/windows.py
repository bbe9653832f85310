"""``--window`` and ``--epoch``: which batches an answer is about, and what a table calls them.

Imports nothing of actrace; answers are read by their dims alone.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["WINDOW_HELP", "Place", "add_window", "pick", "places"]

WINDOW_HELP = """\
--window says which batches of training an answer is taken over: 'chart' (the last
quarter of each epoch), 'epoch' (all of each), a number (so many batches at a time) or
START:STOP in steps, as 0:100. A validation is in the window whose training it followed."""


@dataclass(frozen=True, slots=True)
class Place:
    """One epoch or window of an answer.

    Attributes
    ----------
    index : int
        Where it is along the answer's dim.
    epoch : int
        Its number, or that of the epoch in which the window begins.
    name : str
        As ``epoch 3``, or ``steps 100 to 199``.
    steps : (int, int) or None
        First and last step of a window.
    """

    index: int
    epoch: int
    name: str
    steps: tuple[int, int] | None = None


def _window(text: str) -> str | int | tuple[int, int]:
    """Return what the functions take for `window`; they say themselves which numbers fit."""
    if text in ("chart", "epoch"):
        return text
    parts = text.split(":")
    if len(parts) > 2 or not all(part.isdecimal() for part in parts):
        raise argparse.ArgumentTypeError(
            f"expected 'chart', 'epoch', a number of batches or START:STOP in steps, got {text!r}"
        )
    numbers = [int(part) for part in parts]
    if len(numbers) == 2 and numbers[0] < numbers[1]:
        return numbers[0], numbers[1]
    if len(numbers) == 1 and numbers[0] > 0:
        return numbers[0]
    raise argparse.ArgumentTypeError(f"{text!r} holds no batch")


def add_window(parser: argparse.ArgumentParser) -> None:
    """Add ``--window`` to a subcommand's arguments."""
    parser.add_argument(
        "--window",
        type=_window,
        default="chart",
        metavar="W",
        help="chart, epoch, a number of batches or START:STOP in steps (default: chart)",
    )


def places(answer: xr.Dataset) -> tuple[str, list[Place]]:
    """Return the dim along which an answer lies in time, and the places along it."""
    if "window" not in answer.dims:
        numbers = answer["epoch"].values.tolist()
        return "epoch", [Place(i, n, f"epoch {n}") for i, n in enumerate(numbers)]
    columns = (answer[name].values.tolist() for name in ("epoch", "step", "last_step"))
    return "window", [
        Place(i, epoch, f"steps {first} to {last}", (first, last))
        for i, (epoch, first, last) in enumerate(zip(*columns, strict=True))
    ]


def pick(some: list[Place], epoch: int | str) -> list[Place]:
    """Return all places ("all"), the last one ("last"), or those of an epoch, which may be none."""
    if epoch == "all":
        return some
    return some[-1:] if epoch == "last" else [place for place in some if place.epoch == epoch]

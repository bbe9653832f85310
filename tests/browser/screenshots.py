"""Pictures of pages compared with committed ones, so that another machine's fonts still pass.

Letters differ from machine to machine: their shapes, their smoothing, a line's width. What a page
shows does not. So both pictures are taken as blocks of 16 by 16 pixels, each its mean colour, and
a block may be matched by any of its neighbours, as text may move a line by some pixels. What is
left is a chart that is missing, empty, of other colours, or in another place.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

#: The committed pictures.
FOLDER = Path(__file__).parent / "screenshots"

#: Pictures are kept at half their size, which is enough to look at; a block is this many of those
#: pixels wide and high.
HALF, BLOCK = 2, 8
#: A block differs where a channel of its mean colour is off by more than this, of 255.
OFF = 24.0
#: Share of the blocks that may differ.
BLOCKS_OFF = 0.02
#: By how much the mean colour of a block may be off, on average, of 255.
MEAN_OFF = 5.0
#: Share of its height or width that other letters may add to a page.
SIZE_OFF = 0.05


@dataclass(frozen=True, slots=True)
class Likeness:
    """How far two pictures are from one another.

    Attributes
    ----------
    size
        Relative difference of width or height, the larger.
    mean
        Mean absolute difference of the blocks' colours, of 255.
    blocks
        Share of the blocks that are in one picture and not near there in the other.
    """

    size: float
    mean: float
    blocks: float

    @property
    def alike(self) -> bool:
        return self.size <= SIZE_OFF and self.mean <= MEAN_OFF and self.blocks <= BLOCKS_OFF


def read(png: bytes) -> Image.Image:
    """Return a screenshot at half its size."""
    return Image.open(io.BytesIO(png)).convert("RGB").reduce(HALF)


def likeness(got: Image.Image, expected: Image.Image) -> Likeness:
    """Return how far two pictures are from one another, over what both cover."""
    size = max(abs(a - b) / max(a, b) for a, b in zip(got.size, expected.size, strict=True))
    first, second = blocks(got), blocks(expected)
    rows, columns = (min(sides) for sides in zip(first.shape[:2], second.shape[:2], strict=True))
    first, second = first[:rows, :columns], second[:rows, :columns]
    off = np.maximum(unmatched(first, second), unmatched(second, first))
    return Likeness(size, float(np.abs(first - second).mean()), float((off > OFF).mean()))


def blocks(picture: Image.Image) -> np.ndarray:
    """Return the mean colour of every block, shape (rows, columns, 3)."""
    pixels = np.asarray(picture.convert("RGB"), dtype=float)
    rows, columns = (side // BLOCK for side in pixels.shape[:2])
    if not rows or not columns:
        return pixels.mean(axis=(0, 1), keepdims=True)
    pixels = pixels[: rows * BLOCK, : columns * BLOCK]
    return pixels.reshape(rows, BLOCK, columns, BLOCK, 3).mean(axis=(1, 3))


def unmatched(these: np.ndarray, those: np.ndarray) -> np.ndarray:
    """Return how far each block is from the most alike of those there and around there."""
    rows, columns = these.shape[:2]
    around = np.pad(those, ((1, 1), (1, 1), (0, 0)), mode="edge")
    return np.min(
        [
            np.abs(these - around[down : down + rows, right : right + columns]).max(axis=2)
            for down in range(3)
            for right in range(3)
        ],
        axis=0,
    )


def check(png: bytes, name: str, *, update: bool, keep: Path) -> None:
    """Fail unless a screenshot is like the committed one, or write that.

    Parameters
    ----------
    png
        The screenshot.
    name
        Of the committed picture, without ``.png``.
    update
        Write it.
    keep
        Folder for the picture that failed.
    """
    got, path = read(png), FOLDER / f"{name}.png"
    if update:
        FOLDER.mkdir(exist_ok=True)
        got.save(path, optimize=True)
        return
    if not path.is_file():
        raise AssertionError(f"there is no {path}; write it: pytest --update-screenshots")
    with Image.open(path) as expected:
        found = likeness(got, expected)
    if not found.alike:
        got.save(keep / f"{name}.png")
        raise AssertionError(
            f"the page no longer looks like {path}: {found}. It looks like {keep / name}.png; if "
            "that is right, pytest --update-screenshots writes it"
        )

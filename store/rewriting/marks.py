"""What a run says of the cells that were thinned: the root attribute ``thinned``.

Path of an array -> list of objects: ``batches``, a list of [start, stop], and
``layers``, a list of indices, or null for all. A thinned cell holds what a row that
was never written holds, all bits one; a level has what it stood for. Imports NumPy
and the store's own names.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from actrace.store.checking.lost import Lost, lost_cells
from actrace.store.layout import mark_unwritten

__all__ = [
    "ATTRIBUTE",
    "Marks",
    "Stretches",
    "as_attribute",
    "is_thinned",
    "thinned_cells",
    "thinned_of",
    "unknown_cells",
]

ATTRIBUTE: Final = "thinned"


@dataclass(frozen=True, slots=True, eq=False)
class Stretches:
    """Stretches of batches that were thinned in some layers.

    Attributes
    ----------
    layers : tuple of int
        Increasing; empty for all.
    batches : ndarray, shape (n, 2), int64
        First and one past the last of each, rising and apart.
    """

    layers: tuple[int, ...]
    batches: NDArray[np.int64]

    def within(self, start: int, stop: int) -> NDArray[np.int64]:
        """Return what of the stretches lies in rows `start` to `stop`, shape (n, 2)."""
        first = int(np.searchsorted(self.batches[:, 1], start, side="right"))
        last = int(np.searchsorted(self.batches[:, 0], stop, side="left"))
        return np.clip(self.batches[first:last], start, stop)


@dataclass(frozen=True, slots=True)
class Marks:
    """The cells of one array that were thinned.

    Attributes
    ----------
    parts : tuple of Stretches
        No layer is in two of them.
    """

    parts: tuple[Stretches, ...]

    @classmethod
    def of(cls, masks: Iterable[tuple[Sequence[int], NDArray[np.bool_]]], n_layers: int) -> Marks:
        """Return the marks of layers by masks of batches.

        Examples
        --------
        >>> half = np.array([True, True, False])
        >>> Marks.of([([0], half), ([2], half)], 3).parts
        (Stretches(layers=(0, 2), batches=array([[0, 2]])),)
        """
        alike: dict[bytes, tuple[list[int], NDArray[np.int64]]] = {}
        for layers, mask in masks:
            edges = np.flatnonzero(np.diff(mask, prepend=False, append=False)).reshape(-1, 2)
            if len(edges) and layers:
                alike.setdefault(edges.tobytes(), ([], edges))[0].extend(layers)
        return cls(
            tuple(
                Stretches(() if len(layers) == n_layers else tuple(sorted(layers)), edges)
                for layers, edges in alike.values()
            )
        )

    def of_layer(self, layer: int) -> Stretches | None:
        """Return what was thinned of one layer, None for nothing."""
        return next((p for p in self.parts if not p.layers or layer in p.layers), None)

    def rows(self, layer: int, start: int, stop: int) -> NDArray[np.bool_]:
        """Return which of the batches `start` to `stop` were thinned in a layer."""
        found = np.zeros(stop - start, bool)
        part = self.of_layer(layer)
        if part is not None:
            for first, last in part.within(start, stop) - start:
                found[first:last] = True
        return found

    def touches(self, layers: Iterable[int], start: int, stop: int) -> bool:
        """Return whether any cell of these layers and batches was thinned."""
        asked = set(layers)
        return any(
            len(part.within(start, stop)) > 0
            for part in self.parts
            if (not part.layers and asked) or not asked.isdisjoint(part.layers)
        )

    def share(self, n_layers: int, n_batches: int) -> float:
        """Return which share of the cells was thinned."""
        cells = sum(
            int(np.diff(part.batches).sum()) * (len(part.layers) or n_layers) for part in self.parts
        )
        return cells / max(1, n_layers * n_batches)

    def blank(self, values: NDArray[Any], layer: int, start: int) -> None:
        """Mark in place what was thinned.

        Parameters
        ----------
        values : ndarray, shape (n_layers, ..., n)
            Rows last.
        layer, start : int
            The layer and the batch that it begins with.
        """
        stop = start + values.shape[-1]
        for at in range(len(values)):
            part = self.of_layer(layer + at)
            for first, last in () if part is None else part.within(start, stop) - start:
                mark_unwritten(values[at, ..., first:last])

    def last_kept(self, n_layers: int, start: int, stop: int) -> tuple[int, int] | None:
        """Return a layer and the last of its batches below `stop` that was not thinned.

        That of the layer where it comes last; None where all since `start` were.
        """
        named = {layer for part in self.parts for layer in part.layers}
        layers = [part.layers[0] if part.layers else 0 for part in self.parts]
        if all(part.layers for part in self.parts):
            layers += [layer for layer in range(n_layers) if layer not in named][:1]
        found: tuple[int, int] | None = None
        for layer in layers:
            kept = np.flatnonzero(~self.rows(layer, start, stop))
            if len(kept) and (found is None or start + kept[-1] > found[1]):
                found = layer, start + int(kept[-1])
        return found

    def as_lost(self) -> Iterator[Lost]:
        """Yield the cells as those that a repair has marked."""
        for part in self.parts:
            for start, stop in part.batches.tolist():
                yield Lost(start, stop, part.layers)


def thinned_cells(attributes: Mapping[Any, Any]) -> dict[str, Marks]:
    """Return array -> what was thinned of it, by a run's root attributes.

    Raises
    ------
    ValueError
        The attribute is not what a thinning writes.

    Examples
    --------
    >>> said = {"train/count": [{"layers": [2], "batches": [[0, 16], [32, 64]]}]}
    >>> marks = thinned_cells({"thinned": said})["train/count"]
    >>> marks.touches([2], 10, 20), marks.touches([2], 16, 32), marks.touches([0], 10, 20)
    (True, False, False)
    """
    said = attributes.get(ATTRIBUTE)
    if said is None:
        return {}
    if not isinstance(said, Mapping):
        raise ValueError(f"it is {type(said).__name__}, expected an object")
    return {str(path): _marks(parts) for path, parts in said.items()}


def thinned_of(attributes: Mapping[Any, Any], path: str) -> Marks | None:
    """Return what was thinned of one array of a run that was checked, None for nothing."""
    said = attributes.get(ATTRIBUTE)
    return _marks(said[path]) if isinstance(said, Mapping) and path in said else None


def is_thinned(
    attributes: Mapping[Any, Any], phase: str, layers: Iterable[int], start: int, stop: int
) -> bool:
    """Return whether any histogram of these layers and batches of a phase was thinned."""
    marks = thinned_of(attributes, f"{phase}/count")
    return marks is not None and marks.touches(layers, start, stop)


def unknown_cells(attributes: Mapping[Any, Any]) -> dict[str, list[Lost]]:
    """Return array -> cells that hold no recorded value: lost in a repair, or thinned."""
    found = lost_cells(attributes)
    for path, marks in thinned_cells(attributes).items():
        found.setdefault(path, []).extend(marks.as_lost())
    return found


def as_attribute(found: Mapping[str, Marks]) -> dict[str, Any]:
    """Return what `thinned_cells` reads."""
    return {
        path: [
            {"layers": list(part.layers) or None, "batches": part.batches.tolist()}
            for part in marks.parts
        ]
        for path, marks in sorted(found.items())
        if marks.parts
    }


def _marks(said: Any) -> Marks:
    if not isinstance(said, list) or not all(isinstance(one, Mapping) for one in said):
        raise ValueError("of an array it says no list of objects")
    parts = tuple(_stretches(one) for one in said)
    layers = [layer for part in parts for layer in part.layers]
    if len(set(layers)) < len(layers) or (len(parts) > 1 and not all(p.layers for p in parts)):
        raise ValueError("a layer stands in it twice")
    return Marks(parts)


def _stretches(said: Mapping[str, Any]) -> Stretches:
    layers, batches = said.get("layers"), said.get("batches")
    places = [] if layers is None else layers
    if not isinstance(places, list) or (layers is not None and not places) or not _rising(places):
        raise ValueError("its layers are no rising whole numbers")
    pairs = batches if isinstance(batches, list) else [None]
    flat = [n for pair in pairs for n in (pair if isinstance(pair, list) else [None, None])]
    alike = all(isinstance(pair, list) and len(pair) == 2 for pair in pairs)
    if not flat or not alike or not _rising(flat):
        raise ValueError("its batches are no rising pairs of whole numbers")
    return Stretches(tuple(places), np.array(flat, np.int64).reshape(-1, 2))


def _rising(numbers: list[Any]) -> bool:
    if not all(type(n) is int and 0 <= n < 2**62 for n in numbers):
        return False
    return all(a < b for a, b in itertools.pairwise(numbers))

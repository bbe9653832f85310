"""An old run in fewer bytes: histograms of chosen windows and layers, levels elsewhere.

May import NumPy.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from actrace.errors import DamagedRunError
from actrace.store.checking.examine import check_run
from actrace.store.checking.lost import Lost, lost_cells
from actrace.store.checking.pieces import PieceReader
from actrace.store.levels.build import build_levels
from actrace.store.levels.ladder import FEWEST, FIRST, level_path
from actrace.store.manifest import ArrayEntry, Manifest
from actrace.store.names import matching_layers
from actrace.store.paths import size_on_disk
from actrace.store.progress import waiting
from actrace.store.rewriting.keeping import Keeping, thinned_batches
from actrace.store.rewriting.marks import ATTRIBUTE, Marks, Stretches, as_attribute, thinned_cells
from actrace.store.rewriting.report import RewriteReport
from actrace.store.rewriting.rewrite import Plan, rewrite_run

__all__ = ["thin_run"]

#: Of the bytes of a histogram, what a thinned one still takes: blanks compress well.
_BLANK: Final = 0.02


def thin_run(
    run: str | os.PathLike[str],
    output: str | os.PathLike[str] | None = None,
    *,
    keep_epochs: int | Iterable[int] | None = None,
    keep_steps: tuple[int | None, int | None] | None = None,
    keep_layers: str | Iterable[str] | None = None,
    progress: bool | None = None,
) -> RewriteReport:
    """Keep the histograms of chosen batches and layers, and of the others their levels alone.

    What goes are histograms of single batches, which are most of a run. They stay
    merged by 16, 64, 256, ... batches, in the run's levels; everything else of every batch
    stays: counters, means, spreads, extremes, rates, losses, targets, units and gradients.
    Batches around the ends of epochs stay too, so that whatever is asked by epoch, or in
    the charts' windows, has the answer that it had. Asking for a histogram that
    is gone is an error.

    Parameters
    ----------
    run : str or path
        A finished run, with or without its ``.zarr``; of several processes, that of
        each of them. Levels that it lacks are built first, in the run itself.
    output : str or path, optional
        Where the new run goes. By default it takes the place of the old one, and the
        histograms are gone for good.
    keep_epochs : int or iterable of int, optional
        Epochs to keep; -1 is the last.
    keep_steps : (first, stop), optional
        Training steps to keep, ``first <= step < stop``; None is an open end.
    keep_layers : str or iterable of str, optional
        Names or shell patterns of layers to keep.
    progress : bool, optional
        As for `actrace.check`.

    Returns
    -------
    RewriteReport
        What was thinned, bytes before and after. ``changed`` is False where there is
        nothing to thin, as in phases of less than 1,024 batches, which have no levels.

    Raises
    ------
    LayerNotFoundError
        A layer that the run does not have.
    ValueError
        Steps that are no window.
    NotARunError, NewerSchemaError, DamagedRunError, RunLockedError, RunExistsError, StoreWriteError
        As `actrace.compact_run`.

    Notes
    -----
    What is named is kept where all of it is said at once: ``keep_epochs=[0, -1],
    keep_layers="fc"`` keeps layer fc in two epochs. Where nothing is named, no histogram
    is kept for its own sake.

    Examples
    --------
    >>> import tempfile
    >>> from actrace.store.axis import Linear
    >>> from actrace.store.writer import RunWriter
    >>> folder = tempfile.TemporaryDirectory()
    >>> RunWriter.create(folder.name + "/a", axis=Linear(-1, 1, 4), attributes={}).close()
    >>> thin_run(folder.name + "/a", keep_epochs=[0, -1]).changed
    False
    >>> folder.cleanup()
    """
    epochs = (keep_epochs,) if isinstance(keep_epochs, int) else keep_epochs
    layers = (keep_layers,) if isinstance(keep_layers, str) else keep_layers
    if keep_steps is not None:
        first, stop = keep_steps
        if (first or 0) < 0 or (stop is not None and stop <= (first or 0)):
            raise ValueError(
                f"keep_steps is (first, stop) with 0 <= first < stop; got {keep_steps}"
            )
    keeping = Keeping(
        None if epochs is None else tuple(epochs),
        keep_steps,
        None if layers is None else tuple(layers),
    )

    def complete(path: Path) -> None:
        with waiting(f"levels of {path.name}", progress=progress):
            build_levels(path)
        # What is thinned cannot be held against its level any more, so it is done before.
        report = check_run(path, progress=progress)
        if not report.whole:
            raise DamagedRunError(
                f"run {str(path)!r} is damaged, so it was not thinned: {report.damages[0]}; "
                "'actrace repair' saves what is whole"
            )

    return rewrite_run(
        run, output, partial(_plan, keeping), word="thinned", before=complete, progress=progress
    )


def _plan(keeping: Keeping, manifest: Manifest, reader: PieceReader) -> Plan:
    before = thinned_cells(manifest.attributes)
    found: dict[str, Marks] = {}
    notes: list[str] = []
    saved = 0.0
    layers = _layers(keeping, reader)
    last = max((_last_epoch(manifest, phase) for phase in manifest.phases), default=-1)
    for phase in manifest.phases:
        entry = manifest.arrays[f"{phase}/count"]
        n_layers, _, n = entry.shape
        columns = manifest.length(level_path(phase, FIRST))
        if not columns:
            few = f"a phase has levels from {FEWEST * FIRST:,} on"
            notes.append(f"{phase}: {n:,} batches stay; {few}")
            continue
        if not (entry.ours and entry.sharded):
            notes.append(f"{phase}: its histograms are not laid out as actrace does it, and stay")
            continue
        had = before.get(entry.path, Marks(()))
        kept, others = _masks(keeping, manifest, reader, phase, columns, last)
        groups: dict[tuple[bool, Stretches | None], list[int]] = {}
        for at in range(n_layers):
            groups.setdefault((layers is None or at in layers, had.of_layer(at)), []).append(at)
        now = Marks.of(
            (
                (group, (kept if named else others) | had.rows(group[0], 0, n))
                for (named, _), group in groups.items()
            ),
            n_layers,
        )
        share = now.share(n_layers, n)
        more = share - had.share(n_layers, n)
        notes.append(
            f"{phase}: {100 * share:.1f} % of the histograms of {n:,} batches "
            f"are there merged by {FIRST} alone"
        )
        if more > 0:
            found[entry.path] = now
            saved += more * (1 - _BLANK) * size_on_disk(manifest.directory / entry.path)
    if not found:
        return Plan(notes=tuple(notes))
    return Plan(
        thinned=found,
        attributes={ATTRIBUTE: as_attribute(before | found)},
        size=round(size_on_disk(manifest.directory) - saved),
        notes=tuple(notes),
    )


def _layers(keeping: Keeping, reader: PieceReader) -> set[int] | None:
    """Return the layers that are kept, None for all."""
    if keeping.layers is None:
        return None
    names = reader.names("layer") or []
    return {at for pattern in keeping.layers for at in matching_layers(names, pattern)}


def _masks(
    keeping: Keeping,
    manifest: Manifest,
    reader: PieceReader,
    phase: str,
    columns: int,
    last_epoch: int,
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which batches of a phase are thinned in layers that are kept, and in others."""
    step, epoch = (_read(reader, manifest.arrays[f"{phase}/{n}"]) for n in ("step", "epoch"))
    damaged = lost_cells(manifest.attributes)
    lost = damaged.get(f"{phase}/count", [])
    lost += [
        Lost(one.start * FIRST, one.stop * FIRST)
        for one in damaged.get(f"{level_path(phase, FIRST)}/count", ())
    ]
    wanted = keeping.batches(step, epoch, last_epoch)
    none = np.zeros_like(wanted)
    return (
        thinned_batches(phase, epoch, wanted, columns, lost),
        thinned_batches(phase, epoch, none, columns, lost),
    )


def _read(reader: PieceReader, entry: ArrayEntry) -> NDArray[np.int64]:
    """Return an array of one dimension."""
    parts = [piece for at in range(entry.grid[0]) for piece in reader.read(entry, (at,))]
    for piece in parts:
        if piece.problem or piece.values is None:
            raise DamagedRunError(
                f"{reader.manifest.where} is damaged, so it was not thinned: {piece.key!r}: "
                f"{piece.problem}; 'actrace repair' saves the rest"
            )
    values = [piece.values for piece in parts if piece.values is not None]
    return np.concatenate([np.zeros(0, np.int64), *values]).astype(np.int64)


def _last_epoch(manifest: Manifest, phase: str) -> int:
    last: Any = manifest.groups[phase].get("last_epoch")
    return last if isinstance(last, int) else -1

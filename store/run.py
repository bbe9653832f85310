"""A recorded run: an xarray tree that knows its phases, epochs and status.

May import xarray. What it prints is made in `actrace.store.describe`.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from actrace.errors import NotRecordedError, PhaseNotFoundError
from actrace.store.axis import Axis, axis_from_dict
from actrace.store.describe import as_html, as_text
from actrace.store.schema import OUTPUT_GROUP

if TYPE_CHECKING:
    from actrace.store.levels.shelf import LevelShelf

__all__ = ["Run"]


class Run(xr.DataTree):  # type: ignore[no-untyped-call]
    """One training as it was recorded; made by `actrace.open`.

    A `xarray.DataTree` with one child for each phase, so everything xarray
    does works: ``run["train"]["count"]``, ``run.layer``, ``run.sel(layer="fc")``.

    Examples
    --------
    >>> run = Run(dataset=xr.Dataset(attrs={"status": "finished"}))
    >>> run.status, run.phases
    ('finished', ())
    """

    __slots__ = ("_directory", "_ranks", "_shelf")

    _directory: Path | None
    _ranks: tuple[Run, ...]
    _shelf: LevelShelf

    @property
    def directory(self) -> Path | None:
        """Where the run stands on disk, None for one made in memory."""
        return getattr(self, "_directory", None)

    def place(self, directory: Path) -> None:
        """Say where on disk the run was read from."""
        object.__setattr__(self, "_directory", directory)

    @property
    def ranks(self) -> tuple[Run, ...]:
        """Runs of the processes that this one merges, empty for a run of one process."""
        return getattr(self, "_ranks", ())

    def set_ranks(self, ranks: tuple[Run, ...]) -> None:
        """Say which runs this one merges."""
        object.__setattr__(self, "_ranks", ranks)

    def set_levels(self, shelf: LevelShelf) -> None:
        """Say where the levels of the run are."""
        object.__setattr__(self, "_shelf", shelf)

    @property
    def phases(self) -> tuple[str, ...]:
        """Names of the phases, in the order of their first batch."""
        return tuple(str(name) for name in self.children if name != "levels")

    @property
    def status(self) -> str:
        """``"recording"``, ``"finished"``, ``"failed"`` or ``"interrupted"``.

        Interrupted is a run that says it is recording while nobody writes it.
        """
        return str(self.attrs.get("status", "finished"))

    @property
    def axis(self) -> Axis:
        """The bin axis of the whole run."""
        return axis_from_dict(self.attrs["axis"])

    @property
    def lost_batches(self) -> dict[str, int]:
        """Phase -> batches that the training ran and the store has not."""
        lost = self.attrs.get("lost_batches")
        found = lost.items() if isinstance(lost, dict) else ()
        return {str(k): n for k, n in found if isinstance(n, int) and n}

    def phase(self, name: str) -> xr.DataTree:
        """Return the group of phase `name`.

        Raises
        ------
        PhaseNotFoundError
            The run has no such phase; the message lists those it has.
        """
        if name not in self.phases:
            has = ", ".join(map(repr, self.phases)) or "none yet"
            raise PhaseNotFoundError(f"phase {name!r} is not in this run; it has {has}")
        return self.children[name]

    def n_batches(self, phase: str) -> int:
        """Return how many batches of `phase` are recorded."""
        return int(self.phase(phase).sizes.get("batch", 0))

    def levels(self, phase: str) -> dict[int, int]:
        """Return batches in a column -> number of columns, of each level of `phase`.

        Empty for a short phase, and for the merged run of several processes, whose
        ``ranks`` have levels each.
        """
        self.phase(phase)
        shelf: LevelShelf | None = getattr(self, "_shelf", None)
        return {} if shelf is None else shelf.columns(phase)

    def at_level(self, phase: str, factor: int) -> xr.Dataset:
        """Return a level of `phase`, lazily: a column for each `factor` batches.

        Parameters
        ----------
        phase : str
        factor : int
            One that `levels` names: 16, 64, 256, ...

        Returns
        -------
        Dataset, dims (layer, bin, batch)
            The variables of the phase, merged, with ``first_batch`` and ``batches`` of
            each column. What each holds is its attribute ``long_name``.

        Raises
        ------
        PhaseNotFoundError
        NotRecordedError
            There is no such level; the message lists those that there are.
        """
        known = self.levels(phase)
        if factor not in known:
            has = ", ".join(map(str, known)) or "none"
            raise NotRecordedError(
                f"phase {phase!r} has no level of {factor} batches a column; it has {has}; "
                "'actrace levels' builds those of a long run that lacks them"
            )
        return self._shelf.level(phase, factor)

    def window(
        self,
        phase: str,
        start: int = 0,
        stop: int | None = None,
        *,
        width: int = 1000,
        layers: str | Iterable[str] | None = None,
        blocks: bool = True,
    ) -> xr.Dataset:
        """Return a stretch of batches in at least `width` columns, and few more, lazily.

        As a chart that zooms wants it: the coarsest level that still has so many
        columns, and nothing finer is read; the batches themselves where none has. Of
        what was thinned the finest level, also where that has fewer columns.

        Parameters
        ----------
        phase : str
        start, stop : int
            ``start <= batch < stop``; all batches by default. Columns of a level that
            reach over an end are whole.
        width : int, default 1000
        layers : str or iterable of str, optional
            Names or shell patterns, in this order; None is all.
        blocks : bool, default True
            In dask blocks, for what computes. Without, loading it reads the window alone
            and not the whole blocks around it, which is quicker for a picture of one layer.

        Returns
        -------
        Dataset, dims (layer, bin, batch)
            As `at_level` returns it, also where it holds single batches; ``factor`` among
            its attributes says how many share a column. A level has whole columns
            alone, so up to ``factor - 1`` batches at the end of a run are left out: see
            ``first_batch`` and ``batches``. Of a merged run of several processes it is
            always the batches themselves.

        Raises
        ------
        PhaseNotFoundError, LayerNotFoundError
        ValueError
            No such window, or a width below 1.

        Examples
        --------
        >>> found = run.window("train", width=100, layers="conv0")  # doctest: +SKIP
        >>> found.attrs["factor"], found.sizes["batch"]  # doctest: +SKIP
        (256, 312)
        """
        from actrace.store.levels.window import read_window

        return read_window(self, phase, start, stop, width=width, layers=layers, blocks=blocks)

    def stored(self, phase: str, factor: int) -> xr.Dataset:
        """Return a phase (`factor` 1) or one of its `levels`, not in dask blocks if it can be.

        What merges several processes, or was made in memory, is as it is.
        """
        shelf: LevelShelf | None = getattr(self, "_shelf", None)
        if shelf is None:
            return self.phase(phase).to_dataset(inherit=False)
        return shelf.batches(phase) if factor == 1 else shelf.level(phase, factor, blocks=False)

    def epochs(self, phase: str) -> NDArray[np.int64]:
        """Return the epochs that `phase` has batches of, increasing, int64."""
        return np.unique(self.phase(phase).dataset["epoch"].to_numpy()).astype(np.int64)

    def output(self, phase: str) -> xr.DataTree | None:
        """Return the labelled group of `phase`, None where none was recorded."""
        return self.phase(phase).children.get(OUTPUT_GROUP)

    def __repr__(self) -> str:  # type: ignore[override]
        return as_text(self)

    def __str__(self) -> str:
        return as_text(self)

    def _repr_html_(self) -> str:
        return as_html(self)

    def _copy_node(self, *arguments: Any, **settings: Any) -> Run:
        copy: Run = super()._copy_node(*arguments, **settings)
        if self.directory is not None:
            copy.place(self.directory)
        if self.ranks:
            copy.set_ranks(self.ranks)
        if hasattr(self, "_shelf"):
            copy.set_levels(self._shelf)
        return copy

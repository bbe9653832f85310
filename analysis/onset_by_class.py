"""From which epoch on a training overfitted each true class, if it did.

The same question as `actrace.analysis.onset`, of the samples of one class at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape

import xarray as xr

from actrace.analysis.onset import Onset, asked, told_by_errors
from actrace.analysis.onset_series import error_series, task_of
from actrace.errors import NotRecordedError
from actrace.store.names import close_to, listed

__all__ = ["ClassOnsets", "onset_by_class"]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ClassOnsets(Mapping[str, Onset]):
    """When validation parted from training, class by class.

    A mapping from class to its `Onset`, in the order of the classes.

    Attributes
    ----------
    found : dict of str to Onset
    unjudged : tuple of str
        Classes that too few epochs of both phases have samples of.
    series : Dataset, dims (phase, target_class, epoch), computed
        Error, gap and null band of every class.
    """

    found: Mapping[str, Onset]
    unjudged: tuple[str, ...]
    series: xr.Dataset

    def __getitem__(self, name: str) -> Onset:
        if name in self.found:
            return self.found[name]
        if name in self.unjudged:
            raise KeyError(f"class {name!r} has samples in too few epochs, so nothing is told")
        known = tuple(self.found)
        raise KeyError(
            f"class {name!r} is not in this run; it has {listed(known)}{close_to(name, known)}"
        )

    def __iter__(self) -> Iterator[str]:
        return iter(self.found)

    def __len__(self) -> int:
        return len(self.found)

    @property
    def parted(self) -> dict[str, int]:
        """Class -> epoch of its onset, of those that have one, the earliest first."""
        epochs = {name: one.epoch for name, one in self.items() if one.epoch is not None}
        return dict(sorted(epochs.items(), key=lambda item: item[1]))

    def __repr__(self) -> str:
        parted = self.parted
        lines = [f"{len(parted)} of {len(self)} classes have an onset"]
        lines += [f"  {self[name]!r}" for name in parted]
        if self.unjudged:
            lines.append(f"  too few epochs with samples: {listed(self.unjudged)}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return f"<pre>{escape(repr(self))}</pre>"


def onset_by_class(
    run: xr.DataTree,
    *,
    phases: Sequence[str] = ("train", "valid"),
    patience: int = 2,
    rise: float = 0.05,
    quantile: float = 0.95,
) -> ClassOnsets:
    """Return from which epoch on a training overfitted each true class.

    As `actrace.onset` with targets, where the errors, and the null band, are those of the
    samples of one class: what the class's own unit and the other units said for them. A
    class has a share of the samples alone, so its errors jump more than those of all,
    and of many classes one may seem to part by chance.

    Parameters
    ----------
    run : DataTree
        As `actrace.open` returns it.
    phases : two str, default ("train", "valid")
    patience : int, default 2
        Epochs in a row.
    rise : float, default 0.05
        Share of its least value by which the error of validation must be higher.
    quantile : float, default 0.95
        Of the null band, see `divergence`.

    Returns
    -------
    ClassOnsets
        Computed: class -> `Onset`.

    Raises
    ------
    PhaseNotFoundError
        Not in this run; the message lists what is.
    NotRecordedError
        A phase without classes (no targets, or a regression), or no class with enough
        epochs for `patience`.
    ValueError
        Not two different phases, or another `patience`, `rise` or `quantile`.

    Examples
    --------
    >>> found = onset_by_class(run)
    >>> list(found), found.parted
    (['0', '1', '2', '3'], {})
    """
    pair = asked(run, phases, patience=patience, rise=rise, quantile=quantile)
    task = task_of(run, pair)
    if task is None or task == "regression":
        raise NotRecordedError(
            f"phases {pair[0]!r} and {pair[1]!r} have no classes in common: "
            + ("a regression has none" if task else "targets were not recorded in both")
            + "; record a classifier with criterion=loss_fn, or ask actrace.onset(run)"
        )
    series = error_series(run, pair, task, quantile, by_class=True).compute()
    found: dict[str, Onset] = {}
    unjudged: dict[str, NotRecordedError] = {}
    for name in map(str, series["target_class"].to_numpy()):
        try:
            found[name] = told_by_errors(
                series.sel(target_class=name, drop=True),
                run,
                task,
                pair,
                patience=int(patience),
                rise=rise,
                target_class=name,
            )
        except NotRecordedError as why:
            unjudged[name] = why
    if not found and unjudged:
        raise next(iter(unjudged.values()))
    return ClassOnsets(found, tuple(unjudged), series)

"""What the separation chart draws: how far YES and NO are apart, epoch by epoch.

The numbers of `twin_peaks` and `class_report` with the ends of their error bands.
Imports NumPy and xarray; draws nothing, so the chart is tested without pixels.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np
import xarray as xr

from actrace.analysis.classes import class_report
from actrace.analysis.twin_peaks import twin_peaks
from actrace.errors import ChartError

__all__ = ["NUMBERS", "separation_data", "worst_classes"]

#: What may be drawn -> whether it is a share, which has ends 0 and 1.
NUMBERS: Final = {
    "understanding": False,
    "d_prime": False,
    "overlap": True,
    "auc": True,
    "accuracy": True,
}


def separation_data(
    run: xr.DataTree,
    *,
    phases: str | Iterable[str] | None = None,
    by: str | None = None,
    window: str = "chart",
) -> xr.Dataset:
    """Return what the separation chart draws, computed.

    Parameters
    ----------
    run : DataTree
    phases : str or iterable of str, optional
        All that have targets if left out.
    by : {None, "class"}, default None
    window : {"chart", "epoch"}, default "chart"

    Returns
    -------
    Dataset, dims (phase, epoch[, target_class])
        understanding, d_prime, overlap, auc and accuracy; ``<name>_low`` and
        ``<name>_high`` of overlap and auc (between which binning may have moved it)
        and, by class, of accuracy (Wilson's interval), within 0 and 1. By class also
        ``<name>_all`` (phase, epoch), of all classes together, and ``lagging``.

    Raises
    ------
    ChartError
        Another `by`.
    PhaseNotFoundError, NotRecordedError
    """
    if by not in (None, "class"):
        raise ChartError(f"by must be None or 'class', got {by!r}")
    whole = twin_peaks(run, phases=phases, window=window)
    names = [name for name in NUMBERS if name in whole]
    errors = [f"{name}_error" for name in ("overlap", "auc")]
    if by is None:
        found = whole[[*names, *errors]].compute()
    else:
        report = class_report(run, phases=phases, window=window)
        ends = ["accuracy_low", "accuracy_high", "lagging"]
        found = report[[*names, *errors, *ends]].compute()
        together = whole[names].compute()
        found = found.assign({f"{name}_all": together[name] for name in names})
    for name in ("overlap", "auc"):
        error = found[f"{name}_error"]
        for end, sign in (("low", -1.0), ("high", 1.0)):
            moved = (found[name] + sign * error).clip(0.0, 1.0)
            found[f"{name}_{end}"] = moved.assign_attrs(found[name].attrs)
    order = ("phase", "epoch", "target_class")
    return found.drop_vars(errors).transpose(*order, missing_dims="ignore")


def worst_classes(data: xr.Dataset, number: str, most: int) -> list[int]:
    """Return the places of at most so many classes, in the run's order.

    Those in which the number is worst in the last epoch of the last phase that has
    it; a class without one comes last.
    """
    n = data.sizes["target_class"]
    if n <= most:
        return list(range(n))
    values = data[number].values
    last = np.full(n, np.nan)
    for phase in values:
        for epoch in phase:
            last = np.where(np.isfinite(epoch), epoch, last)
    worth = -last if number == "overlap" else last
    order = np.argsort(np.where(np.isfinite(worth), worth, np.inf), kind="stable")
    return sorted(int(at) for at in order[:most])

"""Which class lags, how far and how surely, and which classes are confused.

Everything a run says of its classes, joined: the peaks by true class, the share told
right with what chance allows, and the matrix of moments. Needs the output group.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import numpy as np
import scipy.stats
import xarray as xr
from numpy.typing import NDArray

from actrace.analysis import select
from actrace.analysis.kernels.shares import behind, outscored, wilson
from actrace.analysis.reduce import by_phase, described, merge_over, parallel, sum_over
from actrace.analysis.twin_peaks import twin_peaks
from actrace.errors import NotRecordedError
from actrace.store.schema import OUTPUT_GROUP

__all__ = ["class_report", "confused_pairs"]

_WILSON: Final = "Wilson (1927), JASA 22:209"
_NEWCOMBE: Final = "Clopper and Pearson (1934), Biometrika 26:404; Newcombe (1998)"
_BINORMAL: Final = "Hanley (1988), Medical Decision Making 8:197"

_TABLE: Final = {
    "samples": ("samples of the class", "1", ""),
    "accuracy": ("share of the class told right", "1", ""),
    "accuracy_low": ("lower end of accuracy's interval", "1", _WILSON),
    "accuracy_high": ("upper end of accuracy's interval", "1", _WILSON),
    "rank": ("place by accuracy, 1 the lowest", "1", ""),
    "behind": ("accuracy of all other classes less the class's own", "1", ""),
    "behind_at_least": ("what chance leaves of behind, over all classes", "1", _NEWCOMBE),
    "lagging": ("whether the class is behind by more than chance", "1", _NEWCOMBE),
    "confused_with": ("other unit whose NO lies most above the class's YES", "1", _BINORMAL),
    "confusion_seen": ("share of another unit's NO above the class's YES", "1", _BINORMAL),
    "confusion": ("share of the class whose largest output is the unit", "1", ""),
}
#: What is taken from the peaks by class as it stands, with its attributes.
_PEAKS: Final = (
    "understanding",
    "confidence",
    "d_prime",
    "overlap",
    "overlap_error",
    "auc",
    "auc_error",
)


def class_report(
    run: xr.DataTree,
    *,
    phases: str | Iterable[str] | None = None,
    window: select.Window = "chart",
    confidence: float = 0.95,
) -> xr.Dataset:
    """Return how each true class fares, by phase and epoch.

    Parameters
    ----------
    run : DataTree
        As `actrace.open` returns it.
    phases : str or iterable of str, optional
        All that have targets when left out.
    window : "chart", "epoch", int or (int, int), default "chart"
        Which batches: of each epoch for ``train`` the last quarter, as in the chart, or
        all, other phases always giving all; windows of so many training batches; or one,
        from step to step (the second excluded). A validation is in the window whose
        training it followed.
    confidence : float, default 0.95
        Of the interval of accuracy, and of all `behind_at_least` of an epoch together.

    Returns
    -------
    Dataset, dims (phase, epoch, target_class[, output_unit]), lazy
        By window instead of epoch where windows of steps were asked for. The peaks:
        understanding, confidence, d_prime, overlap and auc with their errors. The share told
        right: samples, accuracy between accuracy_low and accuracy_high, rank (1 the lowest,
        0 without samples), behind, behind_at_least, and lagging, which is true where that
        is above 0. In a single-label run of at most 256 classes also confusion_seen
        (.., output_unit), what the activations' moments say, NaN on the class's own unit;
        confused_with, its greatest; and confusion, what was counted.

    Raises
    ------
    PhaseNotFoundError
        A phase that the run does not have.
    NotRecordedError
        No targets were recorded there, the run is a regression, which has no classes, or
        windows of steps cut what the recorder kept together; the message says which fit.
    ValueError
        Another `window`, or a `confidence` that is not between 0 and 1.

    Examples
    --------
    >>> last = class_report(run).sel(phase="valid").isel(epoch=-1)
    >>> last["lagging"].values
    array([False, False, False, False])
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence!r}")
    peaks = twin_peaks(run, phases=phases, by="class", window=window)
    names = tuple(map(str, peaks["phase"].values))
    samples = peaks["samples"].chunk({"target_class": -1})
    # Both are exact, so this is the very count that the share was made of.
    hits = (peaks["accuracy"] * peaks["samples"]).round().fillna(0).chunk({"target_class": -1})
    found: dict[str, xr.DataArray] = {
        "samples": peaks["samples"],
        "accuracy": peaks["accuracy"],
    }
    found["accuracy_low"], found["accuracy_high"] = parallel(
        lambda x, n: wilson(x, n, confidence), hits, samples, core=[[], []], out=[[], []]
    )
    core = [["target_class"]]
    found["rank"] = parallel(
        _rank,
        found["accuracy"].chunk({"target_class": -1}),
        core=core,
        out=core,
        dtypes=[np.dtype(np.int64)],
    )
    found["behind"], found["behind_at_least"] = parallel(
        lambda x, n: behind(x, n, confidence), hits, samples, core=core * 2, out=core * 2
    )
    found["lagging"] = found["behind_at_least"] > 0
    found |= _confusion(run, names, window)
    order = ("phase", "epoch", "window", "target_class", "output_unit")
    report = described(
        xr.Dataset(found).transpose(*order, missing_dims="ignore"),
        _TABLE,
        **peaks.attrs,
        confidence=confidence,
    )
    return report.assign({name: peaks[name] for name in _PEAKS})


def confused_pairs(report: xr.Dataset, *, most: int = 10) -> list[tuple[str, str, float, float]]:
    """Return the pairs that one phase and epoch of a report confuses most.

    Parameters
    ----------
    report : Dataset, dims (target_class, output_unit)
        Of `class_report`, one phase and epoch of it.
    most : int, default 10

    Returns
    -------
    list of (true class, unit, confusion_seen, confusion)
        The highest `confusion_seen` first; empty where the run has no such matrix.

    Examples
    --------
    >>> last = class_report(run).sel(phase="valid").isel(epoch=-1)
    >>> len(confused_pairs(last, most=3))
    3
    """
    if "confusion_seen" not in report:
        return []
    both = report[["confusion_seen", "confusion"]].transpose("target_class", "output_unit")
    seen, counted = (both[name].values for name in ("confusion_seen", "confusion"))
    order = np.argsort(-np.where(np.isnan(seen), -1.0, seen), axis=None, kind="stable")
    classes, units = both["target_class"].values, both["output_unit"].values
    pairs = [divmod(int(at), len(units)) for at in order[:most]]
    return [
        (str(classes[c]), str(units[u]), float(seen[c, u]), float(counted[c, u]))
        for c, u in pairs
        if not np.isnan(seen[c, u])
    ]


def _rank(accuracy: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return places along the last axis, 1 the lowest, 0 for NaN; ties share the lowest."""
    ranks = scipy.stats.rankdata(accuracy, method="min", axis=-1, nan_policy="omit")
    return np.asarray(np.nan_to_num(ranks, nan=0), dtype=np.int64)


def _confusion(
    run: xr.DataTree, phases: tuple[str, ...], window: select.Window
) -> dict[str, xr.DataArray]:
    """Return what the activations show of confusion, and what was counted."""
    groups = {name: run.children[name].children[OUTPUT_GROUP] for name in phases}
    if any(g.attrs.get("task") != "single-label" or "confusion" not in g for g in groups.values()):
        return {}
    parts = {}
    for name, group in groups.items():
        node = group.to_dataset()
        windows = select.window_indices(run, name, OUTPUT_GROUP, window=window)
        weight = node["samples"].astype(np.int64).broadcast_like(node["output_mean"])
        mean, std = merge_over(weight, node["output_mean"], node["output_std"], windows)
        parts[name] = xr.Dataset(
            {
                "mean": mean,
                "std": std,
                "confusion": sum_over(node["confusion"], "window", windows),
                "samples": sum_over(node["samples"], "window", windows),
            }
        )
    sums = by_phase(parts, {"confusion": 0, "samples": 0})
    classes = sums["target_class"].size
    if classes != sums["output_unit"].size:
        raise NotRecordedError(
            f"this run has {classes} classes and {sums['output_unit'].size} output units, so "
            "which unit is which class's own is not known"
        )
    core = [["target_class", "output_unit"]]
    whole = {"target_class": -1, "output_unit": -1}
    seen = parallel(
        _seen, sums["mean"].chunk(whole), sums["std"].chunk(whole), core=core * 2, out=core
    )
    units = np.array([str(name) for name in sums["output_unit"].values], dtype=str)

    def greatest(values: NDArray[np.float64]) -> NDArray[Any]:
        filled = np.where(np.isnan(values), -1.0, values)
        none = (filled < 0).all(axis=-1)
        return np.where(none, "", units[filled.argmax(axis=-1)])

    found = {
        "confused_with": parallel(
            greatest,
            seen,
            core=[["output_unit"]],
            out=[[]],
            dtypes=[units.dtype],
        ),
        "confusion_seen": seen,
        "confusion": sums["confusion"] / sums["samples"].where(sums["samples"] > 0),
    }
    by_window = select.windowed(xr.Dataset(found).drop_vars("layer", errors="ignore"), run, window)
    return {str(name): array for name, array in by_window.data_vars.items()}


def _seen(mean: NDArray[np.float64], std: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return, for matrices (..., class, unit), what `outscored` says; NaN on the diagonal."""
    own_mean = np.diagonal(mean, axis1=-2, axis2=-1)[..., None]
    own_std = np.diagonal(std, axis1=-2, axis2=-1)[..., None]
    found = outscored(own_mean, own_std, mean, std)
    return np.where(np.eye(mean.shape[-1], dtype=bool), np.nan, found)

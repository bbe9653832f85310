"""Are YES and NO apart: the labelled numbers of the output layer, by epoch.

Exact where the store is exact (moments, shares, accuracy), and from the histograms
of YES and NO where a distribution is needed. Needs the output group, so targets.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np
import xarray as xr

from actrace.analysis import select
from actrace.analysis.kernels import separation
from actrace.analysis.kernels.overlap import overlap
from actrace.analysis.reduce import (
    by_phase,
    described,
    joined_bins,
    merge_over,
    parallel,
    sum_over,
)
from actrace.errors import NotRecordedError
from actrace.store.schema import OUTPUT_GROUP

__all__ = ["twin_peaks"]

_ACTIVATION: Final = "activation units"
_DA: Final = "Simpson and Fitter (1973), Psychological Bulletin 80:481"
_ROC: Final = "Hanley and McNeil (1982), Radiology 143:29"
_YOUDEN: Final = "Youden (1950), Cancer 3:32"
_OVL: Final = "Inman and Bradley (1989), Comm. Statist. Theory Methods 18:3851"
_CHAN: Final = "Chan, Golub and LeVeque (1979), STAN-CS-79-773"
_GIOMO: Final = "Giomo, The twin peaks chart"

_TABLE: Final = {
    "understanding": ("distance of the means of YES and NO", _ACTIVATION, _GIOMO),
    "confidence": ("spread of the YES peak, the smaller the surer", _ACTIVATION, _GIOMO),
    "d_prime": ("distance of the means in units of the common spread", "1", _DA),
    "overlap": ("area common to the densities of YES and NO", "1", _OVL),
    "overlap_error": ("most that binning may have moved overlap", "1", _OVL),
    "auc": ("probability that a YES lies above a NO", "1", _ROC),
    "auc_error": ("most that binning may have moved auc", "1", _ROC),
    "best_threshold": ("output that tells YES from NO best", _ACTIVATION, _YOUDEN),
    "youden_j": ("true less false positive rate at best_threshold", "1", _YOUDEN),
    "youden_j_error": ("most that a threshold within a bin may do better", "1", _YOUDEN),
    "mean_yes": ("mean of the outputs for the true class", _ACTIVATION, _CHAN),
    "mean_no": ("mean of the other outputs", _ACTIVATION, _CHAN),
    "std_yes": ("standard deviation of YES, divisor n", _ACTIVATION, _CHAN),
    "std_no": ("standard deviation of NO, divisor n", _ACTIVATION, _CHAN),
    "elements_yes": ("outputs for the true class", "1", ""),
    "elements_no": ("other outputs", "1", ""),
    "share_yes": ("share of YES among all outputs", "1", ""),
    "accuracy": ("share of the samples told right, multi-label: of the labels", "1", ""),
    "samples": ("samples", "1", ""),
}

_BY: Final = {None: "output_unit", "unit": "output_unit", "class": "target_class"}


def twin_peaks(
    run: xr.DataTree,
    *,
    phases: str | Iterable[str] | None = None,
    by: str | None = None,
    window: select.Window = "chart",
) -> xr.Dataset:
    """Return how far YES and NO of the output layer are apart, by phase and epoch.

    YES is the output for the sample's true class, NO every other output.

    Parameters
    ----------
    run : DataTree
        As `actrace.open` returns it.
    phases : str or iterable of str, optional
        All that have targets when left out.
    by : {None, "class", "unit"}, default None
        One answer for the layer; or one for each true class (its own unit against the
        others, over the samples of the class); or one for each output unit (over all
        samples).
    window : "chart", "epoch", int or (int, int), default "chart"
        Which batches: of each epoch for ``train`` the last quarter, as in the chart, or
        all, other phases always giving all; windows of so many training batches; or one,
        from step to step (the second excluded). A validation is in the window whose
        training it followed.

    Returns
    -------
    Dataset, dims (phase, epoch[, target_class | output_unit]), lazy
        By window instead of epoch where windows of steps were asked for.
        mean, std and elements of yes and no, share_yes, understanding, confidence,
        d_prime, overlap and auc, best_threshold with youden_j and, but for ``by="unit"``,
        accuracy and samples. What comes from moments and counts is exact; what needs a
        distribution has beside it, as overlap_error, auc_error and youden_j_error, how far
        the bins' width may have moved it. Moments are over finite outputs; NaN
        or 0 where an epoch has no such outputs or a phase no such epoch. By class, a
        class that has no unit of its own (the negative of a binary run) has no YES.
        In a multi-label run a sample counts once for each of its labels and accuracy
        is the share of the labels found, which says nothing of labels made up.

    Raises
    ------
    PhaseNotFoundError
        A phase that the run does not have.
    NotRecordedError
        No targets were recorded there, the run is a regression, which has no YES and NO, or
        windows of steps cut what the recorder kept together; the message says which fit.
    ValueError
        Another `by` or `window`.

    Examples
    --------
    >>> twin_peaks(run)["understanding"].sel(phase="valid").values.round(1)
    array([1.8, 3. , 4.8])
    """
    if by not in _BY:
        raise ValueError(f"by must be None, 'class' or 'unit', got {by!r}")
    names = _labelled_phases(run, phases)
    names = select.within(run, names, window, all_of_them=phases is not None)
    parts = {name: _sums(run, name, by, window) for name in names}
    counts = ("histogram", "elements", "samples", "correct")
    sums = by_phase(parts, dict.fromkeys(counts, 0))
    sums = sums.chunk({"phase": -1, "role": -1, "cell": -1, "epoch": "auto"})
    edges = select.bin_edges(run)
    yes, no = sums.sel(role="yes", drop=True), sums.sel(role="no", drop=True)
    found = {
        f"{what}_{role}": side[what]
        for what in ("mean", "std", "elements")
        for role, side in (("yes", yes), ("no", no))
    }
    elements = found["elements_yes"] + found["elements_no"]
    found["share_yes"] = found["elements_yes"] / elements.where(elements > 0)
    found["understanding"] = found["mean_yes"] - found["mean_no"]
    found["confidence"] = found["std_yes"]
    found["d_prime"] = parallel(
        separation.d_prime,
        *(found[name] for name in ("mean_yes", "mean_no", "std_yes", "std_no")),
        core=[[]] * 4,
    )
    sides = yes["histogram"], no["histogram"]
    core = [["cell"], ["cell"]]
    found["auc"], found["auc_error"] = parallel(separation.auc, *sides, core=core, out=[[], []])
    found["best_threshold"], found["youden_j"], found["youden_j_error"] = parallel(
        lambda p, q: separation.best_threshold(p, q, edges), *sides, core=core, out=[[]] * 3
    )
    found["overlap"], found["overlap_error"] = parallel(
        lambda p, q: overlap(p, q, edges), *sides, core=core, out=[[], []]
    )
    if "samples" in sums:
        found["samples"] = sums["samples"]
        found["accuracy"] = sums["correct"] / sums["samples"].where(sums["samples"] > 0)
    order = ("phase", "epoch", *((_BY[by],) if by else ()))
    answer = described(
        xr.Dataset(found).drop_vars(["role", "layer"], errors="ignore").transpose(*order),
        _TABLE,
        layer=str(run.children[names[0]].children[OUTPUT_GROUP].attrs.get("layer", "")),
    )
    return select.windowed(answer, run, window)


def _labelled_phases(run: xr.DataTree, phases: str | Iterable[str] | None) -> tuple[str, ...]:
    asked = select.select_phases(run, phases)
    labelled = tuple(name for name in asked if _has_windows(run.children[name]))
    missing = [name for name in asked if name not in labelled]
    if not labelled or (phases is not None and missing):
        where = f"phase {missing[0]!r}" if missing and phases is not None else "this run"
        raise NotRecordedError(
            f"{where} has no targets, so its outputs cannot be told into yes and no; record with "
            "criterion=loss_fn or call recorder.log(target=...) after each batch, or use "
            "find_peaks(run), which needs no targets"
        )
    for name in labelled:
        if run.children[name].children[OUTPUT_GROUP].attrs.get("task") == "regression":
            raise NotRecordedError(
                f"phase {name!r} is a regression, which has no yes and no to part; use "
                "find_peaks(run) for the shape of its outputs, divergence(run) for train against "
                f"valid, and run[{name + '/' + OUTPUT_GROUP!r}] for predictions against targets"
            )
    return labelled


def _has_windows(phase: xr.DataTree) -> bool:
    group = phase.children.get(OUTPUT_GROUP)
    return group is not None and group.sizes.get("window", 0) > 0


def _sums(run: xr.DataTree, phase: str, by: str | None, window: select.Window) -> xr.Dataset:
    """Return a phase's counts and moments over each epoch's windows."""
    node = run.children[phase].children[OUTPUT_GROUP].to_dataset()
    parts = select.window_indices(run, phase, OUTPUT_GROUP, window=window)
    suffix = "by_class" if by == "class" else "by_unit"
    pooled = _BY[by] if by is None else None

    def total(name: str) -> xr.DataArray:
        summed = sum_over(node[f"{name}_{suffix}"], "window", parts)
        return summed.sum(pooled) if pooled else summed

    elements, odd = node[f"elements_{suffix}"], node[f"nonfinite_{suffix}"]
    mean, std = merge_over(
        elements.astype(np.int64) - odd.astype(np.int64),
        node[f"mean_{suffix}"],
        node[f"std_{suffix}"],
        parts,
        pooled,
    )
    found = {
        "histogram": joined_bins(total("count"), total("underflow"), total("overflow")),
        "elements": total("elements"),
        "mean": mean,
        "std": std,
    }
    if by != "unit" and "correct" in node:
        for name in ("samples", "correct"):
            summed = sum_over(node[name], "window", parts)
            found[name] = summed.sum("target_class") if by is None else summed
    return xr.Dataset(found)

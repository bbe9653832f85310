"""How far one phase has parted from another, by layer or class, epoch by epoch.

Beside each distance stands what windows of one and the same phase show (`null_band`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from actrace.analysis import select
from actrace.analysis.kernels.divergence import (
    DISTANCES,
    distances,
    jensen_shannon_by_chance,
)
from actrace.analysis.null_band import (
    LEAST,
    EpochSplit,
    check_quantile,
    quantiles_of,
    split_epochs,
    stretches,
    tails,
    windows_by_epoch,
)
from actrace.analysis.reduce import (
    Indexer,
    by_phase,
    described,
    joined_bins,
    numbered,
    parallel,
    sum_over,
)
from actrace.analysis.thinned import count_over
from actrace.errors import NotRecordedError
from actrace.store.rewriting.marks import is_thinned
from actrace.store.schema import OUTPUT_GROUP

__all__ = ["divergence"]

#: Stretches of a layer that are gathered at once.
_AT_ONCE: Final = 1024

_TABLE: dict[str, tuple[str, str, str]] = {
    "jensen_shannon": (
        "Jensen-Shannon divergence of the two phases",
        "bit",
        "Lin (1991), IEEE Transactions on Information Theory 37:145",
    ),
    "jensen_shannon_by_chance": (
        "divergence that samples of one distribution would show",
        "bit",
        "Grosse et al. (2002), Physical Review E 65:041905",
    ),
    "wasserstein": (
        "first Wasserstein distance of the two phases",
        "activation units",
        "Vallender (1974), Theory of Probability and its Applications 18:784",
    ),
    "kolmogorov_smirnov": (
        "Kolmogorov-Smirnov distance of the two phases",
        "1",
        "Smirnov (1948), Annals of Mathematical Statistics 19:279",
    ),
    "hellinger": (
        "Hellinger distance of the two phases",
        "1",
        "Le Cam and Yang (2000), Asymptotics in Statistics, section 3.2",
    ),
    "elements_first": ("finite elements of the first phase", "1", ""),
    "elements_second": ("finite elements of the second phase", "1", ""),
    "null_windows": ("stretches of the first phase behind its null bands", "1", ""),
}
_TABLE |= {
    f"{name}_null": (
        f"{_TABLE[name][0].removesuffix('two phases')}first phase from itself",
        *_TABLE[name][1:],
    )
    for name in DISTANCES
}


def divergence(
    run: xr.DataTree,
    *,
    by: str = "layer",
    layers: str | Iterable[str] | None = None,
    phases: Sequence[str] = ("train", "valid"),
    window: select.Window = "chart",
    null: bool = True,
    quantile: float = 0.95,
) -> xr.Dataset:
    """Return how unlike two phases are, by layer or class, and epoch.

    Parameters
    ----------
    run : DataTree
        As `actrace.open` returns it.
    by : {"layer", "class"}, default "layer"
        All activations of each layer; or the outputs for each true class, those of its
        own unit (role ``yes``) and of the others (``no``) apart, which needs targets.
    layers : str or iterable of str, optional
        Names or patterns; all when left out. With ``by="layer"`` alone.
    phases : two str, default ("train", "valid")
    window : "chart", "epoch", int or (int, int), default "chart"
        Which batches: of each epoch for ``train`` the last quarter, as in the chart, or
        all, other phases always giving all; windows of so many training batches; or one,
        from step to step (the second excluded). A validation is in the window whose
        training it followed.
    null : bool, default True
        Also the null band: the `quantile` of the same distance between the last quarter
        of the first phase's epoch (or window of steps) and up to 12 stretches before it,
        each with about as many samples as the second phase has. Weights move within an
        epoch, so the band of early epochs is wide.
    quantile : float, default 0.95

    Returns
    -------
    Dataset, dims (layer, epoch) or (target_class, role, epoch), lazy
        By window instead of epoch where windows of steps were asked for.
        jensen_shannon (bits, 0 to 1), wasserstein (activation units), kolmogorov_smirnov
        and hellinger (0 to 1), NaN where either phase has no finite elements;
        elements_first and elements_second. Few elements on many bins differ by chance
        too, at least by jensen_shannon_by_chance. A layer that works otherwise in
        training (dropout and what follows it) differs by that as well. With `null`, each
        distance's band as ``<distance>_null`` and the number of stretches behind it,
        null_windows (epoch); NaN where there are fewer than 3.

    Raises
    ------
    LayerNotFoundError, PhaseNotFoundError
        Not in this run; the message lists what is.
    NotRecordedError
        ``by="class"`` and a phase without classes (no targets, or a regression); a phase
        without a batch in the window; windows of steps that cut what was kept together.
    ValueError
        Not two different phases, or another `by`, `window` or `quantile`.

    Examples
    --------
    >>> divergence(run)["wasserstein"].sizes
    Frozen({'layer': 3, 'epoch': 3})
    >>> divergence(run, by="class", null=False)["hellinger"].sizes
    Frozen({'target_class': 4, 'role': 2, 'epoch': 3})
    """
    pair = select.select_phases(run, phases)
    if len(pair) != 2:
        raise ValueError(
            f"phases must be two different ones, as ('train', 'valid'), got {phases!r}"
        )
    check_quantile(quantile)
    if by not in ("layer", "class"):
        raise ValueError(f"by must be 'layer' or 'class', got {by!r}")
    if by == "class" and layers is not None:
        raise ValueError("by='class' is about the output layer: leave layers= out")
    group = None if by == "layer" else OUTPUT_GROUP
    at = select.select_layers(run, layers)
    select.within(run, pair, window, all_of_them=True)
    if group is not None:
        _refuse_without_classes(run, pair)
    windows = {phase: _parts(run, phase, group, window) for phase in pair}
    splits = split_epochs(run, *pair, group, window=window) if null else []
    if group is None:
        splits = [one for one in splits if not _is_thinned(run, pair[0], at, one)]
    # What the band is taken from are mostly the same batches: each is read once for all.
    wanted, places = numbered(windows[pair[0]], tails(splits), stretches(splits))
    whole = _histograms(run, pair[0], group, at, wanted)
    mine = whole.isel(epoch=places[0]).assign_coords(epoch=list(windows[pair[0]]))
    theirs = _histograms(run, pair[1], group, at, windows[pair[1]])
    sides = {pair[0]: mine.to_dataset(name="histogram")}
    sides[pair[1]] = theirs.to_dataset(name="histogram")
    histogram = by_phase(sides, {"histogram": 0})["histogram"].chunk({"cell": -1})
    first, second = (histogram.sel(phase=name, drop=True) for name in pair)
    edges = select.bin_edges(run)
    core = [["cell"], ["cell"]]
    apart = parallel(
        lambda p, q: distances(p, q, edges), first, second, core=core, out=[[]] * len(DISTANCES)
    )
    found = dict(zip(DISTANCES, apart, strict=True))
    found["jensen_shannon_by_chance"] = parallel(jensen_shannon_by_chance, first, second, core=core)
    found |= {"elements_first": first.sum("cell"), "elements_second": second.sum("cell")}
    attributes: dict[str, Any] = {"phases": list(pair), "by": by}
    if null:
        found |= _null_bands(whole, splits, places[1:], edges, quantile, first)
        attributes |= {"null_quantile": quantile, "null_least": LEAST}
    dims = ("layer", "epoch") if group is None else ("target_class", "role", "epoch")
    answer = described(xr.Dataset(found).transpose(*dims), _TABLE, **attributes)
    return select.windowed(answer, run, window)


def _refuse_without_classes(run: xr.DataTree, phases: Iterable[str]) -> None:
    for phase in phases:
        output = run.children[phase].children.get(OUTPUT_GROUP)
        if output is None or "count_by_class" not in output.data_vars:
            raise NotRecordedError(
                f"phase {phase!r} has no classes, so nothing can be said by class: it has no "
                "targets or is a regression; record with criterion=loss_fn, or ask with by='layer'"
            )


def _histograms(
    run: xr.DataTree,
    phase: str,
    group: str | None,
    layers: NDArray[np.int64],
    parts: Mapping[int, Indexer],
) -> xr.DataArray:
    """Return the histograms of layers, or classes, summed over parts, dims (..., epoch, cell)."""
    if group is None:
        node = run.children[phase].to_dataset().isel(layer=layers)
        ends = [sum_over(node[name], "batch", parts) for name in ("underflow", "overflow")]
        return joined_bins(count_over(run, phase, layers, parts), *ends)
    node = run.children[phase].children[group].to_dataset()
    names = (f"{name}_by_class" for name in ("count", "underflow", "overflow"))
    return joined_bins(*(sum_over(node[name], "window", parts) for name in names))


def _parts(
    run: xr.DataTree, phase: str, group: str | None, window: select.Window
) -> Mapping[int, slice | NDArray[np.int64]]:
    if group is None:
        return {p.epoch: p.indexer for p in select.epoch_batches(run, phase, window=window)}
    return select.window_indices(run, phase, group, window=window)


def _null_bands(
    histogram: xr.DataArray,
    splits: Sequence[EpochSplit],
    places: Sequence[NDArray[np.int64]],
    edges: NDArray[np.float64],
    quantile: float,
    like: xr.DataArray,
) -> dict[str, xr.DataArray]:
    """Return a band for each distance, NaN in epochs of `like` without a split, and the windows.

    Parameters
    ----------
    histogram : DataArray, dims (..., epoch, cell)
        Of all parts; `places` says where among them the last quarters stand, and where
        the stretches, those of an epoch in a row.
    """
    epoch = like["epoch"]
    if not splits:
        nothing = xr.full_like(like.sum("cell"), np.nan, dtype=np.float64)
        return {
            **{f"{name}_null": nothing.copy() for name in DISTANCES},
            "null_windows": xr.zeros_like(epoch, dtype=np.int64).chunk(),
        }
    lengths = [len(split.before) for split in splits]
    before, tail = places[1], np.repeat(places[0], lengths)

    def bands(block: NDArray[np.uint64]) -> tuple[NDArray[np.float64], ...]:
        apart = np.empty((len(DISTANCES), *block.shape[:-2], len(before)))
        for at in range(0, len(before), _AT_ONCE):
            some = slice(at, at + _AT_ONCE)
            apart[..., some] = distances(
                block[..., tail[some], :], block[..., before[some], :], edges
            )
        return tuple(quantiles_of(apart, lengths, quantile))

    found = parallel(
        bands,
        histogram.drop_vars("epoch").rename(epoch="part").chunk({"part": -1, "cell": -1}),
        core=[["part", "cell"]],
        out=[["epoch"]] * len(DISTANCES),
        sizes={"epoch": len(splits)},
    )
    epochs = [split.epoch for split in splits]
    answer = {
        f"{name}_null": band.assign_coords(epoch=epochs).reindex(epoch=epoch)
        for name, band in zip(DISTANCES, found, strict=True)
    }
    windows = windows_by_epoch(splits).reindex(epoch=epoch, fill_value=0)
    return answer | {"null_windows": windows}


def _is_thinned(run: xr.DataTree, phase: str, layers: NDArray[np.int64], split: EpochSplit) -> bool:
    """Return whether an epoch's histograms batch by batch are gone in some layer."""
    batches = np.concatenate([*split.before, split.tail])
    first, last = int(batches.min()), int(batches.max())
    return is_thinned(run.attrs, phase, layers.tolist(), first, last + 1)

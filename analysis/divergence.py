"""How far one phase has parted from another, layer by layer, epoch by epoch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import xarray as xr

from actrace.analysis import select
from actrace.analysis.kernels.divergence import (
    hellinger,
    jensen_shannon,
    jensen_shannon_by_chance,
    kolmogorov_smirnov,
    wasserstein,
)
from actrace.analysis.reduce import by_phase, described, joined_bins, parallel, sum_over

__all__ = ["divergence"]

_TABLE: Final = {
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
}


def divergence(
    run: xr.DataTree,
    *,
    layers: str | Iterable[str] | None = None,
    phases: Sequence[str] = ("train", "valid"),
    window: str = "chart",
) -> xr.Dataset:
    """Return how unlike two phases are, by layer and epoch.

    Parameters
    ----------
    run : DataTree
        As `actrace.open` returns it.
    layers : str or iterable of str, optional
        Names or patterns; all when left out.
    phases : two str, default ("train", "valid")
    window : {"chart", "epoch"}, default "chart"
        Which batches of an epoch: for ``train`` the last quarter, as in the chart,
        or all. Other phases always give all.

    Returns
    -------
    Dataset, dims (layer, epoch), lazy
        jensen_shannon (bits, 0 to 1), wasserstein (activation units), kolmogorov_smirnov
        and hellinger (0 to 1), NaN where either phase has no finite elements;
        elements_first and elements_second. Few elements on many bins differ by chance
        too, at least by jensen_shannon_by_chance. A layer that works otherwise in
        training (dropout and what follows it) differs by that as well.

    Raises
    ------
    LayerNotFoundError, PhaseNotFoundError
        Not in this run; the message lists what is.
    ValueError
        Not two different phases.

    Examples
    --------
    >>> divergence(run)["wasserstein"].sizes
    Frozen({'layer': 3, 'epoch': 3})
    """
    pair = select.select_phases(run, phases)
    if len(pair) != 2:
        raise ValueError(
            f"phases must be two different ones, as ('train', 'valid'), got {phases!r}"
        )
    at = select.select_layers(run, layers)
    edges = select.bin_edges(run)
    parts = {}
    for phase in pair:
        node = run.children[phase].to_dataset().isel(layer=at)
        batches = {
            part.epoch: part.indexer for part in select.epoch_batches(run, phase, window=window)
        }
        sums = [sum_over(node[n], "batch", batches) for n in ("count", "underflow", "overflow")]
        parts[phase] = xr.Dataset({"histogram": joined_bins(*sums)})
    histogram = by_phase(parts, {"histogram": 0})["histogram"].chunk({"cell": -1})
    first, second = (histogram.sel(phase=name, drop=True) for name in pair)
    core = [["cell"], ["cell"]]
    found = {
        "jensen_shannon": parallel(jensen_shannon, first, second, core=core),
        "jensen_shannon_by_chance": parallel(jensen_shannon_by_chance, first, second, core=core),
        "wasserstein": parallel(lambda p, q: wasserstein(p, q, edges), first, second, core=core),
        "kolmogorov_smirnov": parallel(kolmogorov_smirnov, first, second, core=core),
        "hellinger": parallel(hellinger, first, second, core=core),
        "elements_first": first.sum("cell"),
        "elements_second": second.sum("cell"),
    }
    return described(
        xr.Dataset(found).transpose("layer", "epoch"), _TABLE, window=window, phases=list(pair)
    )

"""What a comparison reads and computes, run by run, before anything is read.

Imports NumPy, xarray and dask.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
import xarray as xr
from dask.array import from_delayed
from dask.delayed import delayed
from numpy.typing import NDArray

from actrace.analysis.comparison.align import Columns, positioned
from actrace.analysis.comparison.distances import DISTANCES, between
from actrace.analysis.comparison.layers import CommonBins, MatchedLayers, of_layers
from actrace.analysis.comparison.noise import PAIRS, noise_bands, redrawn
from actrace.analysis.comparison.positions import Positions
from actrace.analysis.kernels.parting import first_lasting
from actrace.analysis.reduce import described, parallel

__all__ = ["ALONE", "WITH_SEEDS", "Plan"]

#: Bits above the noise that are never called a difference: where little is known of chance,
#: and from so many pairs of seeds on as tell it. How they were chosen and what they give is
#: in docs/comparison.md.
ALONE: Final = 0.08
WITH_SEEDS: Final = 0.02

_CHAN: Final = "Chan, Golub and LeVeque (1979), STAN-CS-79-773"
_TABLE: Final = {
    "jensen_shannon": (
        "Jensen-Shannon divergence from the baseline",
        "bit",
        "Lin (1991), IEEE Transactions on Information Theory 37:145",
    ),
    "wasserstein": (
        "first Wasserstein distance from the baseline",
        "activation units",
        "Vallender (1974), Theory of Probability and its Applications 18:784",
    ),
    "kolmogorov_smirnov": (
        "Kolmogorov-Smirnov distance from the baseline",
        "1",
        "Smirnov (1948), Annals of Mathematical Statistics 19:279",
    ),
    "hellinger": (
        "Hellinger distance from the baseline",
        "1",
        "Le Cam and Yang (2000), Asymptotics in Statistics, section 3.2",
    ),
    "noise": ("Jensen-Shannon divergence that chance would show", "bit", ""),
    "noise_pairs": ("pairs of seeds behind noise", "1", ""),
    "tolerance": ("bits above noise that are never called a difference", "bit", ""),
    "beyond": ("jensen_shannon is above noise by more than the tolerance", "1", ""),
    "parts_at": ("where the layer parts from the baseline for good", "", ""),
    "mean": ("mean of the finite elements", "activation units", _CHAN),
    "std": ("standard deviation of the finite elements, divisor n", "activation units", _CHAN),
    "activation_rate": ("mean over units of the share of active elements", "1", "monitorch"),
    "death_rate": ("smallest death rate of the batches, an upper bound", "1", "monitorch"),
    "loss": ("mean loss, weighted with samples", "1", ""),
    "batches": ("batches in the position", "1", ""),
}
#: Variable -> its dimensions and dtype.
_About: TypeAlias = dict[str, tuple[tuple[str, ...], np.dtype[Any]]]
_BY_LAYER: Final = ("layer", "position")
_OF_RUNS: Final = ("mean", "std", "activation_rate", "death_rate", "loss", "batches")


@dataclass(frozen=True, slots=True)
class Plan:
    """Runs that fit each other, and how they are compared.

    Attributes
    ----------
    runs, seeds : dict of str to DataTree
        Those compared, and those of the baseline's config; the baseline is in both,
        unless there are no seeds.
    baseline, phase : str
    layers : MatchedLayers
    bins : CommonBins
    positions : Positions
    columns : dict of str to Columns
        What is read of every run and seed.
    tolerance : float or None
        Bits above the noise; None is `ALONE` or `WITH_SEEDS`, as there are `PAIRS` of seeds.
    quantile : float
    patience, lag : int
        In positions.
    """

    runs: dict[str, xr.DataTree]
    baseline: str
    seeds: dict[str, xr.DataTree]
    phase: str
    layers: MatchedLayers
    bins: CommonBins
    positions: Positions
    columns: dict[str, Columns]
    tolerance: float | None
    quantile: float
    patience: int
    lag: int

    def summed(self, name: str) -> xr.Dataset:
        """Return a run or seed over the positions, read now; see `positioned`."""
        run = self.runs[name] if name in self.runs else self.seeds[name]
        return positioned(
            run,
            self.phase,
            self.layers.names,
            self.positions,
            self.columns[name],
            self.bins.joins[name],
        )

    def beside(self, name: str, baseline: xr.Dataset) -> xr.Dataset:
        """Return a run's distances from the summed baseline and its own numbers, read now."""
        summed = baseline if name == self.baseline else self.summed(name)
        apart = between(summed["histogram"], baseline["histogram"], self.bins.edges)
        return apart.assign({of_run: summed[of_run] for of_run in _OF_RUNS})

    def lazily(self) -> xr.Dataset:
        """Return what `judged` returns of all runs; a run is read where it is computed."""
        summed = {name: delayed(self.summed)(name) for name in (self.baseline, *self.seeds)}
        sizes = {
            "layer": len(self.layers.names),
            "position": len(self.positions),
            "cell": len(self.bins.edges) + 1,
        }
        about: _About = {"histogram": (("layer", "position", "cell"), np.dtype(np.uint64))}
        histograms = {
            name: self._of_delayed(dataset, about, sizes) for name, dataset in summed.items()
        }
        about = dict.fromkeys((*DISTANCES, *_OF_RUNS), (_BY_LAYER, np.dtype(np.float64)))
        about |= {"loss": (("position",), np.dtype(np.float64))}
        about |= {"batches": (("position",), np.dtype(np.int64))}
        rows = {
            name: self._of_delayed(delayed(self.beside)(name, summed[self.baseline]), about, sizes)
            for name in self.runs
        }
        return self.judged(rows, histograms)

    def _of_delayed(
        self,
        dataset: Any,
        about: _About,
        sizes: Mapping[str, int],
    ) -> xr.Dataset:
        arrays = {
            name: (
                dims,
                from_delayed(  # type: ignore[no-untyped-call]
                    delayed(_values)(dataset, name), [sizes[dim] for dim in dims], dtype=dtype
                ),
            )
            for name, (dims, dtype) in about.items()
        }
        coords = {"layer": np.array(self.layers.names), "position": np.arange(sizes["position"])}
        return xr.Dataset(arrays, coords=coords)

    def judged(self, rows: dict[str, xr.Dataset], seeds: dict[str, xr.Dataset]) -> xr.Dataset:
        """Return the rows of all runs as one, with noise and where each parts.

        Parameters
        ----------
        rows : dict of str to Dataset
            Run -> what `beside` returned.
        seeds : dict of str to Dataset
            What `summed` returned for the baseline, first, and the seeds.
        """
        dim = xr.Variable("run", np.array(list(rows), dtype=str))
        found = xr.concat(
            list(rows.values()), dim, data_vars="all", coords="minimal", compat="override",
            join="override",
        )  # fmt: skip
        histograms = {name: data["histogram"] for name, data in seeds.items()}
        first, names = self.runs[self.baseline], np.array(self.layers.names)
        draw = redrawn(
            histograms[self.baseline],
            of_layers(first, "layer_units", names, 0).astype(np.int64),
            self.bins.edges,
        )
        found["noise"], found["noise_pairs"] = noise_bands(
            histograms[self.baseline],
            histograms if len(histograms) > 1 else {},
            list(rows),
            draw=draw,
            lag=self.lag,
            quantile=self.quantile,
        )
        far = found["jensen_shannon"]
        found["tolerance"] = self._tolerances(found["noise_pairs"])
        found["beyond"] = far > found["noise"] + found["tolerance"]
        found["parts_at"] = self._parts(found["beyond"], far.notnull())
        start = self.positions.edges
        found = found.assign_coords(
            position=("position", start[:-1]), position_end=("position", start[1:])
        )
        return described(
            found.transpose("run", "layer", "position"),
            _TABLE | {"parts_at": (*_TABLE["parts_at"][:1], self.positions.by, "")},
            baseline=self.baseline,
            by=self.positions.by,
            phase=self.phase,
            quantile=self.quantile,
            patience=self.patience,
            lag=self.lag,
            batches_a_column=[self.columns[name].factor for name in rows],
            batches_in_a_neighbour=[self.columns[name].moved for name in rows],
        )

    def _tolerances(self, pairs: xr.DataArray) -> xr.DataArray:
        chosen = np.where(pairs.to_numpy() >= PAIRS, WITH_SEEDS, ALONE)
        if self.tolerance is not None:
            chosen = np.full(len(chosen), self.tolerance)
        return pairs.copy(data=chosen)

    def _parts(self, beyond: xr.DataArray, known: xr.DataArray) -> xr.DataArray:
        start, patience = self.positions.edges, self.patience

        def begin(over: NDArray[np.bool_], there: NDArray[np.bool_]) -> NDArray[np.float64]:
            at = first_lasting(over, there, patience)
            return np.where(at >= 0, start[at], np.nan)

        whole = {"position": -1}
        found: xr.DataArray = parallel(
            begin, beyond.chunk(whole), known.chunk(whole), core=[["position"]] * 2
        )
        return found


def _values(dataset: xr.Dataset, name: str) -> NDArray[Any]:
    return dataset[name].to_numpy()

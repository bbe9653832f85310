"""`Comparison`: what `compare` found, as data, as words and as a table.

Computed run by run when it is first asked for, so that a hundred runs take no more
memory than a few. Imports xarray; pandas where a table is asked for.
"""

from __future__ import annotations

import html
import json
import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import xarray as xr
from dask.base import compute
from dask.delayed import delayed

from actrace.analysis.comparison.differences import as_json, differences
from actrace.analysis.comparison.plan import Plan
from actrace.store.describe import clean
from actrace.store.names import listed
from actrace.store.progress import counting

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Comparison", "Parting"]

#: Runs that are handed to dask together; a step of the progress bar.
AT_ONCE: Final = 8


@dataclass(frozen=True, slots=True)
class Parting:
    """Where one run parts from the baseline.

    Attributes
    ----------
    run : str
    layer : str
        The first to part, the earlier in the network where several do at once; "" where
        the run keeps to the baseline.
    at : float
        Where its position begins: a step, an epoch, samples, or a share of the run.
        NaN where the run does not part.
    where : str
        The same in words.
    distance, limit : float
        Jensen-Shannon divergence there, and the noise plus the tolerance, bits.
        Where the run does not part: at the place that came nearest to it.
    """

    run: str
    layer: str
    at: float
    where: str
    distance: float
    limit: float

    @property
    def parted(self) -> bool:
        """Whether the run parts from the baseline at all."""
        return not math.isnan(self.at)

    def sentence(self, baseline: str) -> str:
        """Return the finding in words."""
        who, base = clean(self.run, 80), clean(baseline, 80)
        if not self.parted:
            return f"{who} keeps to {base}"
        return (
            f"{who} parts from {base} at {self.where} in {clean(self.layer, 80)} "
            f"({self.distance:.2f} bits, where {self.limit:.2f} may be chance)"
        )


class Comparison:
    """Several runs beside a baseline; made by `actrace.compare`.

    Parameters
    ----------
    plan : Plan
        What is to be read and computed.
    ours : list of DataTree
        Runs that were opened for it, and are closed once all is read.
    """

    __slots__ = ("_data", "_lazy", "_ours", "_plan", "_table")

    def __init__(self, plan: Plan, ours: list[xr.DataTree]) -> None:
        self._plan = plan
        self._ours = ours
        self._data: xr.Dataset | None = None
        self._lazy: xr.Dataset | None = None
        self._table: pd.DataFrame | None = None

    @property
    def runs(self) -> tuple[str, ...]:
        """Names of the runs, in the order given."""
        return tuple(self._plan.runs)

    @property
    def baseline(self) -> str:
        """Name of the run that the others are held against."""
        return self._plan.baseline

    @property
    def data(self) -> xr.Dataset:
        """Everything, dims (run, layer, position): lazy until something was computed.

        ``jensen_shannon`` (bits), ``wasserstein`` (activation units), ``kolmogorov_smirnov``
        and ``hellinger`` from the baseline, NaN where either has no elements; ``noise`` and
        (run) ``noise_pairs`` and ``tolerance``; ``beyond``; (run, layer) ``parts_at``, NaN
        for never; each run's own ``mean``, ``std``, ``activation_rate``, ``death_rate``;
        (run, position) ``loss`` and ``batches``. The coordinate ``position`` is where each begins.
        """
        if self._data is not None:
            return self._data
        if self._lazy is None:
            self._lazy = self._plan.lazily()
        return self._lazy

    def load(self, *, progress: bool | None = None) -> xr.Dataset:
        """Compute everything, run by run, and return `data`, in memory from now on.

        Paths that were given to `compare` are closed then.

        Parameters
        ----------
        progress : bool, optional
            True for a progress bar at once, False for none; by default one after two
            seconds on a terminal.
        """
        if self._data is not None:
            return self._data
        plan = self._plan
        names = (plan.baseline, *plan.seeds)
        (kept,) = compute({name: delayed(plan.summed)(name) for name in names})  # type: ignore[no-untyped-call]
        base = kept[plan.baseline]
        rows: dict[str, xr.Dataset] = {}
        with counting(len(plan.runs), "comparing runs", progress=progress) as advance:
            for first in range(0, len(plan.runs), AT_ONCE):
                some = self.runs[first : first + AT_ONCE]
                (read,) = compute({name: delayed(plan.beside)(name, base) for name in some})  # type: ignore[no-untyped-call]
                rows |= read
                for _ in some:
                    advance()
        data = plan.judged(rows, kept).compute()
        self._table = differences(plan, data)
        self._data, self._lazy = data, None
        for run in self._ours:
            run.close()
        return data

    @property
    def parts(self) -> tuple[Parting, ...]:
        """Where each run but the baseline parts from it, in the order given."""
        data = self.load()
        return tuple(self._parting(data, name) for name in self.runs if name != self.baseline)

    @property
    def departing(self) -> tuple[str, ...]:
        """Names of the runs that part from the baseline, or lack one of its layers."""
        lacking = self._plan.layers.missing
        return tuple(part.run for part in self.parts if part.parted or part.run in lacking)

    @property
    def differences(self) -> pd.DataFrame:
        """What the runs' settings differ in, beside what came out; a row a run.

        Columns ``config.<setting>`` and ``environment.<what>`` only where runs differ;
        ``parts_at`` and ``parts_in``; and of the last epoch ``outcome.<phase>_loss``,
        ``outcome.accuracy`` and ``outcome.understanding`` (of ``valid`` where there is
        one), ``outcome.death_rate``, the highest of the layers in the last position, and
        ``outcome.duration`` in seconds. NaN or None for what a run does not have.
        """
        self.load()
        table = self._table
        assert table is not None  # load has made it
        found = table.copy()
        parts = {part.run: part for part in self.parts}
        at = [parts[name].at if name in parts else math.nan for name in self.runs]
        found.insert(0, "parts_at", at)
        found.insert(1, "parts_in", [parts[n].layer if n in parts else "" for n in self.runs])
        return found

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a reader should know of the runs before believing the numbers."""
        return tuple(self._remarks())

    def to_json(self, *, indent: int | None = None) -> str:
        """Return parts, differences, remarks and settings as JSON; NaN is null."""
        attributes = {k: v for k, v in self.load().attrs.items() if not k.startswith("batches_")}
        told = {
            **attributes,
            "runs": list(self.runs),
            "parts": [
                {**asdict(part), "parted": part.parted, "sentence": part.sentence(self.baseline)}
                for part in self.parts
            ],
            "differences": self.differences.to_dict("index"),
            "remarks": list(self.remarks),
        }
        return json.dumps(as_json(told), indent=indent, allow_nan=False)

    def __repr__(self) -> str:
        lines = [part.sentence(self.baseline) for part in self.parts]
        return "\n".join([*lines, *(f"  {remark}" for remark in self.remarks)])

    def _repr_html_(self) -> str:
        said = "".join(f"<p>{html.escape(p.sentence(self.baseline))}</p>" for p in self.parts)
        notes = "".join(f"<li>{html.escape(remark)}</li>" for remark in self.remarks)
        table = self.differences
        table = table.rename(index=lambda n: clean(n, 80), columns=lambda n: clean(n, 80))
        shown = table.map(lambda value: clean(value, 60) if isinstance(value, str) else value)
        return f"<div>{said}{f'<ul>{notes}</ul>' if notes else ''}{shown.to_html()}</div>"

    def _parting(self, data: xr.Dataset, name: str) -> Parting:
        one = data.sel(run=name)
        far = one["jensen_shannon"].to_numpy()
        limit = one["noise"].to_numpy() + float(one["tolerance"])
        starts = one["parts_at"].to_numpy()
        if np.isnan(starts).all():
            margin = np.where(np.isnan(far), -np.inf, far - limit)
            i, p = (int(k) for k in np.unravel_index(int(margin.argmax()), far.shape))
            return Parting(name, "", math.nan, "", float(far[i, p]), float(limit[i, p]))
        i = int(np.nanargmin(starts))  # the first of equals, and layers are in their order
        p = int(np.searchsorted(data["position"].to_numpy(), starts[i]))
        return Parting(
            name,
            self._plan.layers.names[i],
            float(starts[i]),
            self._plan.positions.words(p),
            float(far[i, p]),
            float(limit[i, p]),
        )

    def _remarks(self) -> list[str]:
        plan, found = self._plan, []
        layers = plan.layers
        for what, names in (("lacks", layers.missing), ("has besides", layers.added)):
            found += [
                f"{clean(who, 80)} {what} {clean(listed(some, 6), 400)}"
                for who, some in names.items()
            ]
        for name, changed in layers.changed.items():
            words = "; ".join(f"{layer}: {what}" for layer, what in list(changed.items())[:6])
            more = f" and {len(changed) - 6} more" if len(changed) > 6 else ""
            found.append(f"{clean(name, 80)} has other layers: {clean(words, 400)}{more}")
        for name, run in plan.runs.items():
            if run.attrs.get("status") == "recording":
                found.append(f"{clean(name, 80)} is still recording; seen as of its last commit")
        ends = {name: int(c.position[-1]) for name, c in plan.columns.items() if name in plan.runs}
        if plan.positions.by != "fraction" and len(set(ends.values())) > 1:
            short = min(ends, key=lambda name: ends[name])
            found.append(
                f"{clean(short, 80)} ends first, at {plan.positions.words(ends[short])}; after its "
                "end a run is not compared"
            )
        moved = {n: c for n, c in plan.columns.items() if c.moved and n in plan.runs}
        if moved:
            most = max(moved.values(), key=lambda c: c.moved / len(c.position))
            found.append(
                f"read in columns of {most.factor} batches, of which those at the ends of a "
                f"position are counted whole: {most.moved:,} batches stand one position early"
            )
        return found

"""`compare`: several runs beside a baseline, aligned, and where each parts from it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import xarray as xr

from actrace.analysis import select
from actrace.analysis.comparison.align import choose_level
from actrace.analysis.comparison.comparison import Comparison
from actrace.analysis.comparison.layers import common_bins, match_layers
from actrace.analysis.comparison.noise import MOST_SEEDS, same_but_for_the_seed
from actrace.analysis.comparison.opening import Runs, open_runs
from actrace.analysis.comparison.plan import Plan
from actrace.analysis.comparison.positions import places, shared_positions
from actrace.errors import ComparisonError, PhaseNotFoundError
from actrace.store.names import listed

__all__ = ["Runs", "compare"]


def compare(
    runs: Runs,
    *,
    baseline: str | None = None,
    by: str = "step",
    phase: str = "train",
    layers: str | Iterable[str] | None = None,
    width: int = 100,
    noise: Runs | None = None,
    tolerance: float | None = None,
    patience: int | None = None,
    lag: int | None = None,
    quantile: float = 0.95,
) -> Comparison:
    """Return how far runs are from a baseline, layer by layer, and where they part.

    A run parts from the baseline at the first position from which on, for `patience`
    positions in a row, some layer's Jensen-Shannon divergence is above what chance would
    do, the *noise*, by more than `tolerance`. The noise is how far the baseline itself moves
    within `lag` positions, since a run may be a little ahead or behind; and, where
    there are runs of the baseline's config with other seeds, how far those are from
    each other. Where there are fewer than three pairs of them it is also how far another
    draw of its units would move a layer, by the number of units.

    Parameters
    ----------
    runs : sequence or mapping of runs or paths, or the table of `actrace.runs`
        Two or more.
    baseline : str, optional
        Name of the run that the others are held against: the first by default.
    by : {"step", "epoch", "samples", "fraction"}, default "step"
        What the runs are aligned by: training steps, epochs, samples of the phase so
        far, or the share of each run that is done.
    phase : str, default "train"
    layers : str or iterable of str, optional
        Names or patterns of the baseline's layers; all when left out. They are matched
        by name.
    width : int, default 100
        The most positions that the runs are cut into. Steps, epochs and samples are
        counted together by powers of two.
    noise : runs as above, optional
        Of the baseline's config with other seeds. By default those among `runs` whose
        recorded config differs from the baseline's in nothing but a seed; up to 12.
    tolerance : float, optional
        Divergence above the noise, in bits, that is never called a difference: by default
        0.08, and 0.02 where there are three pairs of other seeds or more. See Notes.
    patience : int, optional
        Positions in a row; a twentieth of the baseline's by default, at least 2.
    lag : int, optional
        A tenth of the baseline's positions by default, at least 1.
    quantile : float, default 0.95
        Of the distances that make up the noise.

    Returns
    -------
    Comparison
        ``data`` is a lazy Dataset of everything; ``parts`` and ``differences`` compute.

    Raises
    ------
    ComparisonError
        Fewer than two runs, no such baseline, a run without any batch or without any
        of the layers, or a parameter out of its range.
    LayerNotFoundError, PhaseNotFoundError, AxisError
        No such layer, a run without that phase, or bins that do not fit.

    Notes
    -----
    Two trainings from other seeds are never alike: a layer of n units is a mixture of
    n random distributions, whose means are about ``std * sqrt(2 / n)`` apart. The noise is
    the largest of what its witnesses show, times 1.2. That factor and the tolerances were
    chosen on half of the trainings of ``benchmarks/compare`` and tried on the other half;
    `docs/comparison.md` has the figures.

    Examples
    --------
    >>> found = compare({"a": run, "b": run})
    >>> found
    b keeps to a
    >>> float(found.data["jensen_shannon"].max())
    0.0
    """
    _check(tolerance=tolerance, quantile=quantile, patience=patience, lag=lag)
    opened, ours = open_runs(runs, "runs")
    if len(opened) < 2:
        raise ComparisonError(f"a comparison needs two runs or more, got {len(opened)}")
    first = next(iter(opened)) if baseline is None else baseline
    if first not in opened:
        raise ComparisonError(
            f"baseline {first!r} is none of the runs; they are {listed(list(opened))}"
        )
    seeds = _seeds(opened, first, noise, ours)
    everything = opened | seeds
    for name, run in everything.items():
        _check_phase(name, run, phase)
    matched = match_layers(opened, first, layers)
    bins = common_bins(everything)
    standing = {name: places(run, phase, by) for name, run in everything.items()}
    positions = shared_positions(list(standing.values()), by, width)
    columns = {
        name: choose_level(everything[name], phase, positions.of(place))
        for name, place in standing.items()
    }
    held = len(columns[first].parts)
    plan = Plan(
        runs=opened,
        baseline=first,
        seeds=seeds,
        phase=phase,
        layers=matched,
        bins=bins,
        positions=positions,
        columns=columns,
        tolerance=tolerance,
        quantile=quantile,
        patience=patience or max(min(2, held), round(held / 20)),
        lag=lag or max(1, round(held / 10)),
    )
    return Comparison(plan, ours)


def _check(
    *, tolerance: float | None, quantile: float, patience: int | None, lag: int | None
) -> None:
    if tolerance is not None and not 0 <= tolerance <= 1:
        raise ComparisonError(f"tolerance is in bits, 0 to 1, got {tolerance!r}")
    if not 0 < quantile <= 1:
        raise ComparisonError(f"quantile must be above 0 and at most 1, got {quantile!r}")
    for name, value in (("patience", patience), ("lag", lag)):
        whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
        if value is not None and not (whole and value >= 1):
            raise ComparisonError(f"{name} must be a number of positions from 1, got {value!r}")


def _check_phase(name: str, run: xr.DataTree, phase: str) -> None:
    try:
        select.select_phases(run, phase)
    except PhaseNotFoundError as error:
        raise PhaseNotFoundError(f"run {name!r}: {error}") from None
    if not run.children[phase].sizes.get("batch", 0):
        raise ComparisonError(
            f"run {name!r} has no batch of phase {phase!r} yet; leave it out, or compare it later"
        )


def _seeds(
    runs: Mapping[str, xr.DataTree], baseline: str, noise: Runs | None, ours: list[xr.DataTree]
) -> dict[str, xr.DataTree]:
    """Return the runs of the baseline's config, itself first; none if it stands alone."""
    first = runs[baseline]
    if noise is None:
        config = first.attrs.get("config") or {}
        fellows = {
            name: run
            for name, run in runs.items()
            if name != baseline and same_but_for_the_seed(config, run.attrs.get("config") or {})
        }
    else:
        given, opened = open_runs(noise, "noise")
        ours += opened
        places = {_place(run): name for name, run in runs.items()}
        fellows = {}
        for name, run in given.items():
            # One that is judged as well is known by its name there.
            known = places.get(_place(run))
            if known != baseline:
                fellows[known or f"noise: {name}"] = run
    some = dict(list(fellows.items())[: MOST_SEEDS - 1])
    return {baseline: first, **some} if some else {}


def _place(run: xr.DataTree) -> Any:
    return getattr(run, "directory", None) or id(run)

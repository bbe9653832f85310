"""What runs were set to beside what came of them, as one table.

Imports NumPy and xarray; pandas where the table is made.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import xarray as xr

from actrace.analysis import select
from actrace.analysis.design import silent_by_design
from actrace.analysis.twin_peaks import twin_peaks
from actrace.errors import NotRecordedError
from actrace.store.catalogue.table import flat_config

if TYPE_CHECKING:
    import pandas as pd

    from actrace.analysis.comparison.plan import Plan

__all__ = ["as_json", "differences"]

#: Root attributes that say where and by what a run was made.
_ENVIRONMENT: Final = (
    "actrace_version", "torch_version", "python_version", "host", "git_commit", "world_size",
    "active_threshold", "sample", "schedule", "layer_schedule",
)  # fmt: skip
_LABELLED: Final = ("accuracy", "understanding")


def differences(plan: Plan, data: xr.Dataset) -> pd.DataFrame:
    """Return a row a run: settings that differ among the runs, and outcomes.

    Parameters
    ----------
    plan : Plan
    data : Dataset
        Computed, as `Plan.judged` returns it.
    """
    import pandas as pd

    settings = {name: _settings(run) for name, run in plan.runs.items()}
    outcomes = {
        name: _outcome(run, data.sel(run=name)["death_rate"]) for name, run in plan.runs.items()
    }
    columns = {
        key: [settings[name].get(key) for name in settings] for key in _union(settings.values())
    }
    differing = {
        key: values for key, values in columns.items() if any(v != values[0] for v in values)
    }
    results = {
        f"outcome.{key}": [outcomes[name].get(key, math.nan) for name in outcomes]
        for key in _union(outcomes.values())
    }
    index = pd.Index(list(plan.runs), name="run", dtype=object)
    objects = {key: pd.Series(values, index, dtype=object) for key, values in differing.items()}
    return pd.DataFrame(objects | {k: pd.Series(v, index) for k, v in results.items()}, index=index)


def as_json(value: Any) -> Any:
    """Return what JSON can hold: plain numbers, and null for NaN and infinities.

    Examples
    --------
    >>> as_json({"a": (np.float64(1.5), math.nan)})
    {'a': [1.5, None]}
    """
    if isinstance(value, Mapping):
        return {str(key): as_json(some) for key, some in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_json(some) for some in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)


def _union(mappings: Iterable[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(key for mapping in mappings for key in mapping))


def _settings(run: xr.DataTree) -> dict[str, Any]:
    config = run.attrs.get("config")
    flat = flat_config(config) if isinstance(config, Mapping) else {}
    found = {f"config.{key}": value for key, value in flat.items()}
    for name in _ENVIRONMENT:
        value = run.attrs.get(name)
        # Mappings are compared, and shown, as text.
        plain = value if value is None or isinstance(value, (str, int, float)) else None
        found[f"environment.{name}"] = plain if plain == value else json.dumps(value, default=str)
    return found


def _outcome(run: xr.DataTree, death_rate: xr.DataArray) -> dict[str, float]:
    phases = select.phase_names(run)
    found = {f"{phase}_loss": _last_loss(run, phase) for phase in phases}
    found |= dict.fromkeys(_LABELLED, math.nan)
    usual = [phase for phase in ("valid", "train") if phase in phases]
    for phase in usual:
        try:
            peaks = twin_peaks(run, phases=phase, window="epoch").isel(phase=0, epoch=-1)
        except NotRecordedError:
            continue
        names = [name for name in _LABELLED if name in peaks]
        computed = peaks[names].compute()
        found |= {name: float(computed[name]) for name in names}
        break
    found["death_rate"] = _last_death(run, death_rate)
    found["duration"] = _duration(run.attrs)
    return found


def _last_loss(run: xr.DataTree, phase: str) -> float:
    node = run.children[phase].dataset
    if not node.sizes.get("batch", 0) or "loss" not in node:
        return math.nan
    epoch, loss = node["epoch"].to_numpy(), node["loss"].to_numpy()
    samples = node["samples"].to_numpy().astype(np.float64)
    last = (epoch == epoch.max()) & ~np.isnan(loss)
    total = samples[last].sum()
    return float(loss[last] @ samples[last] / total) if total > 0 else math.nan


def _last_death(run: xr.DataTree, death_rate: xr.DataArray) -> float:
    quiet = dict(zip(select.layer_names(run), silent_by_design(run), strict=True))
    counted = [not quiet.get(str(name), True) for name in death_rate["layer"].to_numpy()]
    values = death_rate.to_numpy()[counted]
    known = values[:, ~np.isnan(values).all(axis=0)] if values.size else values
    return float(np.nanmax(known[:, -1])) if known.size else math.nan


def _duration(attributes: Mapping[Any, Any]) -> float:
    try:
        begun, ended = (
            datetime.fromisoformat(str(attributes[name])) for name in ("started", "ended")
        )
        return (ended - begun).total_seconds()
    except (KeyError, TypeError, ValueError):
        return math.nan

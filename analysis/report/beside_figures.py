"""Figures of several runs beside each other: where they part, and in what.

Imports xarray; a chart library only once a chart is drawn.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from actrace.analysis.comparison.comparison import Comparison
from actrace.analysis.report.words import many, number
from actrace.errors import ChartError, LayerNotFoundError, PhaseNotFoundError
from actrace.store.describe import clean

__all__ = ["beside_figures"]


def beside_figures(
    found: Comparison, runs: Mapping[str, xr.DataTree]
) -> list[tuple[str, str, Any, str]]:
    """Return title, reading, chart and what is seen in numbers of each figure.

    Parameters
    ----------
    found : Comparison
    runs : mapping of str to DataTree
        Those that were compared.
    """
    from actrace.analysis.charts.differing.comparison import comparison_chart

    base = clean(found.baseline, 60)
    sentences = ". ".join(part.sentence(found.baseline) for part in found.parts)
    figures = [
        (
            "Where and when they part",
            "A map a run: layers down, the training across, bright where a layer is far from "
            f"that of {base}. An upright bar is where a layer parts for good.",
            comparison_chart(found),
            f"{many(found.data.sizes['layer'], 'layer')}; at the farthest "
            f"{number(float(found.data['jensen_shannon'].max()))} bits from {base}. "
            f"{clean(sentences, 1000)}.",
        )
    ]
    return figures + _difference(found, runs)


def _difference(
    found: Comparison, runs: Mapping[str, xr.DataTree]
) -> list[tuple[str, str, Any, str]]:
    """Return the layer that is farthest from the baseline's in any run, of both."""
    from actrace.analysis.charts.differing.difference import difference_chart

    others = [name for name in found.runs if name != found.baseline and name in runs]
    if not others or found.baseline not in runs:
        return []
    far = found.data["jensen_shannon"].sel(run=others).transpose("run", "layer", ...).to_numpy()
    peak = np.where(np.isnan(far), -1.0, far).reshape(*far.shape[:2], -1).max(axis=2, initial=-1.0)
    if not peak.size or peak.max() <= 0:
        return []
    run, layer = np.unravel_index(int(peak.argmax()), peak.shape)
    name, other = str(found.data["layer"].values[layer]), others[int(run)]
    try:
        chart = difference_chart(runs[found.baseline], runs[other], layer=name)
    except (ChartError, LayerNotFoundError, PhaseNotFoundError):
        return []
    base, second, shown = clean(found.baseline, 60), clean(other, 60), clean(name, 80)
    return [
        (
            "The layer that is farthest apart",
            "Both runs on one value axis and one scale of colours, and what the second has more "
            "of (orange) or fewer (blue).",
            chart,
            f"Layer {shown} of {second} against that of {base}: at its farthest their divergence "
            f"is {number(float(peak.max()))} bits.",
        )
    ]

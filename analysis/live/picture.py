"""What a followed run looks like now: the colorful dimension of a layer, the latest twin peaks."""

from __future__ import annotations

import io
from typing import Any, Final

import matplotlib.pyplot as plt
import xarray as xr

from actrace.analysis.charts.colorful.colorful import colorful_chart
from actrace.analysis.charts.peaks.twin_peaks import twin_peaks_chart
from actrace.analysis.charts.showing.save import drawing
from actrace.analysis.select import epochs as epochs_of
from actrace.analysis.select import layer_names, phase_names
from actrace.errors import NotRecordedError

__all__ = ["pictures_of"]

#: Dots per inch of the pictures; a chart is about 12 inches wide.
_DPI: Final = 90


def pictures_of(
    run: xr.DataTree, *, layer: str | None, phase: str, epochs: int
) -> list[tuple[str, bytes]]:
    """Return what each picture shows, and the picture as a PNG.

    Parameters
    ----------
    run : DataTree
    layer : str, optional
        The output layer if left out, or the last one where that is not known.
    phase : str
        Of the colorful dimension; the first one of a run that has no such phase yet.
    epochs : int
        How many of the latest have their twin peaks drawn; 0 for none.

    Raises
    ------
    LayerNotFoundError
    """
    names, phases = layer_names(run), phase_names(run)
    if not phases or not names:
        return []
    output = run.attrs.get("output_layer")
    name = layer or (str(output) if output in names else names[-1])
    seen = phase if phase in phases else phases[0]
    pictures = [_drawn(f"{name} in {seen}", colorful_chart(run, layer=name, phase=seen))]
    latest = sorted({int(e) for p in phases for e in epochs_of(run, p)})[-epochs:] if epochs else []
    if latest:
        try:
            peaks = twin_peaks_chart(run, epochs=latest)
        except NotRecordedError:  # no output layer is known
            return pictures
        pictures.append(_drawn("twin peaks of the latest epochs", peaks))
    return pictures


def _drawn(says: str, chart: Any) -> tuple[str, bytes]:
    file = io.BytesIO()
    with drawing(chart) as figure:
        figure.savefig(file, format="png", dpi=_DPI, facecolor="white")
    plt.close(figure)
    return says, file.getvalue()

"""Which charts a report holds, and what each shows, said in numbers for who cannot see it.

A further chart is one more row of `FIGURES`. Imports xarray; a chart library only
once a chart is drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import xarray as xr

from actrace.analysis import select
from actrace.analysis.report.words import many, number
from actrace.analysis.table import EpochRow
from actrace.errors import NotRecordedError
from actrace.store.describe import clean

__all__ = ["FIGURES", "Figure"]

_Rows = Sequence[EpochRow]


@dataclass(frozen=True, slots=True)
class Figure:
    """A chart of a report.

    Attributes
    ----------
    name : str
        Of its file, where it gets one.
    title : str
    reading : str
        How to read it.
    draw : callable
        Run -> HoloViews object. Raises NotRecordedError where the run lacks what it shows.
    alt : callable
        (run, rows of the table by epoch) -> what is seen, in numbers.
    weight : float
        Its part of the room that pictures may take.
    """

    name: str
    title: str
    reading: str
    draw: Callable[[xr.DataTree], Any]
    alt: Callable[[xr.DataTree, _Rows], str]
    weight: float


def main_phase(run: xr.DataTree) -> str:
    """Return the phase that is drawn batch by batch: ``train``, or the first there is.

    Raises
    ------
    NotRecordedError
        The run has no batch yet.
    """
    phases = [name for name in select.phase_names(run) if run.children[name].sizes.get("batch", 0)]
    if not phases:
        raise NotRecordedError("no batch has been recorded yet")
    return "train" if "train" in phases else phases[0]


def _draw_output(run: xr.DataTree) -> Any:
    from actrace.analysis.charts.colorful import colorful_chart

    phase = main_phase(run)
    return colorful_chart(run, layer=select.output_layer(run), phase=phase)


def _draw_layers(run: xr.DataTree) -> Any:
    from actrace.analysis.charts.colorful import colorful_chart

    phase = main_phase(run)
    return colorful_chart(run, phase=phase, progress=False)


def _draw_twin_peaks(run: xr.DataTree) -> Any:
    from actrace.analysis.charts.twin_peaks import twin_peaks_chart

    main_phase(run)
    return twin_peaks_chart(run)


def _first_and_last(run: xr.DataTree, layers: Sequence[int]) -> tuple[xr.Dataset, xr.Dataset]:
    node = run.children[main_phase(run)].to_dataset()
    some = node[["mean", "std", "min", "max"]].isel(layer=list(layers))
    return some.isel(batch=0).load(), some.isel(batch=-1).load()


def _output_alt(run: xr.DataTree, _rows: _Rows) -> str:
    name, phase = select.output_layer(run), main_phase(run)
    at = select.layer_names(run).index(name)
    first, last = (data.isel(layer=0) for data in _first_and_last(run, [at]))

    def move(what: str) -> str:
        return f"from {number(float(first[what]))} to {number(float(last[what]))}"

    batches = many(run.children[phase].sizes["batch"], "batch")
    return (
        f"Values of layer {clean(name, 80)} over {batches} of {clean(phase, 40)}. From the first "
        f"batch to the last the mean goes {move('mean')} and the standard deviation {move('std')}; "
        f"in the last, values reach from {number(float(last['min']))} to "
        f"{number(float(last['max']))}."
    )


def _layers_alt(run: xr.DataTree, _rows: _Rows) -> str:
    names, phase = select.layer_names(run), main_phase(run)
    first, last = _first_and_last(run, range(len(names)))
    said = [
        f"{many(len(names), 'layer')} as tiles, over "
        f"{many(run.children[phase].sizes['batch'], 'batch')} of {clean(phase, 40)}."
    ]
    for when, data in (("first", first), ("last", last)):
        std = data["std"].to_numpy().astype(np.float64)
        if np.isnan(std).all():
            continue
        low, high = int(np.nanargmin(std)), int(np.nanargmax(std))
        said.append(
            f"In the {when} batch the standard deviation is from {number(float(std[low]))} in "
            f"{clean(names[low], 80)} to {number(float(std[high]))} in {clean(names[high], 80)}, "
            f"and values reach from {number(float(data['min'].min()))} to "
            f"{number(float(data['max'].max()))}."
        )
    return " ".join(said)


def _twin_peaks_alt(_run: xr.DataTree, rows: _Rows) -> str:
    known = [row for row in rows if not np.isnan(row.understanding)]
    if not known:
        return "Distributions of the model's outputs by epoch, without YES and NO."
    first, last = known[0], known[-1]
    moves = ", ".join(
        f"{words} from {number(getattr(first, name))} to {number(getattr(last, name))}"
        for words, name in (("understanding", "understanding"), ("d'", "d_prime"),
                            ("overlap", "overlap"))
    )  # fmt: skip
    return f"Outputs for NO and for YES, from epoch {first.epoch} to epoch {last.epoch}: {moves}."


FIGURES: Final = (
    Figure(
        "output",
        "The output layer, batch by batch",
        "Left to right is the training, up is the value of the outputs, colour is how many of a "
        "batch's outputs had that value. Where a network learns to tell classes apart, a fainter "
        "band, the YES answers, parts from the bright one.",
        _draw_output,
        _output_alt,
        1.0,
    ),
    Figure(
        "twin-peaks",
        "Twin peaks: YES and NO by epoch",
        "The outputs where the answer is NO and where it is YES. The further apart the two peaks, "
        "the better the network tells them apart; where they overlap are the mistakes.",
        _draw_twin_peaks,
        _twin_peaks_alt,
        1.0,
    ),
    Figure(
        "layers",
        "Every layer, batch by batch",
        "A tile a layer. Healthy layers spread within the first batches and then change slowly; "
        "jumps are a learning rate too high, one bright line at zero is a layer that died.",
        _draw_layers,
        _layers_alt,
        4.0,
    ),
)

"""Figures of a report about YES and NO, classes, and validation against training.

Imports xarray; a chart library only once a chart is drawn.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from actrace.analysis.classes import class_report
from actrace.analysis.report.figure import Rows, main_phase
from actrace.analysis.report.words import joined, number, percent
from actrace.errors import NotRecordedError
from actrace.store.describe import clean

__all__ = ["class_peaks", "divergence", "separation", "twin_peaks"]

#: Layers of the divergence, with the error of the outputs as the twelfth panel.
_MOST_LAYERS = 11
_MOST_CLASSES = 12


def twin_peaks(run: xr.DataTree, rows: Rows) -> tuple[Any, str]:
    """Return the twin peaks."""
    from actrace.analysis.charts.peaks.twin_peaks import twin_peaks_chart

    main_phase(run)
    said = _moves(rows, ("understanding", "d_prime", "overlap"))
    alt = (
        f"Outputs for NO and for YES{said}."
        if said
        else ("Distributions of the model's outputs by epoch, without YES and NO.")
    )
    return twin_peaks_chart(run), alt


def separation(run: xr.DataTree, rows: Rows) -> tuple[Any, str]:
    """Return how far YES and NO are apart, epoch by epoch."""
    from actrace.analysis.charts.peaks.separation import separation_chart

    main_phase(run)
    chart = separation_chart(run)
    return chart, f"How far YES and NO are apart{_moves(rows, ('d_prime', 'overlap'))}."


def class_peaks(run: xr.DataTree, _rows: Rows) -> tuple[Any, str]:
    """Return the peaks of each class in the last epoch."""
    from actrace.analysis.charts.peaks.class_peaks import class_peaks_chart

    main_phase(run)
    chart = class_peaks_chart(run, most=_MOST_CLASSES)
    report = class_report(run)[["accuracy", "lagging"]].compute()
    told = report["accuracy"].notnull().any("target_class")
    said = []
    for phase in report["phase"].values:
        known = np.flatnonzero(told.sel(phase=phase).values)
        if not len(known):
            continue
        last = report.sel(phase=phase).isel(epoch=known[-1])
        share, names = last["accuracy"].values, last["target_class"].values
        worst = int(np.nanargmin(share))
        text = (
            f"In epoch {int(last['epoch'])} of {clean(phase, 40)} the class told right least often "
            f"is {clean(names[worst], 60)}, at {percent(float(share[worst]))}"
        )
        late = [clean(name, 60) for name in names[last["lagging"].values]]
        more = f" and {len(late) - 6} more" if len(late) > 6 else ""
        said.append(
            text
            + (f"; beyond chance behind the others: {joined(late[:6])}{more}." if late else ".")
        )
    return chart, " ".join(said)


def divergence(run: xr.DataTree, rows: Rows) -> tuple[Any, str]:
    """Return the divergence of validation from training, with its onset."""
    from actrace.analysis.charts.differing.divergence import divergence_chart
    from actrace.analysis.charts.differing.divergence_data import onset_data

    if not {"train", "valid"} <= set(run.children):
        raise NotRecordedError("it needs batches of train and of valid")
    chart = divergence_chart(run, most=_MOST_LAYERS)
    said = _moves(rows, ("divergence",))
    _, sentence = onset_data(run)
    return chart, f"Distance of validation from training{said}. {clean(sentence, 400)}."


def _moves(rows: Rows, names: tuple[str, ...]) -> str:
    """Return how numbers of the table by epoch moved, "" where there are none."""
    words = {
        "understanding": "understanding",
        "d_prime": "d'",
        "overlap": "overlap",
        "divergence": "Jensen-Shannon divergence of the outputs in bits",
    }
    known = [row for row in rows if not np.isnan(getattr(row, names[0]))]
    if not known:
        return ""
    first, last = known[0], known[-1]
    moves = ", ".join(
        f"{words[name]} from {number(getattr(first, name))} to {number(getattr(last, name))}"
        for name in names
    )
    return f", from epoch {first.epoch} to epoch {last.epoch}: {moves}"

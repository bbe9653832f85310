"""Which charts a report holds, in their order, and how to read each.

A further chart is one more row. Imports no chart library.
"""

from __future__ import annotations

from typing import Final

from actrace.analysis.report import label_figures, layer_figures
from actrace.analysis.report.figure import Figure

__all__ = ["FIGURES"]

FIGURES: Final = (
    Figure(
        "output",
        "The output layer, batch by batch",
        "Left to right is the training, up is the value of the outputs, colour is how many of a "
        "batch's outputs had that value. Where a network learns to tell classes apart, a fainter "
        "band, the YES answers, parts from the bright one.",
        layer_figures.output_layer,
        1.0,
        night=True,
    ),
    Figure(
        "twin-peaks",
        "Twin peaks: YES and NO by epoch",
        "The outputs where the answer is NO and where it is YES. The further apart the two peaks, "
        "the better the network tells them apart; where they overlap are the mistakes.",
        label_figures.twin_peaks,
        1.2,
    ),
    Figure(
        "separation",
        "How far YES and NO are apart",
        "Understanding, d' and AUC rise and the overlap falls while the network learns. Where "
        "training goes on and validation does not, it learns by heart.",
        label_figures.separation,
        0.5,
    ),
    Figure(
        "class-peaks",
        "YES and NO of each class, in the last epoch",
        "The twin peaks of each true class. A coloured ground marks a class that is told right "
        "less often than the others, by more than chance.",
        label_figures.class_peaks,
        0.8,
    ),
    Figure(
        "divergence",
        "Where validation differs from training",
        "The distance of the two phases in each layer, on the band that training shows by itself. "
        "A dot is an epoch beyond it; an upright is the onset of overfitting.",
        label_figures.divergence,
        0.7,
    ),
    Figure(
        "layers",
        "Every layer, batch by batch",
        "A tile a layer. Healthy layers spread within the first batches and then change slowly; "
        "jumps are a learning rate too high, one bright line at zero is a layer that died.",
        layer_figures.every_layer,
        4.0,
        night=True,
    ),
    Figure(
        "rates",
        "How much of each layer is active, and how much dead",
        "A row a layer, the first at the top. Rows of a ReLU that go dark lose units for good.",
        layer_figures.rates,
        0.6,
    ),
    Figure(
        "warning",
        "The layers in most danger",
        "The least active and the most dead layer of each batch, in the colour of the layer. "
        "Lines that part towards 0 and 100 % are a network that dies.",
        layer_figures.warning,
        0.5,
    ),
    Figure(
        "units",
        "Units of the layers where some are dead",
        "A row is a unit, black where it is silent; the first to die stand on top, so the edge of "
        "the black is how the layer died.",
        layer_figures.units,
        0.7,
        night=True,
    ),
)

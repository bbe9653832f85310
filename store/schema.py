"""Schema 1: the name, dims, dtype and meaning of every variable of a run.

This table is the one place where they are written down in code; the writer
makes its arrays from it, the reader checks a run against it, and
``docs/schema-1.md`` says the same for a reader in another language. It does no
input or output and imports nothing beyond the standard library.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

__all__ = [
    "BATCH_SCALARS",
    "BY_CLASS",
    "BY_UNIT",
    "CLASS_MATRIX",
    "COUNTERS",
    "GRADIENT_COUNTERS",
    "GRADIENT_GROUP",
    "GRADIENT_GROUPS",
    "GRADIENT_MOMENTS",
    "LEVELS_GROUP",
    "LEVEL_VARIABLES",
    "MAX_MATRIX_CLASSES",
    "MOMENTS",
    "OUTPUT_GRADIENT_GROUP",
    "OUTPUT_GROUP",
    "PHASE_VARIABLES",
    "REGRESSION",
    "ROOT_VARIABLES",
    "SAMPLED",
    "SCHEMA",
    "TASKS",
    "UNIT_GROUP",
    "UNIT_VARIABLES",
    "WINDOW_SCALARS",
    "Variable",
    "check_name",
    "gradient_variables",
    "output_variables",
]

SCHEMA: Final = 1
OUTPUT_GROUP: Final = "output"
UNIT_GROUP: Final = "unit"
GRADIENT_GROUP: Final = "gradient"
OUTPUT_GRADIENT_GROUP: Final = "output_gradient"
GRADIENT_GROUPS: Final = (GRADIENT_GROUP, OUTPUT_GRADIENT_GROUP)
LEVELS_GROUP: Final = "levels"
TASKS: Final = ("single-label", "binary", "multi-label", "regression")
MAX_MATRIX_CLASSES: Final = 256

#: dtype of a count: uint32, or uint64 where a run could reach 2**32.
COUNT: Final = "count"


@dataclass(frozen=True, slots=True)
class Variable:
    """One variable of the schema.

    Attributes
    ----------
    name : str
    dims : tuple of str, the growing dimension last
    dtype : str
        A NumPy dtype name, ``"string"``, or ``"count"`` for the run's own
        integer width.
    long_name, units : str
        What it is, written into the store; units "1" for pure numbers.
    """

    name: str
    dims: tuple[str, ...]
    dtype: str
    long_name: str
    units: str = "1"

    @property
    def fill(self) -> float | int | str:
        """Value of a cell that was never written."""
        if self.dtype.startswith("float"):
            return float("nan")
        return "" if self.dtype == "string" else 0


def _rows(dims: tuple[str, ...], dtype: str, *rows: tuple[str, ...]) -> tuple[Variable, ...]:
    return tuple(Variable(row[0], dims, dtype, *row[1:]) for row in rows)


_ACTIVATION = "activation units"

ROOT_VARIABLES: Final = (
    Variable("layer", ("layer",), "string", "name of the layer in the model"),
    Variable("layer_type", ("layer",), "string", "class of the layer's module"),
    Variable("layer_shape", ("layer",), "string", "output shape without the batch, as 16x8x8"),
    Variable("layer_order", ("layer",), "int32", "place in the first forward, -1 if never called"),
    Variable("layer_units", ("layer",), "int32", "channels or neurons, 0 if unknown"),
    Variable("bin_left", ("bin",), "float64", "left edge of the bin", _ACTIVATION),
    Variable("bin_right", ("bin",), "float64", "right edge of the bin", _ACTIVATION),
)

#: (layer, batch) counts, in the order of `BatchRow.counters`.
COUNTERS: Final = _rows(
    ("layer", "batch"),
    COUNT,
    ("underflow", "finite elements below the first edge"),
    ("overflow", "finite elements above the last edge"),
    ("nan", "elements that are not a number"),
    ("posinf", "elements that are plus infinity"),
    ("neginf", "elements that are minus infinity"),
    ("zero", "elements that are exactly zero"),
    ("elements", "all elements of the layer's output"),
    ("calls", "times the layer was called in the batch"),
)

#: (layer, batch) real numbers, in the order of `BatchRow.moments`.
MOMENTS: Final = _rows(
    ("layer", "batch"),
    "float32",
    ("mean", "mean of the finite elements", _ACTIVATION),
    ("std", "standard deviation of the finite elements, divisor n", _ACTIVATION),
    ("min", "smallest finite element", _ACTIVATION),
    ("max", "largest finite element", _ACTIVATION),
    ("norm", "mean over samples of the Euclidean norm of a sample's output", _ACTIVATION),
    ("activation_rate", "mean over units of the share of active elements"),
    ("death_rate", "share of units with no active element in the batch"),
)

#: (batch) numbers; what the user logs joins them as float64.
BATCH_SCALARS: Final = (
    Variable("step", ("batch",), "int64", "training batches seen before this one"),
    Variable("epoch", ("batch",), "int32", "epoch, counted from 0"),
    Variable("samples", ("batch",), "int64", "samples in the batch"),
    Variable("loss", ("batch",), "float64", "loss, NaN where none was seen"),
    Variable(
        "time",
        ("batch",),
        "float64",
        "when the batch's forward ended",
        "seconds since 1970-01-01T00:00:00",
    ),
)

#: In runs that were sampled: how much of each layer and batch.
SAMPLED: Final = Variable(
    "sampled", ("layer", "batch"), COUNT, "elements that were read for the histogram"
)

PHASE_VARIABLES: Final = (
    Variable("count", ("layer", "bin", "batch"), COUNT, "elements per bin"),
    *COUNTERS,
    *MOMENTS,
    *BATCH_SCALARS,
)

#: What a column of a level holds that is worded otherwise of several batches.
_OF_LEVEL: Final = {
    "calls": "times the layer was called in the batches",
    "norm": "mean of the batches' norms, weighted with elements",
    "activation_rate": "mean of the batches' rates, weighted with elements",
    "death_rate": "smallest of the batches' rates: an upper bound of the rate over all of them",
    "step": "training batches seen before the first batch",
    "epoch": "epoch of the first batch, counted from 0",
    "samples": "samples in the batches",
    "loss": "mean of the batches' losses, weighted with samples, NaN where none was seen",
    "time": "when the last batch's forward ended",
}
#: Held in float64, so that a level is merged from the one below without loss.
_PRECISE: Final = frozenset({"mean", "std", "norm", "activation_rate"})

#: Of a level, a column each 16, 64, ... batches. The multiscales convention of
#: zarr-conventions is not used: its paths cannot leave the group that carries
#: it, and a run has a pyramid for each phase whose finest part lies elsewhere.
LEVEL_VARIABLES: Final = (
    Variable("first_batch", ("batch",), "int64", "index of the column's first batch in the phase"),
    Variable("batches", ("batch",), "int64", "number of batches in the column"),
    *(
        replace(
            variable,
            dtype="float64" if variable.name in _PRECISE else variable.dtype,
            long_name=_OF_LEVEL.get(variable.name, variable.long_name),
        )
        for variable in PHASE_VARIABLES
    ),
)

#: (window) numbers of the output and unit groups.
WINDOW_SCALARS: Final = (
    Variable("first_batch", ("window",), "int64", "index of the window's first batch in the phase"),
    Variable("batches", ("window",), "int64", "number of batches in the window"),
    Variable("epoch", ("window",), "int32", "epoch, counted from 0"),
)

UNIT_VARIABLES: Final = (
    Variable("unit_layer", ("unit",), "int32", "index of the unit's layer"),
    Variable("unit_channel", ("unit",), "int32", "index of the unit within its layer"),
    Variable("active", ("unit", "window"), "uint64", "active elements of the unit"),
    Variable("total", ("unit", "window"), "uint64", "all elements of the unit"),
)


def _by(dim: str, suffix: str, of: str) -> tuple[Variable, ...]:
    dims = (dim, "role", "window")
    return (
        Variable(
            f"count_{suffix}", (dim, "role", "bin", "window"), COUNT, f"elements per bin, by {of}"
        ),
        *_rows(
            dims,
            COUNT,
            (f"underflow_{suffix}", f"finite elements below the first edge, by {of}"),
            (f"overflow_{suffix}", f"finite elements above the last edge, by {of}"),
            (f"nonfinite_{suffix}", f"elements that are NaN or infinite, by {of}"),
            (f"elements_{suffix}", f"all elements, by {of}"),
        ),
        *_rows(
            dims,
            "float64",
            (f"mean_{suffix}", f"mean of the finite elements, by {of}", _ACTIVATION),
            (f"std_{suffix}", f"standard deviation, divisor n, by {of}", _ACTIVATION),
        ),
    )


#: By output unit: what YES and NO (or prediction and target) look like there.
BY_UNIT: Final = _by("output_unit", "by_unit", "output unit and role")
#: By true class: what the class's own unit and the other units do.
BY_CLASS: Final = (
    *_by("target_class", "by_class", "true class and role"),
    Variable("samples", ("target_class", "window"), "uint64", "samples of the class"),
    Variable("correct", ("target_class", "window"), "uint64", "samples of the class told right"),
)
#: By true class and output unit, up to `MAX_MATRIX_CLASSES` of each.
CLASS_MATRIX: Final = (
    Variable(
        "output_mean",
        ("target_class", "output_unit", "window"),
        "float64",
        "mean output of the unit over samples of the class",
        _ACTIVATION,
    ),
    Variable(
        "output_std",
        ("target_class", "output_unit", "window"),
        "float64",
        "standard deviation of the unit over samples of the class, divisor n",
        _ACTIVATION,
    ),
    Variable(
        "confusion",
        ("target_class", "output_unit", "window"),
        "uint64",
        "samples of the class whose largest output is this unit",
    ),
)
REGRESSION: Final = (
    Variable(
        "squared_error",
        ("output_unit", "window"),
        "float64",
        "sum of squared differences of prediction and target",
        "activation units squared",
    ),
)


def output_variables(task: str, n_classes: int, n_units: int) -> Iterator[Variable]:
    """Yield the variables of a phase's output group, window scalars included.

    Parameters
    ----------
    task : str
        One of `TASKS`.
    n_classes, n_units : int
        Sizes of `target_class` (0 for regression) and `output_unit`.
    """
    yield Variable("output_unit", ("output_unit",), "string", "name of the output unit")
    yield Variable("role", ("role",), "string", "yes and no, or prediction and target")
    yield from WINDOW_SCALARS
    yield from BY_UNIT
    if task == "regression":
        yield from REGRESSION
        return
    yield Variable("target_class", ("target_class",), "string", "name of the true class")
    yield from BY_CLASS
    if max(n_classes, n_units) <= MAX_MATRIX_CLASSES:
        for variable in CLASS_MATRIX:
            if variable.name != "confusion" or task == "single-label":
                yield variable


_GRADIENT = "gradient units"

#: What is worded otherwise of a gradient than of an output.
_WORDS: Final = {
    "elements": "all elements of the gradient, 0 where there was none",
    "norm": "Euclidean norm of the gradient",
    "death_rate": "share of units with no active element",
}


def _of_gradient(variables: tuple[Variable, ...]) -> tuple[Variable, ...]:
    """Return a phase's variables as they are of gradients."""
    return tuple(
        replace(
            variable,
            dims=("parameter", "batch"),
            long_name=_WORDS.get(variable.name, variable.long_name),
            units=_GRADIENT if variable.units == _ACTIVATION else variable.units,
        )
        for variable in variables
        if variable.name != "calls"
    )


#: Counts of a gradient group, in the order of `GradientRow.counters`; the
#: dimension is `parameter` or `layer`.
GRADIENT_COUNTERS: Final = _of_gradient(COUNTERS)

#: Real numbers of a gradient group, in the order of `GradientRow.moments`.
GRADIENT_MOMENTS: Final = _of_gradient(MOMENTS)


def gradient_variables(group: str) -> tuple[Variable, ...]:
    """Return the variables of a phase's gradient group.

    Parameters
    ----------
    group : str
        One of `GRADIENT_GROUPS`.
    """
    bins = (
        Variable(
            "gradient_bin_left", ("gradient_bin",), "float64", "left edge of the bin", _GRADIENT
        ),
        Variable(
            "gradient_bin_right", ("gradient_bin",), "float64", "right edge of the bin", _GRADIENT
        ),
    )
    by_layer = group == OUTPUT_GRADIENT_GROUP
    dim = "layer" if by_layer else "parameter"
    growing = (
        Variable("count", (dim, "gradient_bin", "batch"), COUNT, "elements per bin"),
        *(replace(v, dims=(dim, "batch")) for v in (*GRADIENT_COUNTERS, *GRADIENT_MOMENTS)),
        Variable(
            "gradient_scale",
            ("batch",),
            "float64",
            "loss scale that the values were divided by, NaN where no gradient was seen",
        ),
    )
    if by_layer:
        norm = "mean over samples of the Euclidean norm of a sample's gradient"
        return (*bins, *(replace(v, long_name=norm) if v.name == "norm" else v for v in growing))
    names = (
        Variable("parameter", ("parameter",), "string", "name of the parameter in the model"),
        Variable("parameter_shape", ("parameter",), "string", "shape of the parameter, as 16x3x3"),
    )
    return (*names, *bins, *growing)


_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
_RESERVED = frozenset(
    {LEVELS_GROUP, OUTPUT_GROUP, UNIT_GROUP, *GRADIENT_GROUPS}
    | {"layer", "bin", "batch", "parameter", "gradient_bin", "gradient_scale", "ranks"}
    | {variable.name for variable in (*PHASE_VARIABLES, *ROOT_VARIABLES, SAMPLED)}
    | {variable.name for variable in LEVEL_VARIABLES}
)


def check_name(name: str, what: str) -> str:
    """Return `name` if it may stand as a phase or a logged variable.

    Such names become directories of the store, so they are letters, digits and
    underscores alone, and never one of the schema's own.

    Raises
    ------
    ValueError
        The name has other characters, is too long or is taken by the schema.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(
            f"{what} {name!r} cannot be recorded: a name is a letter followed by up to 63 "
            "letters, digits or underscores"
        )
    if name in _RESERVED:
        raise ValueError(f"{what} {name!r} is taken by the schema; choose another name")
    return name

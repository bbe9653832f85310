"""What gradient charts draw: gradients seen as layers, and their norms.

Imports NumPy and xarray; draws nothing, so the charts are tested without pixels.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np
import xarray as xr

from actrace.analysis import select
from actrace.analysis.charts.grammar.columns import choose_columns
from actrace.errors import ChartError, NotRecordedError

__all__ = ["MEASURES", "gradient_norms", "gradient_run"]

#: Name -> what it is.
MEASURES: Final = {
    "rms": "root mean square of the gradient's elements",
    "norm": "Euclidean norm of the gradient",
}
_GROUP: Final = "gradient"


def gradient_run(run: xr.DataTree, phase: str) -> xr.DataTree:
    """Return the gradients of a phase as a run whose layers are the parameters.

    So all that is drawn of activations is drawn of gradients too.

    Parameters
    ----------
    run : DataTree
    phase : str

    Returns
    -------
    DataTree
        One phase, lazy; dims (layer, bin, batch), where a layer is a parameter.

    Raises
    ------
    NotRecordedError
        The phase has no gradients.
    PhaseNotFoundError
    """
    (name,) = select.select_phases(run, phase)
    node = run.children[name]
    if _GROUP not in node.children:
        raise NotRecordedError(
            f"phase {name!r} has no gradients recorded; record with gradients=True"
        )
    group = node.children[_GROUP].to_dataset(inherit=False)
    group = group.rename(parameter="layer", gradient_bin="bin")
    names = group["layer"].to_numpy()
    ends = {
        side: ("bin", group[f"gradient_{side}"].to_numpy()) for side in ("bin_left", "bin_right")
    }
    root = xr.Dataset(
        coords={
            "layer": names,
            "layer_type": ("layer", np.full(len(names), "gradient")),
            "layer_shape": ("layer", group["parameter_shape"].to_numpy()),
            **ends,
        },
        attrs={
            "axis": group.attrs.get("axis"),
            "schedule": run.attrs.get("schedule"),
            "quantity": "gradient",
        },
    )
    kept = group.drop_vars([v for v in group.coords if v != "layer"] + ["layer"])
    batches = {key: node.dataset[key].variable for key in ("step", "epoch", "samples")}
    # A parameter without a gradient in a batch has no elements there.
    kept = kept.assign(batches).assign(calls=(group["elements"].variable > 0).astype(np.uint64))
    return xr.DataTree.from_dict({"/": root, f"/{name}": kept})


def gradient_norms(
    run: xr.DataTree,
    *,
    parameters: str | Iterable[str] | None = None,
    phase: str = "train",
    measure: str = "rms",
    max_columns: int = 600,
) -> xr.Dataset:
    """Return how large the gradient of each parameter is, batch by batch.

    Parameters
    ----------
    run : DataTree
    parameters : str or iterable of str, optional
        Names or shell patterns (``*.weight``); None is all.
    phase : str, default "train"
    measure : {"rms", "norm"}, default "rms"
        Root mean square of the elements, which does not grow with their number; or the
        Euclidean norm as it was recorded.
    max_columns : int, default 600
        Batches share columns beyond it.

    Returns
    -------
    Dataset, dims (parameter, column)
        ``size``, gradient units, the root of the mean square over a column's batches that
        have a gradient, NaN where none has or where it is not finite; ``first_batch`` and
        ``batches`` (column); ``epoch_start`` (epoch).

    Raises
    ------
    ChartError, NotRecordedError, LayerNotFoundError, PhaseNotFoundError

    References
    ----------
    Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural
    networks" (AISTATS 2010), figures 6 and 7: gradients that shrink layer by layer.
    """
    if measure not in MEASURES:
        raise ChartError(
            f"measure must be one of {', '.join(map(repr, MEASURES))}, got {measure!r}"
        )
    tree = gradient_run(run, phase)
    (name,) = tree.children
    chosen = select.select_layers(tree, parameters)
    part = tree.children[name].dataset
    columns = choose_columns(part.sizes["batch"], max_columns)
    norm, elements = (
        part[what].isel(layer=chosen).transpose("layer", "batch").to_numpy().astype(np.float64)
        for what in ("norm", "elements")
    )
    seen = (elements > 0) & np.isfinite(norm)
    square = np.where(seen, norm, 0.0) ** 2
    if measure == "rms":
        square = np.divide(square, elements, out=np.zeros_like(square), where=elements > 0)
    at = np.arange(0, norm.shape[1], columns.width)
    n = np.add.reduceat(seen.astype(np.float64), at, axis=1) if len(at) else seen[:, :0] * 1.0
    total = np.add.reduceat(square, at, axis=1) if len(at) else n
    size = np.sqrt(np.divide(total, n, out=np.full(n.shape, np.nan), where=n > 0))
    epoch = part["epoch"].to_numpy()
    begins = np.flatnonzero(np.diff(epoch, prepend=epoch[0] - 1)) if len(epoch) else epoch
    return xr.Dataset(
        {
            "size": (
                ("parameter", "column"),
                size,
                {"long_name": MEASURES[measure], "units": "gradient units"},
            ),
            "first_batch": ("column", columns.starts),
            "batches": ("column", columns.batches),
            "epoch_start": ("epoch", begins),
        },
        coords={
            "parameter": tree.dataset["layer"].to_numpy()[chosen],
            "epoch": epoch[begins].astype(np.int64),
        },
        attrs={"phase": name, "measure": measure, "batches_per_column": columns.width},
    )

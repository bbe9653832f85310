"""Layers whose units are silent by design, so that their death is no finding.

Imports NumPy and xarray.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

__all__ = ["silent_by_design"]

#: Classes of layers, and functions, that set elements to zero at random or give unlikely
#: classes next to nothing.
_KINDS: Final = frozenset(
    (
        "AlphaDropout",
        "Dropout",
        "Dropout1d",
        "Dropout2d",
        "Dropout3d",
        "FeatureAlphaDropout",
        "Softmax",
        "Softmax2d",
        "Softmin",
        "dropout()",
        "softmax()",
    )
)


def silent_by_design(run: xr.DataTree) -> NDArray[np.bool_]:
    """Return of which layers no activity is to be expected, shape (n_layers,).

    Those are dropout, which sets elements to zero at random, and softmax, which gives
    unlikely classes next to nothing.
    """
    kinds = run.dataset["layer_type"].to_numpy()
    return np.array([str(kind) in _KINDS for kind in kinds], dtype=bool)

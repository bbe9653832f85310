"""How few bytes any lossless coding of the counts could take on average.

The generator draws every count on its own from a Poisson distribution whose mean it
knows. No code is shorter on average than the entropy of what it codes (Shannon,
"A mathematical theory of communication", 1948, theorem 9), so the sum of the counts'
entropies is the floor, even for a coder that knew all those means. NumPy and SciPy.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

__all__ = ["poisson_bits"]

#: From here on the expansion is right to a millionth of a bit.
LARGE: Final = 200.0
_SMALL: Final = 1e-9


def poisson_bits(mean: NDArray[Any]) -> NDArray[np.float64]:
    """Return the entropy of Poisson counts of these means, in bits.

    References
    ----------
    Evans and Boersma, "The entropy of a Poisson distribution", SIAM Review 30 (1988):
    the expansion for large means.
    """
    given = np.maximum(np.asarray(mean, np.float64), _SMALL)
    grid, bits = _table()
    found = np.interp(np.log(given), grid, bits)
    large = given > LARGE
    far = given[large]
    nats = 0.5 * np.log(2 * np.pi * np.e * far) - 1 / (12 * far) - 1 / (24 * far**2)
    found[large] = nats / np.log(2)
    return found


@cache
def _table() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    grid = np.linspace(np.log(_SMALL), np.log(LARGE * 1.01), 4000)
    mean = np.exp(grid)[:, None]
    k = np.arange(500)[None]
    log = k * grid[:, None] - mean - gammaln(k + 1)
    return grid, -(np.exp(log) * log).sum(axis=1) / np.log(2)

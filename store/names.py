"""Names that a user gives, held against those that a run has. Standard library alone."""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Sequence
from typing import Any

from actrace.errors import LayerNotFoundError

__all__ = ["close_to", "listed", "matching_layers"]


def matching_layers(names: Sequence[str], pattern: str) -> list[int]:
    """Return the indices of the layers that a name or shell pattern fits, in their order.

    A name that is a layer's own is taken as it stands, also where it holds brackets
    (``lstm[0]``).

    Parameters
    ----------
    names : sequence of str
        Of all layers.
    pattern : str

    Raises
    ------
    LayerNotFoundError
        It fits none; the message lists what there is.

    Examples
    --------
    >>> matching_layers(["conv1", "conv2", "fc"], "conv*")
    [0, 1]
    """
    if pattern in names:
        return [list(names).index(pattern)]
    fits = [at for at, name in enumerate(names) if fnmatch.fnmatchcase(name, pattern)]
    if not fits:
        raise LayerNotFoundError(
            f"layer {pattern!r} is not in this run; it has {listed(names)} (see run.layer)"
            + close_to(pattern, names)
        )
    return fits


def listed(names: Sequence[str], most: int = 12) -> str:
    """Return names for a message, the first few of many."""
    shown = ", ".join(repr(name) for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def close_to(name: Any, names: Sequence[str]) -> str:
    """Return what a message adds where a name is nearly one of those there are."""
    near = difflib.get_close_matches(str(name), names, n=3)
    return f"; did you mean {' or '.join(repr(match) for match in near)}?" if near else ""

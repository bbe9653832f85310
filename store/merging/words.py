"""What the ranks of a run say of themselves, taken together.

From their root attributes alone. Imports the standard library alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

__all__ = ["joint_status", "world_size_of"]

#: Largest world that is believed.
MOST_RANKS: Final = 2**20


def joint_status(states: Sequence[str]) -> str:
    """Return the status of a run whose ranks have these.

    Examples
    --------
    >>> joint_status(["finished", "failed"]), joint_status(["interrupted", "recording"])
    ('failed', 'recording')
    """
    for status in ("recording", "failed", "interrupted"):
        if status in states:
            return status
    return states[0]


def world_size_of(attributes: Mapping[int, Mapping[Any, Any]]) -> int:
    """Return of how many ranks a training was, by what its lowest rank says."""
    lowest = min(attributes)
    said = attributes[lowest].get("world_size")
    if isinstance(said, int) and not isinstance(said, bool) and lowest < said <= MOST_RANKS:
        return said
    return max(attributes) + 1

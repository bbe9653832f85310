"""The batch that is open: what is known of it besides its layers' sums.

A value that the session fills. May import torch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import torch

from actrace.capture.labels.outputs import KeptOutput

__all__ = ["ANY_THREAD", "Batch"]

#: A gate that lets every thread in.
ANY_THREAD: Final = -1


@dataclass(slots=True)
class Batch:
    """The batch that is open.

    Attributes
    ----------
    phase : str
    epoch, step, samples : int
    ended : bool
        The root's forward is over; before that it is half a batch.
    time, loss : float
    logged : dict of str to float
    output : KeptOutput or None
        Copy of the output, while labels are wanted.
    no_output : str or None
        Why it cannot be read.
    target : Tensor or None
        Copy of the target seen last.
    as_seen : Tensor or None
        The kept output as the criterion's input viewed it.
    counted : bool
        The labels were counted at once, the output being too large to keep.
    handed : bool
        The writer has its row.
    torn : bool
        Its sums are on their way into the windows.
    """

    phase: str
    epoch: int
    step: int
    samples: int
    ended: bool = False
    time: float = float("nan")
    loss: float = float("nan")
    logged: dict[str, float] = field(default_factory=dict)
    output: KeptOutput | None = None
    no_output: str | None = None
    target: torch.Tensor | None = None
    as_seen: torch.Tensor | None = None
    counted: bool = False
    handed: bool = False
    torn: bool = False

"""A batch: what is known of it besides its layers' sums.

A value that the session fills and the writer's thread reads. May import torch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import torch

from actrace.capture.labels.outputs import KeptOutput
from actrace.store.gradients import GradientRow

__all__ = ["ANY_THREAD", "Batch"]

#: A gate that lets every thread in.
ANY_THREAD: Final = -1


@dataclass(slots=True)
class Batch:
    """A batch, open or handed over.

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
    unlabelled : str or None
        Why its labels cannot be counted.
    counted : bool
        The labels were counted at once, the output being too large to keep.
    replayed : int
        Which forward in a CUDA graph output and target were copied from, 0 for none.
    loss_on_device : bool
        The loss comes with the device's row.
    error : Exception or None
        Why nothing of it can be had: it is counted as lost.
    torn : bool
        That was cut off by a signal.
    apart : dict of int to (float, float)
        Activation and death rate of layers outside of the unit group, by their place.
    gradient, output_gradient : GradientRow or None
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
    unlabelled: str | None = None
    counted: bool = False
    torn: bool = False
    replayed: int = 0
    loss_on_device: bool = False
    error: Exception | None = None
    apart: dict[int, tuple[float, float]] = field(default_factory=dict)
    gradient: GradientRow | None = None
    output_gradient: GradientRow | None = None

    @property
    def kept_bytes(self) -> int:
        """Memory of the output and the target."""
        output, target = self.output, self.target
        n = 0 if output is None or output.value is None else output.n_bytes
        return n if target is None else n + target.nbytes

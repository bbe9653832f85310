"""The labels of a batch: its output kept, loss and target taken, both counted.

Output and target come at different moments, either may be missing or not fit;
what is lost is said once and counted. What labels mean is `group`'s work.
May import torch.
"""

from __future__ import annotations

from typing import Any, Final

import torch

from actrace.capture.batch import Batch
from actrace.capture.labels.group import LabelWork
from actrace.capture.labels.outputs import KeptOutput
from actrace.capture.open_windows import OpenWindows
from actrace.capture.tensors import why_not
from actrace.errors import TargetError

__all__ = ["BatchLabels", "target_of"]

#: Training batches after which a criterion that was never called is remarked on.
_CRITERION_PATIENCE: Final = 2


class BatchLabels:
    """What joins a batch besides its layers: output, loss and target.

    Parameters
    ----------
    work : LabelWork
    windows : OpenWindows
        Where labels are counted.
    named : str or None
        Name of the output layer that the user named.
    has_criterion : bool
        A criterion is watched.

    Attributes
    ----------
    layer : str or None
        Name of the output layer, None before it is known.
    named : bool
        The user named it.
    squashed : bool
        Its outputs went through a sigmoid.
    """

    def __init__(
        self, work: LabelWork, windows: OpenWindows, named: str | None, *, has_criterion: bool
    ) -> None:
        self.layer = named
        self.named = named is not None
        self.squashed = False
        self._work = work
        self._windows = windows
        self._has_criterion = has_criterion
        self._criterion_calls = 0

    def keep(self, batch: Batch, output: torch.Tensor | None, n_batches: int) -> None:
        """Keep the value of the output, if labels may come.

        Parameters
        ----------
        batch : Batch
        output : Tensor or None
        n_batches : int
            Batches recorded so far.
        """
        if output is not None and self._work.wanted(n_batches):
            batch.output = KeptOutput.of(output)
            batch.no_output = why_not(output)
        if batch.output is not None and batch.target is not None:
            self._count_if_too_large(batch, None)

    def criterion_called(self) -> None:
        """Note that the criterion was called."""
        self._criterion_calls += 1

    def take_loss(
        self,
        batch: Batch,
        loss: torch.Tensor | None,
        target: torch.Tensor | None,
        given: torch.Tensor | None,
    ) -> None:
        """Take loss, target and input of a call of the criterion."""
        if loss is not None and why_not(loss) is None and loss.numel():
            batch.loss = float(loss.detach().to(torch.float64).mean())
        self.take_target(batch, target, given)

    def take_target(
        self, batch: Batch, target: torch.Tensor | None, given: torch.Tensor | None
    ) -> None:
        """Let the batch have this target; the last one counts.

        Parameters
        ----------
        batch : Batch
        target : Tensor or None
        given : Tensor or None
            The criterion's input, which may view the output in another shape.
        """
        if target is None:
            return
        self._work.seen()
        if self._work.off:
            return
        reason = why_not(target)
        if reason is not None:
            self._work.lose(f"a target is {reason}")
            return
        batch.target = target.detach().clone()
        batch.as_seen = None
        if batch.output is not None and given is not None:
            batch.as_seen = batch.output.seen_as(given)
        self._count_if_too_large(batch, given)

    def settle(self, batch: Batch) -> None:
        """Count the labels of a batch that is handed over, or say why not."""
        if batch.counted or batch.target is None:
            return
        if batch.output is not None:
            values = batch.as_seen if batch.as_seen is not None else batch.output.value
            if values is not None:
                self._count(batch, values)
        elif not self._work.off:
            self._work.lose(
                f"their output is {batch.no_output}"
                if batch.no_output
                else "their output was not kept, as none had come before"
            )

    def remark(self, n_training: int) -> str | None:
        """Return what to say of a criterion that is never called.

        Parameters
        ----------
        n_training : int
            Training batches so far, the one that is handed over included.
        """
        if not self._has_criterion or self._criterion_calls or n_training < _CRITERION_PATIENCE:
            return None
        return (
            f"the criterion was not called in the first {_CRITERION_PATIENCE} training "
            "batches, so no loss and no targets are recorded; pass the module that the "
            "loop calls, or use recorder.log(target=..., loss=...)"
        )

    def words(self) -> str | None:
        """Return what the output layer is and what its labels are."""
        if self.layer is None:
            return None
        work, labels = self._work, self._work.labels
        if labels is not None:
            lost = f", {work.lost} batches lost" if work.lost else ""
            return f"{self.layer}: {labels.task}, {labels.n_units} units{lost}"
        return f"{self.layer}: no labels ({work.reason or 'no target was seen'})"

    def skipped(self) -> dict[str, str]:
        """Return why labels are missing, under the output layer's name."""
        if not self._work.lost:
            return {}
        name = f"{self.layer or 'output'} (labels)"
        return {name: f"{self._work.lost} batches without labels: {self._work.reason}"}

    def _count_if_too_large(self, batch: Batch, given: torch.Tensor | None) -> None:
        """Count labels at once from the criterion's input where no copy was kept."""
        kept = batch.output
        if kept is None or kept.value is not None or batch.counted:
            return
        if given is None or not kept.holds(given):
            self._work.lose(
                f"an output of {kept.n_bytes / 2**20:.0f} MiB is too large to keep, and the "
                "criterion's input is not that output"
            )
        elif batch.target is not None:
            self._count(batch, given.detach())
        batch.target = None

    def _count(self, batch: Batch, values: torch.Tensor) -> None:
        if batch.target is None:
            return
        try:
            outputs, target = self._work.read(values, batch.target, self.squashed)
        except TargetError as error:
            self._work.lose(str(error))
            return
        sums = self._work.sums
        if sums is None:
            return
        self._windows.turn_to(batch.phase, batch.epoch)
        batch.torn = True
        sums.add(outputs, target)
        batch.counted, batch.torn = True, False


def target_of(args: Any, kwargs: Any) -> Any:
    """Return the target that a criterion was called with."""
    return kwargs.get("target", args[1] if len(args) > 1 else None)

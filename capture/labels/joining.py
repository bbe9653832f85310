"""The labels of a batch: its output kept, loss and target taken, both counted.

Output and target come at different moments, either may be missing or not fit;
what is lost is said once and counted. They are kept by the training's thread and
counted by the writer's. What labels mean is `group`'s work. May import torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from actrace.capture.batch import Batch
from actrace.capture.cuda.capture import DeviceCapture
from actrace.capture.cuda.captured import capture_loss
from actrace.capture.cuda.labels import GraphLabels
from actrace.capture.labels.group import LabelWork
from actrace.capture.labels.outputs import KeptOutput
from actrace.capture.tensors import why_not
from actrace.errors import TargetError
from actrace.store.rows import OutputInfo

__all__ = ["BatchLabels", "Labelled", "target_of"]

#: Training batches after which a criterion that was never called is remarked on.
_CRITERION_PATIENCE: Final = 2


@dataclass(frozen=True, slots=True)
class Labelled:
    """The labels of a batch: some rows of those of all batches read with it.

    Attributes
    ----------
    outputs, targets : ndarray
        As `Labelling.read` returns them.
    bins : ndarray, shape of `outputs`
    start, stop : int
        The batch's rows.
    """

    outputs: NDArray[np.float64]
    bins: NDArray[np.int32]
    targets: NDArray[Any]
    start: int
    stop: int

    @property
    def id(self) -> int:
        """The same for batches that were read together."""
        return id(self.outputs)


class BatchLabels:
    """What joins a batch besides its layers: output, loss and target.

    Parameters
    ----------
    work : LabelWork
    named : str or None
        Name of the output layer that the user named.
    has_criterion : bool
        A criterion is watched.
    device : DeviceCapture, optional
        Takes what lies on another device than the CPU.

    Attributes
    ----------
    layer : str or None
        Name of the output layer, None before it is known.
    named : bool
        The user named it.
    squashed : bool
        Its outputs went through a sigmoid.
    alone : callable or None
        Called with a batch whose labels have to be counted at once: lets the
        writer's thread come to an end with all batches before.
    """

    def __init__(
        self,
        work: LabelWork,
        named: str | None,
        *,
        has_criterion: bool,
        device: DeviceCapture[Any] | None = None,
    ) -> None:
        self._device = device
        self.layer = named
        self.named = named is not None
        self.squashed = False
        self.alone: Callable[[Batch], None] | None = None
        #: The forwards in CUDA graphs, None without a GPU.
        self.graphs = None if device is None else GraphLabels(device)
        self._work = work
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
            batch.output = KeptOutput.of(output, self._device)
            if batch.output is None:
                batch.no_output = why_not(output, self._place)
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
        device = self._device
        if loss is None or why_not(loss, self._place) is not None or not loss.numel():
            pass
        elif device is not None and device.takes(loss):
            device.loss(loss)
            batch.loss_on_device = True
        else:
            batch.loss_on_device = False
            one = loss.numel() == 1
            batch.loss = loss.item() if one else float(loss.detach().to(torch.float64).mean())
        self.take_target(batch, target, given)

    def capture_loss(self, loss: torch.Tensor | None, target: torch.Tensor | None) -> None:
        """Let the CUDA graph that is being captured give a batch its loss, and its target."""
        device = self._device
        if device is not None and loss is not None and loss.numel() and device.takes(loss):
            capture_loss(device, loss)
        if self.graphs is not None:
            self.graphs.saw_target(target)

    def keep_replayed(self, batch: Batch, *, training: bool, n_batches: int) -> None:
        """Keep output and target of what may have been replayed in a batch that had no forward."""
        if self.graphs is None or self._place is None or batch.output is not None:
            return
        number, output, target = self.graphs.newest(training)
        if number and output is not None:
            batch.replayed = number
            self.keep(batch, output, n_batches)
            if batch.target is None:
                self.take_target(batch, target, None)

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
        device = self._device
        reason = why_not(target, self._place)
        if reason is not None:
            self._not_labelled(batch, f"a target is {reason}")
            return
        batch.unlabelled = None
        if device is not None and device.takes(target):
            batch.target = device.host_copy(target)
            if batch.target is None:
                self._not_labelled(
                    batch, f"a target of {target.nbytes / 2**20:.0f} MiB is too large to keep"
                )
                return
        else:
            batch.target = target.detach().clone()
        batch.as_seen = None
        if batch.output is not None and given is not None:
            batch.as_seen = batch.output.seen_as(given)
        self._count_if_too_large(batch, given)

    @property
    def _place(self) -> torch.device | None:
        return None if self._device is None else self._device.place

    def leave_out(self, batch: Batch, reason: str) -> None:
        """Let a batch have no labels."""
        batch.as_seen = None
        self._not_labelled(batch, reason)

    def settle(self, batch: Batch) -> None:
        """Do what the training's thread has to before a batch is handed over.

        The first labels tell the task, and what does not fit is said at once.
        """
        if batch.counted or batch.target is None:
            return
        if batch.output is None:
            if not self._work.off:
                self._not_labelled(
                    batch,
                    f"their output is {batch.no_output}"
                    if batch.no_output
                    else "their output was not kept, as none had come before",
                )
        elif self._work.labels is None:
            try:
                self._read([batch])
            except TargetError as error:
                self._not_labelled(batch, str(error))

    # What the writer's thread calls.

    @property
    def known(self) -> bool:
        """Whether it is known what the labels mean."""
        return self._work.labels is not None

    @property
    def n_classes(self) -> int:
        """Classes or units of the labels, whichever are more."""
        labels = self._work.labels
        return 0 if labels is None else max(len(labels.classes), len(labels.units))

    def info(self) -> OutputInfo:
        """Return what the store is told of the labels."""
        return self._work.info(self.layer or "output")

    @property
    def most_windows(self) -> int:
        """Windows that may be added to before they are taken."""
        return 1 if self._work.sums is None else self._work.sums.most

    def read(self, batches: Sequence[Batch]) -> tuple[list[bool], list[Labelled | None]]:
        """Read the labels of batches; count those that cannot be.

        Returns
        -------
        labelled : list of bool
            Whether each batch has labels, counted before or now.
        found : list of Labelled or None
            What is to be added of each.
        """
        labelled: list[bool] = []
        found: list[Labelled | None] = []
        for alike, some in groupby(batches, key=_shapes):
            group = list(some)
            if alike is None:
                self._work.lost += sum(batch.unlabelled is not None for batch in group)
                labelled += [batch.counted for batch in group]
                found += [None] * len(group)
                continue
            each: Sequence[Labelled | None] | None = self._together(group)
            if each is None:
                each = [self._alone(batch) for batch in group]
            labelled += [one is not None for one in each]
            found += each
        return labelled, found

    def add(self, found: Sequence[Labelled | None], window: int) -> None:
        """Add what `read` found of batches that follow each other to a window."""
        sums = self._work.sums
        if sums is None:
            return
        for together, some in groupby(found, key=lambda one: None if one is None else one.id):
            group = [one for one in some if one is not None]
            if together is None or not group:
                continue
            rows = slice(group[0].start, group[-1].stop)
            whole = group[0]
            sums.add(whole.outputs[rows], whole.bins[rows], whole.targets[rows], window)

    def sums(self, n: int) -> dict[str, NDArray[Any]]:
        """Return what was added to the first `n` windows, as `LabelledSums.values`."""
        sums = self._work.sums
        return {} if sums is None else sums.values(n)

    def forget_sums(self, n: int) -> None:
        """Forget what was added to the first `n` windows."""
        if self._work.sums is not None:
            self._work.sums.forget(n)

    def drop_sums(self) -> None:
        """Forget what was added."""
        if self._work.sums is not None:
            self._work.sums.clear()

    def _alone(self, batch: Batch) -> Labelled | None:
        try:
            outputs, targets = self._read([batch])
        except TargetError as error:
            self._work.say_once(str(error))
            self._work.lost += 1
            return None
        return self._found(outputs, targets, [len(outputs)])[0]

    def _together(self, batches: Sequence[Batch]) -> list[Labelled] | None:
        """Return the labels of batches that are alike, None where they have to be read alone."""
        labels = self._work.labels
        if labels is None or len(batches) == 1:
            return None
        try:
            outputs, targets = self._read(batches)
        except TargetError:
            return None
        by_unit = labels.task in ("multi-label", "regression")
        sizes = [
            _value(batch).numel() // labels.n_units if by_unit else batch.target.numel()
            for batch in batches
            if batch.target is not None
        ]
        # Where some are ignored, or targets are soft, rows do not tell their batch.
        return self._found(outputs, targets, sizes) if sum(sizes) == len(outputs) else None

    def _found(
        self, outputs: NDArray[np.float64], targets: NDArray[Any], sizes: Sequence[int]
    ) -> list[Labelled]:
        sums = self._work.sums
        bins = np.zeros(outputs.shape, np.int32) if sums is None else sums.find(outputs)
        ends = np.cumsum([0, *sizes]).tolist()
        return [Labelled(outputs, bins, targets, *span) for span in pairwise(ends)]

    def _read(self, batches: Sequence[Batch]) -> tuple[NDArray[np.float64], NDArray[Any]]:
        """Return outputs and targets of batches that are alike, end to end.

        Raises
        ------
        TargetError
            They do not fit.
        """
        values = [_value(batch) for batch in batches]
        targets = [batch.target for batch in batches if batch.target is not None]
        if len(batches) == 1:
            return self._work.read(values[0], targets[0], self.squashed)
        # One sample without a batch dimension cannot be joined to others.
        if values[0].ndim < 2 or not targets[0].ndim:
            parts = [
                self._work.read(value, target, self.squashed)
                for value, target in zip(values, targets, strict=True)
            ]
            outputs, numbers = zip(*parts, strict=True)
            return np.concatenate(outputs), np.concatenate(numbers)
        return self._work.read(torch.cat(values), torch.cat(targets), self.squashed)

    # What the recorder asks.

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
        if kept.place is not None:
            self._not_labelled(
                batch,
                f"an output of {kept.n_bytes / 2**20:.0f} MiB on {kept.place} is too large to keep",
            )
        elif given is None or not kept.holds(given):
            self._not_labelled(
                batch,
                f"an output of {kept.n_bytes / 2**20:.0f} MiB is too large to keep, and the "
                "criterion's input is not that output",
            )
        elif batch.target is not None:
            if self.alone is not None:
                self.alone(batch)
            try:
                outputs, target = self._work.read(given.detach(), batch.target, self.squashed)
            except TargetError as error:
                self._not_labelled(batch, str(error))
            else:
                sums = self._work.sums
                if sums is not None:
                    batch.torn = True
                    sums.add(outputs, sums.find(outputs), target)
                    batch.counted, batch.torn = True, False
        batch.target = None

    def _not_labelled(self, batch: Batch, reason: str) -> None:
        """Say why a batch has no labels; it is counted when it is handed over."""
        batch.unlabelled = reason
        batch.target = None
        self._work.say_once(reason)


def _value(batch: Batch) -> torch.Tensor:
    """Return a batch's output, as the criterion viewed it."""
    if batch.as_seen is not None:
        return batch.as_seen
    if batch.output is None or batch.output.value is None:
        raise TargetError("the output of the batch was not kept")
    return batch.output.value


def _shapes(batch: Batch) -> tuple[object, ...] | None:
    """Return what makes the labels of batches alike, None for one without."""
    output, target = batch.output, batch.target
    if batch.counted or target is None or output is None or output.value is None:
        return None
    value = _value(batch)
    return value.shape[1:], value.dtype, target.shape[1:], target.dtype, value.ndim, target.ndim


def target_of(args: Any, kwargs: Any) -> Any:
    """Return the target that a criterion was called with."""
    return kwargs.get("target", args[1] if len(args) > 1 else None)

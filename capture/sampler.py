"""How much of each batch is read, and which batches are, where recording has to stay cheap.

May import the kernels' sampling, the governor and how long epochs are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from actrace.capture.governor import Governor, Spent, levels_of
from actrace.capture.kernels.sampling import Sampling, chosen_of_group
from actrace.capture.windows import EpochLengths

__all__ = ["AUTO", "SAMPLES", "Sampler"]

#: What can be asked for.
SAMPLES: Final = ("exact", "histogram", "all", "auto")
#: A schedule that leaves out as many batches as it takes to keep to the share.
AUTO: Final = "auto"


class Sampler:
    """What is read of the batches of one recording.

    Parameters
    ----------
    sampling : Sampling
        Of the kernel that reads them.
    mode : str
        ``"exact"``, ``"histogram"``, ``"all"`` or ``"auto"``: all, with a stride
        that keeps the cost under `share`.
    stride : int
        One block in `stride` is read; not for ``"exact"`` and ``"auto"``.
    share : float
        What recording may cost, as a share of the time of a step without it.
    thins : bool
        Whole batches are left out where that is what it takes to keep to `share`.
    on_device : bool
        See `Governor`.

    Attributes
    ----------
    partial : bool
        Statistics besides the histogram are those of the elements read.
    governor : Governor or None
        Keeps to the share, None where that was not asked for.
    left_out : dict of str to int
        Phase -> batches that were left out to keep to it.
    """

    def __init__(
        self,
        sampling: Sampling,
        mode: str,
        stride: int,
        share: float,
        *,
        thins: bool = False,
        on_device: bool = False,
    ) -> None:
        self.mode = mode
        self.partial = mode in ("all", "auto")
        self.share = share
        self.thins = thins
        self.left_out: dict[str, int] = {}
        self.governor: Governor | None = None
        self._sampling = sampling
        self._lengths = EpochLengths()
        if mode == "auto" or thins:
            levels = levels_of(reads=mode == "auto", batches=thins)
            self.governor = Governor(levels, share, on_device=on_device)
        if mode in ("histogram", "all"):
            sampling.change(mode, stride)

    @property
    def exact(self) -> bool:
        """Whether everything is read of a batch, always."""
        return self.mode == "exact"

    @property
    def stride(self) -> int:
        """One block in so many is read now."""
        return self._sampling.stride

    def takes(self, phase: str, epoch: int) -> bool:
        """Return whether the batch of `phase` that begins is recorded; asked once for each.

        One batch of each group of so many is, at a place in the group that differs from
        group to group, as with `chosen_of_group`: so nothing that recurs beats with it. At
        least 16 are taken of an epoch as long as the phase's last one (the first so far
        as it has come): a fourth of them in its last quarter, which the twin peaks are of.
        """
        if self.governor is None or not self.thins:
            return True
        number, most = self._lengths.add(phase, epoch)
        every = min(self.governor.level.every, most)
        group, place = divmod(number - 1, every)
        taken = place == chosen_of_group(group, every)
        if not taken:
            self.governor.leave_out()
            self.left_out[phase] = self.left_out.get(phase, 0) + 1
        return taken

    def begin(self, spent: Callable[[], Spent]) -> None:
        """Choose what is read of the batch that begins, which is recorded.

        Parameters
        ----------
        spent : callable
            Returns what recording has taken so far; asked only now and then.
        """
        if self.governor is not None and self.governor.begin(spent) and self.mode == "auto":
            self._sampling.change("all", self.governor.level.stride)
        if self._sampling.stride > 1:
            self._sampling.advance()

    def attributes(self) -> dict[str, Any]:
        """Return what the store is told."""
        if self.mode == "exact":
            return {"mode": "exact"}
        mode = "all" if self.partial else self.mode
        if self.mode == "auto":
            return {"mode": mode, "stride": "auto", "share": self.share}
        return {"mode": mode, "stride": self.stride}

    def words(self) -> str | None:
        """Return what the share asked for came to, None where none was or nothing is known yet."""
        governor = self.governor
        if governor is None or governor.shares is None:
            return None
        shares, level = governor.shares, governor.level
        what = (
            f"{_percent(shares.whole)} of a step where {_percent(self.share)} was asked for: "
            f"{_percent(shares.training)} hooks and kernels, {_percent(shares.calling)} torch's "
            f"calling of hooks, {_percent(shares.writer)} the writer's thread"
        )
        if self.mode == "auto":
            what += f"; 1 block in {level.stride} is read"
        if self.thins:
            what += f"; 1 batch in {level.every} is recorded, fewer are not in short epochs"
        if governor.missed:
            what += "; " + self._remedy(shares)
        return what

    def _remedy(self, shares: Spent) -> str:
        if self.thins:
            return "no more batches can be left out of epochs as short as these"
        every = 2
        while shares.whole / every > self.share:
            every *= 2
        return (
            "what is left does not depend on how much is read: record fewer layers, or "
            f'schedule=actrace.every({every}), or schedule="auto"'
        )


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %"

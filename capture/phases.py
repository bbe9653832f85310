"""In which phase, epoch and step a batch stands.

Pure bookkeeping, told nothing but the root's `training` flag and what the user
says. Imports the schema's names alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from actrace.errors import RecorderError
from actrace.store.schema import check_name

__all__ = ["PhaseClock"]

TRAIN = "train"
VALID = "valid"


@dataclass(slots=True)
class PhaseClock:
    """Tells each batch its phase, epoch and step.

    A return to ``train`` after another phase begins the next epoch, until the
    user has named one by `set_epoch`: from then on only the user does.

    Attributes
    ----------
    epoch : int
        Epoch of the batch begun last, from 0.
    step : int
        Training batches begun so far.
    """

    epoch: int = 0
    step: int = 0
    _told: list[str] = field(default_factory=list)
    _away: bool = False
    _by_hand: bool = False
    _seen: dict[str, int] = field(default_factory=dict)

    def begin(self, training: bool) -> tuple[str, int, int]:
        """Return (phase, epoch, step) of a batch that begins now."""
        phase = self._told[-1] if self._told else (TRAIN if training else VALID)
        step = self.step
        if phase == TRAIN:
            if self._away and not self._by_hand:
                self.epoch += 1
            self._away = False
            self.step += 1
        elif self.step > 0:
            # A look at the validation set before any training opens no epoch.
            self._away = True
        self._seen[phase] = self._seen.get(phase, 0) + 1
        return phase, self.epoch, step

    def nth(self, phase: str) -> int:
        """Return which batch of `phase` the one begun last is, from 0."""
        return self._seen.get(phase, 1) - 1

    def resume(self, epoch: int, step: int, away: bool) -> None:
        """Go on where an earlier recording ended."""
        self.epoch, self.step, self._away = epoch, step, away

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch by hand.

        Raises
        ------
        RecorderError
            Not a whole number from 0.
        """
        if isinstance(epoch, bool) or not isinstance(epoch, int) or epoch < 0:
            raise RecorderError(f"an epoch is a whole number from 0, got {epoch!r}")
        self.epoch = epoch
        self._by_hand = True

    def set_step(self, step: int) -> None:
        """Set how many training batches there were so far.

        Raises
        ------
        RecorderError
            Not a whole number from 0.
        """
        if isinstance(step, bool) or not isinstance(step, int) or step < 0:
            raise RecorderError(f"a step is a whole number from 0, got {step!r}")
        self.step = step

    def enter(self, phase: str) -> None:
        """Let every batch be of `phase` until `leave`.

        Raises
        ------
        RecorderError
            The name cannot stand in the store.
        """
        try:
            self._told.append(check_name(phase, "phase"))
        except ValueError as error:
            raise RecorderError(str(error)) from None

    def leave(self) -> None:
        """End the phase entered last."""
        self._told.pop()

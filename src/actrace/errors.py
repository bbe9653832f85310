"""The one family of errors that actrace raises.

Every member is also the built-in error a reader would expect, so that
``except ValueError`` keeps working. A message says what happened, what was
got, what was expected and what to do. This module imports nothing.
"""

from __future__ import annotations

__all__ = [
    "ActraceError",
    "ActraceWarning",
    "AxisError",
    "ChartError",
    "ComparisonError",
    "DamagedRunError",
    "LayerNotFoundError",
    "MissingDependencyError",
    "NewerSchemaError",
    "NotARunError",
    "NotRecordedError",
    "PhaseNotFoundError",
    "RankMismatchError",
    "RecorderError",
    "RemoteError",
    "ReportError",
    "RunExistsError",
    "RunLockedError",
    "ServeError",
    "StoreWriteError",
    "TargetError",
    "ThinnedError",
]


class ActraceError(Exception):
    """Base of every error that actrace raises on purpose."""


class AxisError(ActraceError, ValueError):
    """A bin axis cannot be built from what was given."""


class NotARunError(ActraceError, FileNotFoundError):
    """The path holds no run."""


class NewerSchemaError(ActraceError, RuntimeError):
    """The run was written by a later actrace than this one can read."""


class DamagedRunError(ActraceError, RuntimeError):
    """A run holds less, or other, than its metadata promises."""


class RankMismatchError(ActraceError, ValueError):
    """The ranks of a run recorded what cannot be merged."""


class RunExistsError(ActraceError, FileExistsError):
    """A run stands where a new one was asked for."""


class RunLockedError(ActraceError, RuntimeError):
    """Another process is writing this run."""


class RemoteError(ActraceError, OSError):
    """An object store cannot be reached, or refuses."""

    def __str__(self) -> str:  # OSError would put its number first
        return str(self.args[-1]) if self.args else ""


class ServeError(ActraceError, OSError):
    """The app cannot listen where it was told to."""


class StoreWriteError(ActraceError, OSError):
    """The run cannot be written: read-only, full or missing."""


class RecorderError(ActraceError, ValueError):
    """A recorder cannot be attached as asked."""


class TargetError(ActraceError, ValueError):
    """Targets do not fit the outputs they came with."""


class LayerNotFoundError(ActraceError, KeyError):
    """No such layer in the run or the model."""

    def __str__(self) -> str:  # KeyError would show the message as a repr
        return str(self.args[0]) if self.args else ""


class PhaseNotFoundError(ActraceError, KeyError):
    """No such phase in the run."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class NotRecordedError(ActraceError, ValueError):
    """The answer needs something that this run did not record."""


class ThinnedError(NotRecordedError):
    """What was asked for was thinned: it is there merged with its neighbours alone."""


class ChartError(ActraceError, ValueError):
    """A chart cannot be drawn or saved as asked."""


class ComparisonError(ActraceError, ValueError):
    """Runs cannot be compared as asked."""


class ReportError(ActraceError, ValueError):
    """A report cannot be written as asked."""


class MissingDependencyError(ActraceError, ImportError):
    """An optional package is missing; the message holds the pip line."""


class ActraceWarning(UserWarning):
    """Something in recording went wrong; the training was not touched."""

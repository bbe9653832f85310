"""The recorder: what a training loop may tell it and ask of it until it is closed.

What happens in a batch is `batches`. May import torch.
"""

from __future__ import annotations

import atexit
import contextlib
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import torch

from actrace.capture.batches import Session
from actrace.capture.checks import as_number, as_tensor, checked_name
from actrace.capture.latest import LayerStatistics
from actrace.capture.report import Report, report_of

__all__ = ["Recorder"]


class Recorder:
    """Records a model until it is closed; made by `record`.

    Also a context manager. One that is never closed is closed when the
    interpreter ends.

    Attributes
    ----------
    path : Path or str
        The run's directory, or its URL.
    """

    def __init__(
        self,
        session: Session,
        path: Path | str,
        handles: list[torch.utils.hooks.RemovableHandle],
    ) -> None:
        self.path = path
        self._session = session
        self._handles = handles
        self._at_exit: Callable[[], None] | None = partial(_close_at_exit, self)
        # Strong, so that a recorder nobody kept still writes its last batch.
        atexit.register(self._at_exit)

    @property
    def closed(self) -> bool:
        """Whether recording has ended."""
        return self._session.closed

    def log(self, *, target: Any = None, loss: Any = None, **scalars: Any) -> None:
        """Attach a target, a loss or named numbers to the batch that is open.

        A target that does not fit the output is warned of, never raised.

        Parameters
        ----------
        target : Tensor or array, optional
            What the output of the batch should have been.
        loss : float or tensor, optional
        **scalars : float or tensor of one element
            Recorded along the batches under these names.

        Raises
        ------
        RecorderError
            A name that cannot stand in the store, or a value that is no number.

        Examples
        --------
        >>> import tempfile
        >>> import torch
        >>> from torch import nn
        >>> from actrace import record
        >>> folder = tempfile.TemporaryDirectory()
        >>> model = nn.Linear(4, 3)
        >>> with record(model, folder.name + "/logged") as recorder:
        ...     loss = model(torch.zeros(2, 4)).sum()
        ...     recorder.log(target=torch.tensor([0, 2]), loss=loss, lr=3e-2)
        >>> recorder.report().output
        'Linear: single-label, 3 units'
        >>> folder.cleanup()
        """
        session = self._session
        values = {checked_name(name): as_number(name, value) for name, value in scalars.items()}
        number = None if loss is None else as_number("loss", loss)
        wanted = None if target is None else as_tensor(target)
        batch = session.batch
        if batch is None:
            if not session.skipping and not session.closed:
                session.warn(
                    "recorder.log() was called while no batch was open, so its values are not "
                    "recorded; call it after the model's forward and before the next one"
                )
            return
        batch.logged.update(values)
        if number is not None:
            batch.loss, batch.loss_on_device = number, False
        if wanted is not None:
            session.log_target(wanted)

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[Recorder]:
        """Let the batches inside a ``with`` be of phase `name`.

        Raises
        ------
        RecorderError
            The name cannot stand in the store.

        Examples
        --------
        >>> import tempfile
        >>> import torch
        >>> from torch import nn
        >>> from actrace import record
        >>> folder = tempfile.TemporaryDirectory()
        >>> model = nn.Linear(4, 3)
        >>> with record(model, folder.name + "/tested") as recorder:
        ...     with recorder.phase("test"):
        ...         _ = model(torch.zeros(2, 4))
        >>> recorder.report().batches
        {'test': 1}
        >>> folder.cleanup()
        """
        self._session.clock.enter(name)
        self._session.seal()
        try:
            yield self
        finally:
            self._session.seal()
            self._session.clock.leave()

    @contextlib.contextmanager
    def batch(self, *, samples: int | None = None) -> Iterator[Recorder]:
        """Let everything inside a ``with`` be one batch, whatever modules are called.

        For a loop that calls parts of the model, or the model several times, for
        one batch, or that replays a CUDA graph, which calls no module
        (``docs/gpu.md``). A batch that ends in an error is dropped.

        Parameters
        ----------
        samples : int, optional
            Samples in the batch. Default: told by the first forward of the model.

        Examples
        --------
        >>> import tempfile
        >>> import torch
        >>> from torch import nn
        >>> from actrace import record
        >>> folder = tempfile.TemporaryDirectory()
        >>> model = nn.ModuleDict({"encoder": nn.Linear(4, 2), "decoder": nn.Linear(2, 4)})
        >>> with record(model, folder.name + "/parts") as recorder:
        ...     for x in torch.randn(3, 16, 4):
        ...         with recorder.batch(samples=len(x)):
        ...             _ = model["decoder"](model["encoder"](x))
        >>> recorder.report().batches
        {'train': 3}
        >>> folder.cleanup()
        """
        held = self._session.held
        if held.is_mine():
            yield self  # inside another one: part of it
            return
        held.begin(samples=samples)
        try:
            yield self
        except BaseException:
            held.drop()
            raise
        held.end()

    def step(self, step: int) -> None:
        """Set the number of training batches so far, so that the next is number `step`.

        For a loop that goes on from a checkpoint; otherwise steps count themselves.

        Raises
        ------
        RecorderError
            Not a whole number from 0.
        """
        self._session.clock.set_step(step)

    def epoch(self, epoch: int) -> None:
        """Set the epoch of the batches to come, counted from 0.

        From the first call on, epochs are no longer told by the return to
        training: name each one.

        Raises
        ------
        RecorderError
            Not a whole number from 0.
        """
        self._session.clock.set_epoch(epoch)
        self._session.seal()
        self._session.outbox.close_windows()

    def flush(self, timeout: float | None = None) -> bool:
        """Write all that was recorded; return whether readers see it now.

        Parameters
        ----------
        timeout : float, optional
            Seconds to wait at most.
        """
        session = self._session
        session.seal()
        session.outbox.close_windows()
        return session.flush(timeout)

    def close(self, status: Literal["finished", "failed"] = "finished") -> None:
        """End the recording: take the hooks off, write everything; twice is once.

        Parameters
        ----------
        status : {"finished", "failed"}
            How the run is said to have ended.
        """
        session = self._session
        if session.closed:
            return
        session.seal()
        session.outbox.close_windows()
        session.closed = True
        if session.gradients is not None:
            session.gradients.close()
        for handle in (*self._handles, *session.probes):
            handle.remove()
        self._handles.clear()
        for hooks in (session.inside, *session.thinned.values()):
            if hooks is not None:
                hooks.end()
        if self._at_exit is not None:
            atexit.unregister(self._at_exit)
            self._at_exit = None  # it leads back here, and only gc would free the two
        session.finish(status)

    def latest(self, layer: str) -> LayerStatistics | None:
        """Return the newest statistics of a layer, without touching the disk.

        Those of the batch whose forward ended last, also before it is written;
        None before the first. While a forward runs: those asked for last.

        Parameters
        ----------
        layer : str
            Name of a recorded layer, as in the store.

        Raises
        ------
        LayerNotFoundError
            No such layer is recorded.

        Examples
        --------
        >>> import tempfile
        >>> import torch
        >>> from torch import nn
        >>> from actrace import record
        >>> folder = tempfile.TemporaryDirectory()
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU())
        >>> with record(model, folder.name + "/watched") as recorder:
        ...     _ = model(torch.full((16, 4), -1e9))
        ...     relu = recorder.latest("1")
        >>> relu.step, relu.elements
        (0, 128)
        >>> folder.cleanup()
        """
        return self._session.latest(layer)

    def report(self) -> Report:
        """Return what fired, what did not and why, and what recording cost."""
        return report_of(self._session, self.path)

    def __enter__(self) -> Recorder:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # sys.exit() and sys.exit(0) are how a script that went well ends.
        well = isinstance(error, SystemExit) and error.code in (None, 0)
        self.close("finished" if kind is None or well else "failed")

    def __repr__(self) -> str:
        session = self._session
        counts = ", ".join(f"{name} {n}" for name, n in session.batches.items())
        state = "closed" if session.closed else "recording"
        n_layers = len(session.table.rows) or len(session.table.recorded)
        return (
            f"Recorder({str(self.path)!r}, {state}, "
            f"{n_layers} {'layer' if n_layers == 1 else 'layers'}, "
            f"batches: {counts or 'none yet'})"
        )

    def _repr_html_(self) -> str:
        return self.report()._repr_html_()


def _close_at_exit(recorder: Recorder) -> None:
    # An unhandled exception leaves its value behind; in an interactive session
    # that may be of any earlier cell.
    raised = getattr(sys, "last_value", None) is not None and not hasattr(sys, "ps1")
    recorder.close("failed" if raised else "finished")

"""What a recorder did: which layers fired, which did not, and what it cost.

A value to look at. Imports the standard library alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from actrace.capture.batches import Session

__all__ = ["LayerReport", "Report", "report_of"]


@dataclass(frozen=True, slots=True)
class LayerReport:
    """One layer of a `Report`.

    Attributes
    ----------
    name, type : str
    status : str
        ``"recorded"``, ``"never fired"``, or why something of it is missing.
    calls : int
        Times the layer was called in the recorded batches.
    seconds : float
        Time its hook took; where a module has several rows, all of it stands at
        the first.
    """

    name: str
    type: str
    status: str
    calls: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Report:
    """What was recorded, what was not and why, and what it cost.

    Attributes
    ----------
    path : str
        The run's directory, or its URL.
    status : str
        ``"recording"`` or ``"closed"``.
    batches, lost : dict of str to int
        Batches recorded and lost, by phase.
    layers : tuple of LayerReport
    output : str or None
        The output layer and what its labels are, or why there are none.
    seconds : float
        Recording in the training's thread, in all.
    waited_seconds : float
        Of these, waiting for the writer, or for a device.
    remarks : tuple of str
        Faults and hints.
    aliases : dict of str to str
        Layer -> what its output shares its memory with, as the first forward
        showed.
    shared : dict of str to tuple of str
        Layer -> the other names of the same module.
    functions : dict of str to str
        Call of an activation function that is not recorded -> why.
    gradients : str or None
        How many parameters had a gradient, None where they are not recorded.
    device : str or None
        Whose tensors are recorded besides the CPU's, and why that was given up if it was.
    share : str or None
        What recording costs of a step, where it was to keep to a share: by what it is spent
        on, and what was given up.
    """

    path: str
    status: str
    batches: dict[str, int]
    lost: dict[str, int]
    layers: tuple[LayerReport, ...]
    output: str | None
    seconds: float
    waited_seconds: float
    remarks: tuple[str, ...]
    aliases: dict[str, str] = field(default_factory=dict)
    shared: dict[str, tuple[str, ...]] = field(default_factory=dict)
    functions: dict[str, str] = field(default_factory=dict)
    gradients: str | None = None
    device: str | None = None
    share: str | None = None

    @property
    def fired(self) -> tuple[str, ...]:
        """Names of the layers that were called."""
        return tuple(layer.name for layer in self.layers if layer.calls)

    @property
    def never_fired(self) -> tuple[str, ...]:
        """Names of the layers that were not."""
        return tuple(layer.name for layer in self.layers if not layer.calls)

    @property
    def skipped(self) -> dict[str, str]:
        """Why something is missing, by layer."""
        plain = ("recorded", "never fired")
        return {layer.name: layer.status for layer in self.layers if layer.status not in plain}

    def _facts(self) -> list[tuple[str, str]]:
        n = sum(self.batches.values())
        each = f", {1e3 * self.seconds / n:.3g} ms a batch" if n else ""
        and_device = " and the device" if self.device else ""
        return [
            ("batches", f"{_counts(self.batches)}; lost: {_counts(self.lost)}"),
            (
                "cost",
                f"{self.seconds:.3g} s{each}, of which waiting for the writer{and_device} "
                f"{self.waited_seconds:.3g} s",
            ),
            *((("share", self.share),) if self.share else ()),
            ("output", self.output or "not known yet"),
            *((("gradient", self.gradients),) if self.gradients else ()),
            *((("device", self.device),) if self.device else ()),
            ("layers", f"{len(self.fired)} of {len(self.layers)} fired"),
            *(("alias", f"{name} returns {what}") for name, what in self.aliases.items()),
            *(("shared", f"{name} is also {', '.join(n)}") for name, n in self.shared.items()),
            *(("unseen", f"{name}: {why}") for name, why in self.functions.items()),
            *(("remark", remark) for remark in self.remarks),
        ]

    def __repr__(self) -> str:
        lines = [f"Report of {self.path} ({self.status})"]
        lines += [f"  {name:<8}  {text}" for name, text in self._facts()]
        if self.layers:
            name = max(len(layer.name) for layer in self.layers)
            kind = max(len(layer.type) for layer in self.layers)
            lines += [
                f"    {layer.name:<{name}}  {layer.type:<{kind}}  {layer.calls:>8} calls  "
                f"{layer.seconds:>8.3f} s  {layer.status}"
                for layer in self.layers
            ]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        facts = "".join(
            f'<tr><th style="text-align:left">{escape(name)}</th>'
            f'<td style="text-align:left">{escape(text)}</td></tr>'
            for name, text in self._facts()
        )
        rows = "".join(
            f'<tr><td style="text-align:left">{escape(layer.name)}</td>'
            f'<td style="text-align:left">{escape(layer.type)}</td>'
            f"<td>{layer.calls:,}</td><td>{layer.seconds:.3f}</td>"
            f'<td style="text-align:left">{escape(layer.status)}</td></tr>'
            for layer in self.layers
        )
        return (
            f"<div><strong>Report of {escape(self.path)} ({escape(self.status)})</strong>"
            f"<table>{facts}</table><details open><summary>layers</summary><table>"
            "<tr><th>layer</th><th>type</th><th>calls</th><th>seconds</th><th>status</th></tr>"
            f"{rows}</table></details></div>"
        )


def _counts(numbers: dict[str, int]) -> str:
    return ", ".join(f"{name} {n}" for name, n in numbers.items() if n) or "none"


def _share(session: Session) -> str | None:
    words = session.sampler.words()
    if words is None or session.device is None:
        return words
    return f"{words} (what {session.device.device} takes for it is not clocked)"


def report_of(session: Session, path: Path | str) -> Report:
    """Return the report of a session, as far as the batches handed over by now."""
    session.settle()
    rows: list[LayerReport] = []
    for recorded in session.table.recorded.values():
        seconds = recorded.seconds
        for row in recorded.rows.values():
            status = recorded.off or row.skipped or ("recorded" if row.fired else "never fired")
            rows.append(LayerReport(row.name, row.type, status, row.fired, seconds))
            seconds = 0.0
        for leaf, reason in recorded.strangers.items():
            rows.append(
                LayerReport(recorded.name + leaf, recorded.type, reason, recorded.fired, seconds)
            )
            seconds = 0.0
        if not recorded.rows and not recorded.strangers:
            rows.append(LayerReport(recorded.name, recorded.type, "never fired", 0, 0.0))
    waited = session.worker.waited_seconds + session.outbox.waited_seconds
    return Report(
        path=str(path),
        status="closed" if session.closed else "recording",
        batches=dict(session.batches),
        lost=dict(session.worker.lost),
        layers=tuple(rows),
        output=session.joining.words(),
        seconds=session.cost(),
        waited_seconds=waited,
        remarks=tuple(session.remarks.said),
        aliases=dict(session.coverage.aliases),
        shared=dict(session.coverage.shared),
        functions={**session.coverage.functions, **session.table.late_functions},
        gradients=None if session.gradients is None else session.gradients.words(),
        device=None if session.device is None else session.device.words(),
        share=_share(session),
    )

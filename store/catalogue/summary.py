"""What a root document says of its run, without the metadata of its arrays.

A root document holds every array's metadata and takes milliseconds to parse;
its attributes stand first and hold a summary, which takes a tenth of that.
Imports nothing heavier than NumPy.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from actrace.store.catalogue.last_epoch import LastEpoch
from actrace.store.manifest import Manifest
from actrace.store.merging.words import joint_status
from actrace.store.schema import SCHEMA

__all__ = [
    "PhaseSummary",
    "RunSummary",
    "quick_summary",
    "summary_of",
    "summary_of_manifest",
    "summary_of_ranks",
]

#: How the writer's root document begins and ends.
_HEAD: Final = '{"attributes":'
_TAIL: Final = b"}"
_DECODER: Final = json.JSONDecoder()


@dataclass(frozen=True, slots=True)
class PhaseSummary:
    """One phase of a run in a list.

    Attributes
    ----------
    batches, epochs : int
    last : LastEpoch
    """

    batches: int = 0
    epochs: int = 0
    last: LastEpoch = field(default_factory=LastEpoch)

    def merge(self, other: PhaseSummary) -> PhaseSummary:
        """Return what two ranks' phases are together; batches are those of the longer one."""
        return PhaseSummary(
            max(self.batches, other.batches),
            max(self.epochs, other.epochs),
            self.last.merge(other.last),
        )


@dataclass(frozen=True, slots=True)
class RunSummary:
    """One run in a list.

    Attributes
    ----------
    name : str
        Its path below the directory that was listed, without ``.zarr``.
    path : Path, or str for a URL
    status : str
        ``"recording"``, ``"finished"``, ``"failed"``, ``"interrupted"``,
        ``"damaged"`` or ``"newer"`` (of a later schema).
    phases : dict of str to PhaseSummary
    layers : int
    size : int
        Bytes, as the writer counted them at the last commit.
    started, ended : str
        ISO 8601, empty if unknown.
    host : str
    tags : tuple of str
    config : dict
    note : str
    thinned : bool
        Whether some of its histograms are in levels alone.
    lost : dict of str to int
        Phase -> batches lost in recording.
    problem : str
        What is wrong with a damaged or newer run, else empty.
    ranks : int
        Processes whose runs it joins, 0 for a run of one process. Its batches are
        then those of the rank that has most.
    """

    name: str
    path: Path | str
    status: str
    phases: dict[str, PhaseSummary] = field(default_factory=dict)
    layers: int = 0
    size: int = 0
    started: str = ""
    ended: str = ""
    host: str = ""
    tags: tuple[str, ...] = ()
    config: dict[str, Any] = field(default_factory=dict)
    note: str = ""
    thinned: bool = False
    lost: dict[str, int] = field(default_factory=dict)
    problem: str = ""
    ranks: int = 0

    @property
    def batches(self) -> dict[str, int]:
        """Phase -> batches."""
        return {name: phase.batches for name, phase in self.phases.items()}

    @property
    def epochs(self) -> int:
        """Epochs of the phase that has most."""
        return max((phase.epochs for phase in self.phases.values()), default=0)

    @property
    def loss(self) -> float:
        """Loss of the last epoch of ``valid``, else ``train``, else any phase; NaN for none."""
        return _first_known({name: p.last.loss.mean for name, p in self.phases.items()})

    @property
    def understanding(self) -> float:
        """Understanding of the last epoch, of the same phases; NaN for none."""
        return _first_known({name: p.last.understanding for name, p in self.phases.items()})

    @property
    def duration(self) -> timedelta | None:
        """How long it took from beginning to end, None where either is unknown."""
        try:
            return datetime.fromisoformat(self.ended) - datetime.fromisoformat(self.started)
        except (TypeError, ValueError):
            return None


def _first_known(values: Mapping[str, float]) -> float:
    """Return the number of ``valid``, else ``train``, else the first phase that has one."""
    for name in ("valid", "train", *values):
        if name in values and not math.isnan(values[name]):
            return values[name]
    return math.nan


def quick_summary(name: str, path: Path | str, text: bytes) -> RunSummary | None:
    """Return the summary that a root document begins with, None where it has none."""
    if not text.startswith(_HEAD.encode()) or not text.rstrip().endswith(_TAIL):
        return None
    try:
        attributes, _ = _DECODER.raw_decode(text.decode(), len(_HEAD))
        if attributes["actrace_schema"] != SCHEMA:
            return None
        phases, layers, size = _told(attributes)
    except (KeyError, TypeError, ValueError, RecursionError):
        return None
    return summary_of(name, path, attributes, phases, layers, size + len(text))


def _told(attributes: Mapping[str, Any]) -> tuple[dict[str, PhaseSummary], int, int]:
    """Return phases, layers and bytes as the summary among a run's attributes has them.

    Raises
    ------
    KeyError, TypeError, ValueError
        There is none, or it makes no sense.
    """
    found = attributes["summary"]
    if not isinstance(found["phases"], dict):
        raise ValueError("phases are no object")
    phases = {
        str(phase): PhaseSummary(
            _natural(about["batches"]), _natural(about["epochs"]), LastEpoch.from_dict(about)
        )
        for phase, about in found["phases"].items()
    }
    return phases, _natural(found["layers"]), _natural(found["bytes"])


def summary_of(
    name: str,
    path: Path | str,
    attributes: Mapping[str, Any],
    phases: Mapping[str, PhaseSummary],
    layers: int,
    size: int,
) -> RunSummary:
    """Return the summary of a run of one process with these root attributes."""
    tags, config, lost = (attributes.get(n) for n in ("tags", "config", "lost_batches"))
    return RunSummary(
        name=name,
        path=path,
        status=str(attributes.get("status")),
        phases=dict(phases),
        layers=layers,
        size=size,
        started=str(attributes.get("started") or ""),
        ended=str(attributes.get("ended") or ""),
        host=str(attributes.get("host") or ""),
        tags=tuple(map(str, tags)) if isinstance(tags, list) else (),
        config=dict(config) if isinstance(config, dict) else {},
        note=str(attributes.get("note") or ""),
        thinned=bool(attributes.get("thinned")),
        lost={str(k): n for k, n in lost.items() if isinstance(n, int) and n}
        if isinstance(lost, dict)
        else {},
    )


def summary_of_manifest(name: str, path: Path | str, manifest: Manifest, size: int) -> RunSummary:
    """Return the summary of a run from its whole metadata, where its own is not to be had."""
    try:
        told = _told(manifest.attributes)[0]
    except (KeyError, TypeError, ValueError):
        told = {}
    phases = {}
    for phase in manifest.phases:
        last = manifest.groups[phase].get("last_epoch")
        epochs = last + 1 if isinstance(last, int) else 0
        phases[phase] = PhaseSummary(manifest.length(phase), epochs)
        about = told.get(phase)
        if about is not None and about.batches == phases[phase].batches:
            phases[phase] = about
    layers = manifest.arrays["layer"].shape[0]
    return summary_of(name, path, manifest.attributes, phases, layers, size)


def summary_of_ranks(
    name: str, path: Path | str, parts: Mapping[int, RunSummary | None]
) -> RunSummary | None:
    """Return one summary of the ranks' own, None where none of them is a run."""
    runs = {rank: part for rank, part in parts.items() if part is not None}
    whole = [run for run in runs.values() if not run.problem]
    if not runs:
        return None
    first = whole[0] if whole else next(iter(runs.values()))
    phases: dict[str, PhaseSummary] = {}
    lost: dict[str, int] = {}
    for run in whole:
        for phase, about in run.phases.items():
            phases[phase] = phases.get(phase, PhaseSummary()).merge(about)
        for phase, n in run.lost.items():
            lost[phase] = lost.get(phase, 0) + n
    return replace(
        first,
        name=name,
        path=path,
        status=joint_status([run.status for run in whole]) if whole else first.status,
        phases=phases,
        layers=max((run.layers for run in whole), default=0),
        thinned=any(run.thinned for run in whole),
        size=sum(run.size for run in runs.values()),
        started=min(run.started for run in runs.values()),
        ended=max(run.ended for run in whole) if whole and all(r.ended for r in whole) else "",
        lost=lost,
        problem="; ".join(
            f"rank {rank}: {run.problem}" for rank, run in runs.items() if run.problem
        ),
        ranks=len(runs),
    )


def _natural(value: Any) -> int:
    if not isinstance(value, int) or value < 0:
        raise ValueError(f"expected a whole number, got {value!r}")
    return value

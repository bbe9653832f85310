"""What a check found: the damage, and how much is whole. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from actrace.store.describe import clean

__all__ = ["CheckReport", "Damage", "PhaseCheck"]

#: Damages and names that are written out; there may be many more.
_SHOWN: Final = 20
_NAMES: Final = 6


@dataclass(frozen=True, slots=True)
class Damage:
    """One thing that is wrong.

    Attributes
    ----------
    path : str
        The array below the run, as ``train/count``; a file's or group's path where
        no array is meant.
    problem : str
        What is wrong.
    key : str
        The file it is in, empty where it is in the numbers alone.
    rows : (int, int) or None
        First and one past the last row along the growing dimension.
    batches : (int, int) or None
        The same in batches of the phase, None where none is meant or known.
    at : tuple of int
        Which of the first dimension (layers, units, classes), empty for all.
    names : tuple of str
        Their names, where they have any.
    dim : str
        That dimension's name.
    """

    path: str
    problem: str
    key: str = ""
    rows: tuple[int, int] | None = None
    batches: tuple[int, int] | None = None
    at: tuple[int, ...] = ()
    names: tuple[str, ...] = ()
    dim: str = ""

    @property
    def phase(self) -> str:
        """The phase it is in, empty for the whole run."""
        first, *more = self.path.split("/")
        if first == "levels":
            return more[0] if more else ""
        return first if more else ""

    @property
    def variable(self) -> str:
        """Name of the array."""
        return self.path.rpartition("/")[2]

    def __str__(self) -> str:
        where = [clean(self.path)]
        if self.names:
            shown = ", ".join(repr(clean(name, 60)) for name in self.names[:_NAMES])
            more = len(self.names) - _NAMES
            where.append(f"{self.dim} {shown}{f' and {more} more' if more > 0 else ''}")
        elif self.dim:
            where.append(f"every {self.dim}")
        if self.batches is not None:
            where.append(f"batches {self.batches[0]:,} to {self.batches[1] - 1:,}")
        elif self.rows is not None:
            where.append(f"rows {self.rows[0]:,} to {self.rows[1] - 1:,}")
        return f"{', '.join(where)}: {clean(self.problem)}"


@dataclass(frozen=True, slots=True)
class PhaseCheck:
    """How much of a phase is whole.

    Attributes
    ----------
    name : str
    batches : int
        Committed.
    whole : int
        Of them without any damage, in any layer or variable.
    """

    name: str
    batches: int
    whole: int


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What `actrace.check` found.

    Attributes
    ----------
    path : Path
        The run.
    status : str
    phases : tuple of PhaseCheck
    files, pieces : int
        Chunk files that the run should have, and inner chunks read in them.
    damages : tuple of Damage
        Of this run; those of ranks are theirs.
    unreferenced : tuple of str
        Files in the run's directory that are not part of it. They harm nothing.
    repaired : tuple of str
        What an earlier repair marked as lost, in words.
    notes : tuple of str
        What could not be checked, and why.
    ranks : tuple of CheckReport
        Of the processes, where the run has several.
    """

    path: Path
    status: str = ""
    phases: tuple[PhaseCheck, ...] = ()
    files: int = 0
    pieces: int = 0
    damages: tuple[Damage, ...] = ()
    unreferenced: tuple[str, ...] = ()
    repaired: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    ranks: tuple[CheckReport, ...] = field(default=())

    @property
    def whole(self) -> bool:
        """Whether nothing is damaged."""
        return not self.damages and all(rank.whole for rank in self.ranks)

    def __bool__(self) -> bool:
        return self.whole

    def __repr__(self) -> str:
        lines = self._lines()
        for rank in self.ranks:
            lines += ["  " + line for line in rank._lines()]
        if not self.whole:
            lines.append("save what is whole: actrace repair " + clean(self.path))
        return "\n".join(lines)

    def _lines(self) -> list[str]:
        word = "whole" if self.whole else "damaged"
        lines = [f"actrace run {clean(self.path.name, 120)}: {word}"]
        if self.files:
            lines.append(f"  {'read':<8} {self.files:,} chunk files, {self.pieces:,} inner chunks")
        if self.status:
            lines.append(f"  {'status':<8} {clean(self.status, 40)}")
        for phase in self.phases:
            of = "all" if phase.whole == phase.batches else f"{phase.whole:,}"
            lines.append(
                f"  {clean(phase.name, 40):<8} {phase.batches:,} batches, {of} of them whole"
            )
        for heading, found in (
            ("damaged", [str(damage) for damage in self.damages]),
            ("lost", [clean(text) for text in self.repaired]),
            ("extra", [f"{clean(name)} is not part of the run" for name in self.unreferenced]),
            ("note", [clean(text) for text in self.notes]),
        ):
            lines += [f"  {heading:<8} {text}" for text in found[:_SHOWN]]
            if len(found) > _SHOWN:
                lines.append(f"  {heading:<8} and {len(found) - _SHOWN:,} more")
        return lines

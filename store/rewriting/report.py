"""What a compaction or thinning did, in words. Imports the words of `describe` alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from actrace.store.describe import bytes_words, clean

__all__ = ["RewriteReport"]


@dataclass(frozen=True, slots=True)
class RewriteReport:
    """What `actrace.compact_run` or `actrace.thin_run` did.

    Attributes
    ----------
    path : Path
        The new run; the old one where there was nothing to do.
    word : str
        ``"compacted"`` or ``"thinned"``.
    changed : bool
        Whether there was anything to do.
    files, bytes : (int, int)
        The run's files and their size, before and after.
    notes : tuple of str
    ranks : tuple of RewriteReport
        Of the processes, where the run has several.
    """

    path: Path
    word: str
    changed: bool = True
    files: tuple[int, int] = (0, 0)
    bytes: tuple[int, int] = (0, 0)
    notes: tuple[str, ...] = ()
    ranks: tuple[RewriteReport, ...] = ()

    def __repr__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> list[str]:
        name = clean(self.path.name, 120)
        head = f"{self.word} run {name}" if self.changed else f"run {name} stays as it is"
        lines = [head, *(f"  {'note':<8} {clean(note)}" for note in self.notes)]
        if self.files[0]:
            before, after = self.files
            lines.append(f"  {'files':<8} {before:,}" + (f" -> {after:,}" if self.changed else ""))
            before, after = self.bytes
            words = f" -> {bytes_words(after)}" if self.changed else ""
            lines.append(f"  {'on disk':<8} {bytes_words(before)}{words}")
        for rank in self.ranks:
            lines += ["  " + line for line in rank._lines()]
        return lines

"""The runs that the app may show: those below one folder, by name, and nothing else.

Names come out of URLs. One leads to a run only if its path stays below the folder
and follows no link. Imports the store.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from actrace.errors import NotARunError, RemoteError
from actrace.store.catalogue.listing import list_runs
from actrace.store.catalogue.summary import RunSummary
from actrace.store.describe import clean
from actrace.store.paths import SUFFIX, find_run, is_url
from actrace.store.reader import open_run
from actrace.store.run import Run

__all__ = ["RunFolder"]


class RunFolder:
    """All runs below a directory, by the names that ``actrace ls`` gives them.

    Parameters
    ----------
    directory : str or path
        A folder of runs, or one run.

    Raises
    ------
    NotARunError
        It is not there or no directory.
    RemoteError
        It is a URL.
    """

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        if is_url(directory):
            raise RemoteError(
                f"cannot serve {directory!r}: the app shows runs on this machine; bring them "
                f"here first, with actrace export {directory} DIRECTORY"
            )
        self.root = Path(os.path.realpath(os.path.expanduser(os.fspath(directory))))
        if not self.root.is_dir():
            found = "it is a file" if self.root.exists() else "nothing is there"
            raise NotARunError(
                f"cannot serve {str(directory)!r}: {found}; give a directory that holds runs"
            )

    def runs(self) -> list[RunSummary]:
        """Return all runs by name, damaged ones too."""
        return list_runs(self.root)

    def path(self, name: str) -> Path:
        """Return where the run of a name stands.

        Raises
        ------
        NotARunError
            No run below the folder has this name, or it lies behind a link.
        """
        parts = name.split("/")
        odd = any(part == "" or part.startswith(".") for part in parts)
        if "\0" in name or odd or any(part.endswith(SUFFIX) for part in parts[:-1]):
            raise self._unknown(name)
        if name == self.root.name.removesuffix(SUFFIX) and _run_at(self.root):
            return self.root
        try:
            found = find_run(self.root / name)
            straight = os.path.realpath(found) == str(found)
        except (OSError, ValueError):
            # Too long a name, or one that no path can have.
            raise self._unknown(name) from None
        if not straight or not found.is_dir() or not found.is_relative_to(self.root):
            raise self._unknown(name)
        return found

    def open(self, name: str) -> Run:
        """Return the run of a name as it is now.

        Raises
        ------
        NotARunError
            As `path`.
        ActraceError
            As `actrace.open`.
        """
        return open_run(self.path(name))

    def summary(self, name: str) -> RunSummary:
        """Return the line that `runs` has of one run, without looking at the others.

        Raises
        ------
        NotARunError
            As `path`.
        """
        found = _run_at(self.path(name))
        if found is None:
            raise self._unknown(name)
        return replace(found, name=name)

    def _unknown(self, name: str) -> NotARunError:
        return NotARunError(
            f"no run is called {clean(name, 120)!r} in {str(self.root)!r}; see the table of runs"
        )


def _run_at(path: Path) -> RunSummary | None:
    """Return the summary of the run that a directory is, None where it is none."""
    return next((run for run in list_runs(path, depth=0) if Path(run.path) == path), None)

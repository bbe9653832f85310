"""The findings of a run, looked for once, whichever part of a page asks first."""

from __future__ import annotations

from threading import Lock

from actrace.analysis.findings.diagnose import diagnose
from actrace.analysis.findings.findings import Findings
from actrace.store.run import Run

__all__ = ["Judge"]


class Judge:
    """What `diagnose` finds in a run as it was opened.

    Parameters
    ----------
    run : Run
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._lock = Lock()
        self._found: Findings | None = None

    def found(self) -> Findings:
        """Return the findings; takes its time when first asked."""
        with self._lock:
            if self._found is None:
                self._found = diagnose(self._run, progress=False)
            return self._found

    def rules(self) -> list[str]:
        """Return the rules that found something, none before anything was looked for."""
        found = self._found
        return [] if found is None else list(dict.fromkeys(one.rule for one in found))

"""`runs`: a table of all runs below a directory.

The only part of the catalogue that imports pandas.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from actrace.store.catalogue.listing import list_runs, select_runs
from actrace.store.catalogue.summary import PhaseSummary, RunSummary

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["flat_config", "runs"]

#: Settings inside settings that become columns; what lies deeper stays as it is.
DEEPEST: Final = 8


def runs(
    directory: str | os.PathLike[str] = ".",
    *,
    name: str | None = None,
    status: str | Iterable[str] | None = None,
    tags: str | Iterable[str] = (),
    config: Mapping[str, Any] | None = None,
    depth: int = 4,
    storage_options: Mapping[str, Any] | None = None,
) -> pd.DataFrame:
    """Return a table of the runs in `directory` and below, one row a run.

    Nothing but the runs' root documents is read, so thousands of runs take seconds.
    Damaged runs are among them, with what is wrong in column ``problem``.

    Parameters
    ----------
    directory : str or path
        A folder of runs, or one run; or ``s3://bucket/path``.
    name : str, optional
        Shell pattern (``"mnist/*"``) that a run's name must match.
    status : str or iterable of str, optional
        ``"finished"``, ``"recording"``, ``"interrupted"``, ``"failed"``,
        ``"damaged"`` or ``"newer"``.
    tags : str or iterable of str
        Tags that a run must all have.
    config : mapping, optional
        Setting -> the value it must have, or a function that says whether a value
        will do: ``{"lr": 0.1, "optimizer.name": lambda name: "adam" in name}``. A
        dot leads into a setting that holds settings.
    depth : int, default 4
        How many folders down to look; links are not followed.
    storage_options : mapping, optional
        For a URL, as for `actrace.open`.

    Returns
    -------
    DataFrame, index ``run``: the run's path below `directory`, without ``.zarr``
        ``status``; ``phases`` (tuple); ``batches``, of all phases; ``epochs``, of the
        phase that has most; ``layers``; ``train_loss`` and ``valid_loss``, means of
        the last epoch weighted by samples; ``understanding``, as `twin_peaks` has it
        (``window="epoch"``) for the last epoch of ``valid``, or of ``train`` where
        there is none; ``size`` in bytes; ``started`` (UTC); ``duration``; ``tags``
        (tuple); ``note``; ``thinned``; ``lost``, batches that the store has not; ``ranks``, 0 for a
        run of one process; ``problem``; ``path``; and ``config.<setting>`` for every
        setting of any run. What a run does not have is NaN or empty.

    Raises
    ------
    NotARunError
        `directory` is not there or not a directory.
    ValueError
        A status that no run has.
    MissingDependencyError, RemoteError
        Of a URL, as `actrace.open`.

    Examples
    --------
    >>> import tempfile
    >>> from actrace.store.axis import Linear
    >>> from actrace.store.writer import RunWriter
    >>> folder = tempfile.TemporaryDirectory()
    >>> for lr in (0.1, 0.2):
    ...     told = {"config": {"lr": lr}}
    ...     RunWriter.create(f"{folder.name}/{lr}", axis=Linear(-1, 1, 4), attributes=told).close()
    >>> runs(folder.name, config={"lr": 0.1})["config.lr"].to_dict()
    {'0.1': 0.1}
    >>> folder.cleanup()
    """
    import pandas as pd

    found = select_runs(
        list_runs(directory, depth=depth, storage_options=storage_options),
        name=name,
        status=status,
        tags=tags,
        config=config,
    )
    index = pd.Index([run.name for run in found], name="run", dtype=object)
    columns: dict[str, Any] = {
        "status": [run.status for run in found],
        "phases": [tuple(run.phases) for run in found],
        "batches": [sum(run.batches.values()) for run in found],
        "epochs": [run.epochs for run in found],
        "layers": [run.layers for run in found],
        "train_loss": [_loss(run, "train") for run in found],
        "valid_loss": [_loss(run, "valid") for run in found],
        "understanding": [run.understanding for run in found],
        "size": [run.size for run in found],
        "started": pd.to_datetime(
            [run.started or None for run in found], utc=True, errors="coerce", format="ISO8601"
        ),
        "duration": pd.to_timedelta([run.duration for run in found]),
        "tags": [run.tags for run in found],
        "note": [run.note for run in found],
        "thinned": [run.thinned for run in found],
        "lost": [sum(run.lost.values()) for run in found],
        "ranks": [run.ranks for run in found],
        "problem": [run.problem for run in found],
        "path": [str(run.path) for run in found],
    }
    flat = [flat_config(run.config) for run in found]
    for key in dict.fromkeys(key for config in flat for key in config):
        columns[f"config.{key}"] = [config.get(key) for config in flat]
    return pd.DataFrame(columns, index=index)


def _loss(run: RunSummary, phase: str) -> float:
    return run.phases.get(phase, PhaseSummary()).last.loss.mean


def flat_config(config: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Return a config without nesting, its keys joined by dots.

    Examples
    --------
    >>> flat_config({"optimizer": {"name": "sgd", "lr": 0.1}, "sizes": [1, 2]})
    {'optimizer.name': 'sgd', 'optimizer.lr': 0.1, 'sizes': [1, 2]}
    """
    found: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and value and above.count(".") < DEEPEST:
            found |= flat_config(value, f"{above}{key}.")
        else:
            found[f"{above}{key}"] = value
    return found

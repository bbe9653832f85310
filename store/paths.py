"""Where a run stands on disk: its directory's name and the names inside it.

The one place that knows the ``.zarr`` suffix, without which xarray does not
guess the engine and plain ``xr.open_datatree(path)`` fails. Imports nothing
beyond the standard library.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

__all__ = [
    "LOCK_NAME",
    "ROOT_DOCUMENT",
    "SUFFIX",
    "TEMPORARY",
    "find_run",
    "run_path",
    "size_on_disk",
]

SUFFIX: Final = ".zarr"
ROOT_DOCUMENT: Final = "zarr.json"
LOCK_NAME: Final = ".actrace.lock"
#: Ending of a file that is being written and will be renamed.
TEMPORARY: Final = ".actrace-tmp"


def run_path(path: str | os.PathLike[str]) -> Path:
    """Return the absolute directory of the run that `path` names.

    Parameters
    ----------
    path : str or path
        The run, with or without its ``.zarr``.

    Examples
    --------
    >>> run_path("runs/mnist").name, run_path("runs/mnist.zarr").name
    ('mnist.zarr', 'mnist.zarr')
    >>> run_path("runs/lr-0.05").name
    'lr-0.05.zarr'
    """
    # Absolute, because a training may change its working directory.
    absolute = Path(os.path.abspath(os.path.expanduser(os.fspath(path))))
    if absolute.name.endswith(SUFFIX):
        return absolute
    return absolute.with_name(absolute.name + SUFFIX)


def find_run(path: str | os.PathLike[str]) -> Path:
    """Return the path that a reader should open for `path`.

    The spelling with ``.zarr`` wins; a directory without it that holds a root
    document (a run that someone renamed) is taken as it is.
    """
    plain = Path(os.path.abspath(os.path.expanduser(os.fspath(path))))
    suffixed = run_path(plain)
    if plain == suffixed or suffixed.exists() or not plain.exists():
        return suffixed
    return plain


def size_on_disk(directory: Path) -> int:
    """Return the bytes of all files of a run, links not followed."""
    total = 0
    for head, _, names in os.walk(directory):
        for name in names:
            try:
                total += os.lstat(os.path.join(head, name)).st_size
            except FileNotFoundError:
                # A live run renames temporary files away.
                continue
    return total

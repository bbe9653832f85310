"""Where a run stands on disk: its directory's name and the names inside it.

The one place that knows the ``.zarr`` suffix, without which xarray does not
guess the engine and plain ``xr.open_datatree(path)`` fails. Imports nothing
beyond the standard library and the errors.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from actrace.errors import RemoteError

__all__ = [
    "LOCK_NAME",
    "ROOT_DOCUMENT",
    "SUFFIX",
    "TEMPORARY",
    "find_run",
    "is_url",
    "rank_path",
    "rank_paths",
    "run_folder",
    "run_path",
    "size_on_disk",
]

SUFFIX: Final = ".zarr"
ROOT_DOCUMENT: Final = "zarr.json"
LOCK_NAME: Final = ".actrace.lock"
#: Ending of a file that is being written and will be renamed.
TEMPORARY: Final = ".actrace-tmp"
#: A rank's own run inside the folder of a run of several processes.
_RANK: Final = re.compile(r"rank-(0|[1-9][0-9]{0,6})\.zarr")


_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]+://")


def is_url(path: str | os.PathLike[str]) -> bool:
    """Return whether `path` is a URL and not a path of this machine's.

    Examples
    --------
    >>> is_url("s3://bucket/run.zarr"), is_url("runs/s3:/run")
    (True, False)
    """
    return isinstance(path, str) and _URL.match(path) is not None


def _on_this_machine(path: str | os.PathLike[str]) -> Path:
    """Return the absolute path, and refuse a URL."""
    if is_url(path):
        raise RemoteError(
            f"{path!r} lies in an object store, and this takes a run on this machine: bring it "
            f"here first, with actrace export {path} DIRECTORY"
        )
    # Absolute, because a training may change its working directory.
    return Path(os.path.abspath(os.path.expanduser(os.fspath(path))))


def run_path(path: str | os.PathLike[str]) -> Path:
    """Return the absolute directory of the run that `path` names.

    Parameters
    ----------
    path : str or path
        The run, with or without its ``.zarr``.

    Raises
    ------
    RemoteError
        It is a URL.

    Examples
    --------
    >>> run_path("runs/mnist").name, run_path("runs/mnist.zarr").name
    ('mnist.zarr', 'mnist.zarr')
    >>> run_path("runs/lr-0.05").name
    'lr-0.05.zarr'
    """
    absolute = _on_this_machine(path)
    if absolute.name.endswith(SUFFIX):
        return absolute
    return absolute.with_name(absolute.name + SUFFIX)


def find_run(path: str | os.PathLike[str]) -> Path:
    """Return the path that a reader should open for `path`.

    The spelling with ``.zarr`` wins; a directory without it that holds a root
    document (a run that someone renamed) or the runs of ranks is taken as it is.

    Raises
    ------
    RemoteError
        It is a URL.
    """
    plain = _on_this_machine(path)
    suffixed = run_path(plain)
    if suffixed.exists():
        return suffixed
    if plain == suffixed:
        folder = run_folder(plain)
        return folder if rank_paths(folder) else suffixed
    return plain if plain.exists() else suffixed


def run_folder(path: str | os.PathLike[str]) -> Path:
    """Return the absolute folder that holds the runs of ranks for the run `path`.

    Examples
    --------
    >>> run_folder("runs/mnist").name, run_folder("runs/mnist.zarr").name
    ('mnist', 'mnist')
    """
    run = run_path(path)
    return run.with_name(run.name.removesuffix(SUFFIX))


def rank_path(folder: Path, rank: int) -> Path:
    """Return where rank `rank` records below a run's folder.

    Examples
    --------
    >>> rank_path(Path("runs/mnist"), 1).as_posix()
    'runs/mnist/rank-1.zarr'
    """
    return folder / f"rank-{rank}{SUFFIX}"


def rank_paths(folder: Path) -> dict[int, Path]:
    """Return rank -> its directory, in the order of ranks; empty if there are none.

    Links are not followed.
    """
    found: dict[int, Path] = {}
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                match = _RANK.fullmatch(entry.name)
                if match and entry.is_dir(follow_symlinks=False):
                    found[int(match[1])] = folder / entry.name
    except OSError:
        # Not there, not a directory or not to be read: its opener says so.
        return {}
    return dict(sorted(found.items()))


def size_on_disk(directory: Path) -> int:
    """Return the bytes of all files of a run, or of the one file it is in.

    Links are not followed.
    """
    if directory.is_file():
        return directory.stat().st_size
    total = 0
    for head, _, names in os.walk(directory):
        for name in names:
            try:
                total += os.lstat(os.path.join(head, name)).st_size
            except FileNotFoundError:
                # A live run renames temporary files away.
                continue
    return total

"""The arrays of one group of a run as its writer holds them.

A group is a phase or its gradient groups (growing by batches) or a phase's
output or unit group (growing by windows): a set of arrays that grow together, row by row, and some
lists that stand still. May import NumPy.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from actrace.errors import DamagedRunError, RemoteError
from actrace.store.document import array_document, group_document, names_document
from actrace.store.files import RunFiles
from actrace.store.layout import (
    CHUNK_BYTES,
    SHARD_BYTES,
    Layout,
    chunk_length,
    encode_chunk,
    encode_strings,
    is_unwritten,
)
from actrace.store.manifest import Manifest
from actrace.store.schema import COUNT, Variable
from actrace.store.tail import Tail

__all__ = ["GrowingGroup", "StandingArrays", "append_together", "plan_layout"]

#: Longest chunk of an unsharded array, in rows.
LONGEST: Final = 16_384
#: Longest shard, in rows.
LONGEST_SHARD: Final = 1024


def plan_layout(
    variable: Variable,
    sizes: Mapping[str, int],
    count: np.dtype[Any],
    shard_bytes: int = SHARD_BYTES,
) -> Layout:
    """Return how a new array is cut into chunks.

    Parameters
    ----------
    variable : Variable
        Its row of the schema; its last dimension grows.
    sizes : mapping of str to int
        Length of every other dimension.
    count : dtype
        The group's integer width for counts.
    shard_bytes : int
        Raw size that a shard stays within.

    Notes
    -----
    Arrays with bins are sharded: one inner chunk for each index of the first
    dimension, so that one layer is read without the others. The rest are many
    and small, and a longer chunk keeps the number of files low.
    """
    dtype = count if variable.dtype == COUNT else np.dtype(variable.dtype)
    fixed = tuple(sizes[dim] for dim in variable.dims[:-1])
    row = math.prod(fixed) * dtype.itemsize
    by_batch = variable.dims[-1] == "batch"
    sharded = "bin" in variable.dims or "gradient_bin" in variable.dims
    if sharded:
        length = chunk_length(
            row, budget=shard_bytes, smallest=16 if by_batch else 1, largest=LONGEST_SHARD
        )
    else:
        length = chunk_length(
            row, budget=CHUNK_BYTES, smallest=256 if by_batch else 1, largest=LONGEST
        )
    return Layout(variable.dims, dtype.newbyteorder("<"), fixed, length, sharded)


class StandingArrays:
    """The arrays of a group that are written once.

    Attributes
    ----------
    documents : dict of str to dict
        Path below the run -> document.
    """

    __slots__ = ("_pending", "documents")

    def __init__(self) -> None:
        self.documents: dict[str, dict[str, Any]] = {}
        self._pending: dict[str, bytes] = {}

    def put(self, group: str, variable: Variable, values: Sequence[str] | NDArray[Any]) -> None:
        """Set an array; it is written with the next commit.

        Parameters
        ----------
        group : str
            Path of its group, empty for the root.
        variable : Variable
        values : sequence of str, or ndarray of one dimension
        """
        path = f"{group}/{variable.name}" if group else variable.name
        if variable.dtype == "string":
            texts = [str(value) for value in values]
            self.documents[path] = names_document(variable, len(texts))
            data = encode_strings(texts)
        else:
            numbers = np.asarray(values, np.dtype(variable.dtype).newbyteorder("<"))
            layout = Layout(variable.dims, numbers.dtype, (), max(1, len(numbers)), sharded=False)
            self.documents[path] = array_document(variable, layout, len(numbers))
            data = encode_chunk(numbers)
        if len(values):
            self._pending[f"{path}/c/0"] = data

    def write(self, files: RunFiles) -> None:
        """Write what was put since the last call."""
        for key, data in list(self._pending.items()):
            files.make_directory(key.rpartition("/")[0])
            files.write(key, data)
            del self._pending[key]


def append_together(
    groups: Sequence[tuple[GrowingGroup, Mapping[str, NDArray[Any]]]],
    n: int,
    files: RunFiles,
    before: Callable[[], None] | None = None,
) -> None:
    """Add `n` rows to every array of every group.

    Each row is added to all of them or to none. A value that does not fit leaves
    all rows out; a chunk that cannot be written, those from there on.

    Parameters
    ----------
    groups : sequence of (GrowingGroup, mapping of str to ndarray)
        The groups with the rows of each array, shape (n, *fixed).
    n : int
    files : RunFiles
    before : callable, optional
        Called before full chunks leave the memory.

    Raises
    ------
    OverflowError, ValueError
        A value does not fit its array.
    StoreWriteError
        A full chunk cannot be written.
    """
    for group, rows in groups:
        group.check(rows)
    at = 0
    while at < n:
        if before is not None and not all(group.room for group, _ in groups):
            before()
        for group, _ in groups:
            group.make_room(files)
        # From here on nothing can fail, so arrays never differ in length.
        stop = min(n, at + min(group.room for group, _ in groups))
        for group, rows in groups:
            group.take(rows, at, stop)
        at = stop


class GrowingGroup:
    """Arrays that grow together along ``batch`` or ``window``.

    Parameters
    ----------
    path : str
        The group's path below the run.
    sizes : mapping of str to int
        Length of every dimension that does not grow.
    count : dtype
        Integer width of the group's counts.
    attributes : mapping, optional
    shard_bytes : int
        Raw size that a shard stays within.

    Attributes
    ----------
    length : int
        Rows, those in memory included.
    """

    __slots__ = (
        "_count",
        "_given",
        "_ready",
        "_shard_bytes",
        "_sizes",
        "_tails",
        "_variables",
        "attributes",
        "length",
        "path",
    )

    def __init__(
        self,
        path: str,
        sizes: Mapping[str, int],
        count: np.dtype[Any],
        attributes: Mapping[str, Any] | None = None,
        shard_bytes: int = SHARD_BYTES,
    ) -> None:
        self.path = path
        self.attributes: dict[str, Any] = dict(attributes or {})
        self.length = 0
        self._sizes = dict(sizes)
        self._count = count
        self._shard_bytes = shard_bytes
        self._variables: dict[str, Variable] = {}
        self._tails: dict[str, Tail] = {}
        self._given: dict[str, Mapping[str, Any]] = {}
        self._ready: set[str] = set()

    def __contains__(self, name: object) -> bool:
        return name in self._tails

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the growing arrays."""
        return tuple(self._tails)

    def chunk_rows(self, name: str) -> int:
        """Return how many rows a chunk file of an array holds."""
        return self._tails[name].layout.length

    def rows(self, name: str, start: int, stop: int, files: RunFiles) -> NDArray[Any]:
        """Return rows of an array, shape (n, *fixed); not to be changed.

        Raises
        ------
        DamagedRunError
            They are no more in memory, and their chunk is missing or damaged.
        """
        return self._tails[name].rows(start, stop, files)

    def declare(self, variables: Iterable[Variable]) -> None:
        """Add arrays to a group that has no rows yet."""
        for variable in variables:
            path = f"{self.path}/{variable.name}"
            layout = self._layout(variable)
            self._variables[variable.name] = variable
            self._tails[variable.name] = Tail(path, layout, float(variable.fill))

    def declare_late(self, variable: Variable, files: RunFiles) -> None:
        """Add an array to a group with rows; those before hold the fill value.

        Raises
        ------
        StoreWriteError
            The rows before cannot be written; the group is as it was.
        """
        layout = self._layout(variable)
        tail = Tail(f"{self.path}/{variable.name}", layout, float(variable.fill))
        self._make_directory(tail, files)
        tail.backfill(files, self.length)
        self._variables[variable.name] = variable
        self._tails[variable.name] = tail

    def _layout(self, variable: Variable) -> Layout:
        return plan_layout(variable, self._sizes, self._count, self._shard_bytes)

    @property
    def room(self) -> int:
        """Rows that every array still takes before one has to `make_room`."""
        return min(tail.room for tail in self._tails.values())

    def check(self, rows: Mapping[str, NDArray[Any]]) -> None:
        """Refuse rows that an array cannot hold; see `append_together`."""
        for name, tail in self._tails.items():
            tail.check(rows[name])

    def make_room(self, files: RunFiles) -> None:
        """Start the next chunk of each array whose chunk is full, writing it first."""
        for tail in self._tails.values():
            if not tail.room:
                self._make_directory(tail, files)
                tail.make_room(files)

    def take(self, rows: Mapping[str, NDArray[Any]], start: int, stop: int) -> None:
        """Add rows that were checked and for which there is room."""
        for name, tail in self._tails.items():
            tail.append(rows[name][start:stop])
        self.length += stop - start

    def write_chunks(self, files: RunFiles) -> None:
        """Write the chunk file of every array that has grown."""
        for tail in self._tails.values():
            if tail.dirty:
                self._make_directory(tail, files)
                tail.write(files)

    def documents(self) -> dict[str, dict[str, Any]]:
        """Return path -> document of the group and its growing arrays."""
        found = {self.path: group_document(self.attributes)}
        for name, tail in self._tails.items():
            document = array_document(self._variables[name], tail.layout, tail.length)
            document["attributes"] |= self._given.get(name, {})
            found[tail.path] = document
        return found

    def restore(
        self, manifest: Manifest, variables: Mapping[str, Variable], files: RunFiles
    ) -> None:
        """Take the group over as it was committed.

        Parameters
        ----------
        manifest : Manifest
            The run's.
        variables : mapping of str to Variable
            The schema's growing variables of this group; arrays beyond them
            are what the user logged.
        files : RunFiles
            Where the unfinished chunks are read.

        Raises
        ------
        DamagedRunError
            An array is missing, of another form, or its last chunk is damaged.
        RemoteError
            An object store does not answer.
        """
        self.length = manifest.length(self.path)
        for path, entry in manifest.arrays.items():
            group, _, name = path.rpartition("/")
            variable = variables.get(name)
            if variable is None and (entry.dims, entry.dtype) == (("batch",), "float64"):
                variable = Variable(name, entry.dims, entry.dtype, f"{name}, as logged by the user")
            if group != self.path or variable is None or entry.dims[-1] not in ("batch", "window"):
                continue
            layout = entry.layout
            tail = Tail(path, layout, float(variable.fill))
            full, rest = divmod(self.length, layout.length)
            index = (*(0 for _ in layout.fixed), full)
            rows = np.empty((0, *layout.fixed), layout.dtype)
            if rest:
                what = f"{manifest.where}: {entry.describe(index)}"
                try:
                    data = files.read(entry.key(index))
                except RemoteError:
                    raise
                except OSError as error:
                    raise DamagedRunError(
                        f"{what} cannot be read: {error.strerror}; restore the file from a copy"
                    ) from error
                rows = layout.decode(data, what)[:rest]
                if is_unwritten(rows[-1]):
                    raise DamagedRunError(
                        f"{what} is older than the last commit: it lacks rows that were "
                        "committed; restore the file from a copy"
                    )
            tail.restore(full * layout.length, rows)
            self._variables[name] = variable
            self._tails[name] = tail
            # What others have set on it stays.
            self._given[name] = entry.attributes

    def _make_directory(self, tail: Tail, files: RunFiles) -> None:
        # Once only: a directory that someone deletes must not come back half-filled.
        if tail.path not in self._ready:
            files.make_directory(f"{tail.path}/{tail.layout.key(0)}".rpartition("/")[0])
            self._ready.add(tail.path)

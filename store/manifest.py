"""What a root document says, read with distrust: sizes, codecs and names.

A run may come from anywhere, so everything is checked here before a byte of
its data is read: only known codecs and plain dtypes, names that cannot leave
the run, chunks of a bounded size. Imports NumPy for dtypes.
"""

from __future__ import annotations

import errno
import itertools
import json
import math
import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from actrace.errors import DamagedRunError, NewerSchemaError, NotARunError
from actrace.store.layout import Layout
from actrace.store.paths import ROOT_DOCUMENT, find_run
from actrace.store.schema import GRADIENT_GROUPS, SCHEMA

__all__ = ["MAX_DOCUMENT", "ArrayEntry", "Manifest", "parse_manifest", "read_manifest"]

#: A root document of 200 arrays has about 200 kB. In memory it may take 30 times its size.
MAX_DOCUMENT: Final = 16 * 2**20
#: Arrays and groups of a run, and names in the path of one.
MAX_NODES: Final = 2**14
MAX_DEPTH: Final = 8
#: Raw size of a chunk file; the writer's own stay within 32 MiB for up to
#: 4,096 layers of 512 bins, and grow with the number of layers above that.
MAX_CHUNK: Final = 2**31
#: Raw size of one decoded piece: what reading a single value costs.
MAX_INNER: Final = 2**28
MAX_ELEMENTS: Final = 2**62
#: Chunk files of one array, and inner chunks of one shard: at the shortest of a
#: writer's chunks 67 million batches, and a million layers.
MAX_FILES: Final = 2**22
MAX_PIECES: Final = 2**20

_CODECS: Final = frozenset({"bytes", "vlen-utf8", "blosc", "zstd", "crc32c", "sharding_indexed"})
_DTYPES: Final = frozenset(
    {"bool", "string", "float16", "float32", "float64"}
    | {f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)}
)
_PART: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,127}")


@dataclass(frozen=True, slots=True)
class ArrayEntry:
    """One array of a run as its document declares it.

    Attributes
    ----------
    path : str
        Below the run, as ``train/count``.
    shape : tuple of int
    dims : tuple of str
    dtype : str
        A NumPy dtype name, or ``"string"``.
    chunk : tuple of int
        Shape of one chunk file.
    inner : tuple of int
        Shape of one inner chunk; of the chunk itself where unsharded.
    codecs : tuple of str
        What encodes a chunk (an inner chunk of a shard), in order.
    sharded, checked : bool
        Whether files are shards, and whether chunks end in a crc32c.
    attributes : mapping
    """

    path: str
    shape: tuple[int, ...]
    dims: tuple[str, ...]
    dtype: str
    chunk: tuple[int, ...]
    inner: tuple[int, ...]
    codecs: tuple[str, ...]
    sharded: bool
    attributes: Mapping[str, Any]

    @property
    def checked(self) -> bool:
        """Whether a chunk ends in a crc32c of itself."""
        return self.codecs[-1] == "crc32c"

    @property
    def inner_bytes(self) -> int | None:
        """Raw size of one decoded piece, None for strings."""
        if self.dtype == "string":
            return None
        return math.prod(self.inner) * np.dtype(self.dtype).itemsize

    @property
    def grows(self) -> bool:
        """Whether the array grows with the run."""
        return self.dims[-1] in ("batch", "window")

    @property
    def ours(self) -> bool:
        """Whether it is cut into chunks and encoded as a writer of ours does it."""
        same = self.chunk[:-1] == self.shape[:-1] and self.inner == self.layout.inner
        return same and self.codecs == ("bytes", "blosc", "crc32c")

    @property
    def n_inner(self) -> int:
        """Inner chunks in one chunk file."""
        return math.prod(c // i for c, i in zip(self.chunk, self.inner, strict=True))

    @property
    def grid(self) -> tuple[int, ...]:
        """Number of chunk files along each dimension."""
        return tuple(-(-n // c) for n, c in zip(self.shape, self.chunk, strict=True))

    @property
    def n_files(self) -> int:
        """Number of chunk files."""
        return math.prod(self.grid)

    @property
    def layout(self) -> Layout:
        """The grid as the writer uses it."""
        return Layout(
            self.dims,
            np.dtype(self.dtype).newbyteorder("<"),
            self.shape[:-1],
            self.chunk[-1],
            self.sharded,
        )

    def key(self, index: tuple[int, ...]) -> str:
        """Return the key of a chunk file, below the run."""
        return "/".join([self.path, "c", *map(str, index)])

    def keys(self) -> Iterator[str]:
        """Yield the keys of all chunk files."""
        for index in itertools.product(*map(range, self.grid)):
            yield self.key(index)

    def describe(self, index: tuple[int, ...]) -> str:
        """Return what a chunk file holds, in words for an error."""
        ranges = [
            f"{dim} {i * c} to {min((i + 1) * c, n) - 1}"
            for i, c, n, dim in zip(index, self.chunk, self.shape, self.dims, strict=True)
            if n > c or dim == self.dims[-1]
        ]
        where = f" ({', '.join(ranges)})" if ranges else ""
        return f"{self.path!r}, chunk file {self.key(index)!r}{where}"


@dataclass(frozen=True, slots=True)
class Manifest:
    """The checked contents of a run's root document.

    Attributes
    ----------
    directory : Path
    text : bytes
        The document itself.
    attributes : mapping
        The run's.
    groups : mapping of str to mapping
        Path below the run -> attributes, the root left out.
    arrays : mapping of str to ArrayEntry
    place : str
        Where it is if not in a directory, for messages.
    """

    directory: Path
    text: bytes
    attributes: Mapping[str, Any]
    groups: Mapping[str, Mapping[str, Any]]
    arrays: Mapping[str, ArrayEntry]
    place: str = ""

    @property
    def where(self) -> str:
        """The run as messages call it."""
        return f"run {self.place or str(self.directory)!r}"

    @property
    def phases(self) -> tuple[str, ...]:
        """Names of the run's phases, in the order of their first batch."""
        order = self.attributes.get("phases")
        named = [name for name in order if isinstance(name, str)] if isinstance(order, list) else []
        found = [name for name in self.groups if "/" not in name and name != "levels"]
        return tuple(
            sorted(
                found,
                key=lambda name: (name not in named, named.index(name) if name in named else 0),
            )
        )

    def length(self, group: str) -> int:
        """Return the committed length of a phase's batches or a group's rows."""
        name = "first_batch" if "/" in group else "step"
        if group.rpartition("/")[2] in GRADIENT_GROUPS:
            name = "gradient_scale"
        entry = self.arrays.get(f"{group}/{name}")
        return entry.shape[-1] if entry else 0


def _natural(value: Any, *, least: int = 0) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _codec_names(codecs: Any) -> list[str]:
    if not isinstance(codecs, list) or not codecs:
        raise ValueError(f"codecs are {codecs!r}, expected a list of them")
    names: list[str] = []
    for codec in codecs:
        name = codec.get("name") if isinstance(codec, dict) else codec
        if not isinstance(name, str) or name not in _CODECS:
            raise ValueError(f"codec {name!r} is not among {', '.join(sorted(_CODECS))}")
        if _configuration(codec).get("endian", "little") != "little":
            raise ValueError("its numbers are not little-endian")
        names.append(name)
    return names


def _configuration(codec: Any) -> Mapping[str, Any]:
    found = codec.get("configuration", {}) if isinstance(codec, dict) else {}
    return found if isinstance(found, dict) else {}


def _parse_grid(node: Mapping[str, Any]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return shape and chunk shape of an array's document."""
    shape = node.get("shape")
    if not isinstance(shape, list) or not shape or not all(_natural(n) for n in shape):
        raise ValueError(f"shape is {shape!r}, expected a list of whole numbers")
    grid = node.get("chunk_grid")
    chunk = _configuration(grid).get("chunk_shape")
    if not isinstance(chunk, list) or len(chunk) != len(shape):
        raise ValueError(f"chunk grid is {grid!r}, expected a regular one of {len(shape)} numbers")
    if not all(_natural(n, least=1) for n in chunk):
        raise ValueError(f"chunk shape is {chunk!r}, expected whole numbers above 0")
    keys = node.get("chunk_key_encoding", {"name": "default"})
    if not isinstance(keys, dict) or keys.get("name") != "default":
        raise ValueError(f"chunk key encoding is {keys!r}, expected 'default'")
    if _configuration(keys).get("separator", "/") != "/":
        raise ValueError(f"chunk key encoding is {keys!r}, expected the separator '/'")
    if node.get("storage_transformers"):
        raise ValueError("storage transformers are not known here")
    return tuple(shape), tuple(chunk)


def _parse_codecs(
    codecs: Any, chunk: tuple[int, ...], dtype: str
) -> tuple[tuple[int, ...], tuple[str, ...], bool]:
    """Return inner chunk shape, codec names and whether files are shards."""
    names = _codec_names(codecs)
    inner: Any = chunk
    sharded = "sharding_indexed" in names
    if sharded:
        if names != ["sharding_indexed"]:
            raise ValueError(f"codecs are {names}, expected sharding_indexed alone")
        configuration = _configuration(codecs[0])
        inner = configuration.get("chunk_shape")
        if (
            not isinstance(inner, list)
            or len(inner) != len(chunk)
            or not all(
                _natural(i, least=1) and c % i == 0 for i, c in zip(inner, chunk, strict=True)
            )
        ):
            raise ValueError(f"inner chunks are {inner!r}, expected divisors of {chunk}")
        names = _codec_names(configuration.get("codecs"))
        if configuration.get("index_location", "end") != "end":
            raise ValueError("the index of a shard is not at its end")
        if _codec_names(configuration.get("index_codecs")) != ["bytes", "crc32c"]:
            raise ValueError("the index of a shard has other codecs than bytes, crc32c")
    # One compressor at most: two could unpack to more than the outer one's header says.
    first = "vlen-utf8" if dtype == "string" else "bytes"
    if names not in [
        [first, *compressor, *checksum]
        for compressor in ([], ["blosc"], ["zstd"])
        for checksum in ([], ["crc32c"])
    ]:
        raise ValueError(f"codecs are {names}, expected {first}, a compressor and crc32c")
    return tuple(inner), tuple(names), sharded


def _parse_array(path: str, node: Mapping[str, Any]) -> ArrayEntry:
    shape, chunk = _parse_grid(node)
    dtype = node.get("data_type")
    if not isinstance(dtype, str) or dtype not in _DTYPES:
        raise ValueError(f"dtype {dtype!r} is not a plain number or string")
    inner, codecs, sharded = _parse_codecs(node.get("codecs"), chunk, dtype)
    dims = node.get("dimension_names")
    if (
        not isinstance(dims, list)
        or len(dims) != len(shape)
        or not all(isinstance(dim, str) and dim for dim in dims)
    ):
        raise ValueError(f"dimension names are {dims!r}, expected {len(shape)} names")
    attributes = node.get("attributes", {})
    if not isinstance(attributes, dict):
        raise ValueError(f"attributes are {attributes!r}, expected an object")
    itemsize = 1 if dtype == "string" else np.dtype(dtype).itemsize
    if math.prod(shape) > MAX_ELEMENTS or math.prod(chunk) * itemsize > MAX_CHUNK:
        raise ValueError(f"shape {shape} in chunks of {chunk} is larger than a run can be")
    if math.prod(inner) * itemsize > MAX_INNER:
        raise ValueError(f"a chunk of {inner} is larger than {MAX_INNER} bytes")
    entry = ArrayEntry(path, shape, tuple(dims), dtype, chunk, inner, codecs, sharded, attributes)
    if entry.n_files > MAX_FILES or entry.n_inner > MAX_PIECES:
        raise ValueError(f"shape {shape} in chunks of {chunk} has more of them than a run can have")
    return entry


def parse_manifest(directory: Path, text: bytes, place: str = "") -> Manifest:
    """Return the checked contents of a root document.

    Parameters
    ----------
    directory : Path
        The run, for messages and for reading later.
    text : bytes
        Its ``zarr.json``.
    place : str
        Where it is if not in a directory, for messages.

    Raises
    ------
    NotARunError
        Some other Zarr store.
    NewerSchemaError
        A later schema than this actrace knows.
    DamagedRunError
        Not JSON, or contents that no writer of ours makes.
    """
    where = f"run {place or str(directory)!r}"
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DamagedRunError(
            f"{where} is damaged: its {ROOT_DOCUMENT} of {len(text)} bytes is not whole JSON "
            f"({error}); restore that file from a copy"
        ) from error
    attributes = document.get("attributes") if isinstance(document, dict) else None
    if not isinstance(attributes, dict) or "actrace_schema" not in attributes:
        raise NotARunError(
            f"{place or str(directory)!r} is a Zarr store, not a run of actrace: its root has no "
            "attribute 'actrace_schema'; open it with xarray or zarr"
        )
    schema = attributes["actrace_schema"]
    if not _natural(schema, least=1):
        raise DamagedRunError(
            f"{where} is damaged: actrace_schema is {schema!r}, expected a number"
        )
    if schema > SCHEMA:
        raise NewerSchemaError(
            f"{where} has schema {schema} and this actrace reads up to {SCHEMA}; "
            "upgrade it: pip install --upgrade actrace"
        )
    consolidated = document.get("consolidated_metadata")
    nodes = consolidated.get("metadata") if isinstance(consolidated, dict) else None
    if not isinstance(nodes, dict) or document.get("zarr_format") != 3:
        raise DamagedRunError(
            f"{where} is damaged: its {ROOT_DOCUMENT} has no consolidated metadata of Zarr 3, "
            "which every commit writes; restore that file from a copy"
        )
    if len(nodes) > MAX_NODES:
        raise DamagedRunError(
            f"{where} is damaged or not written by actrace: it has {len(nodes)} arrays and groups, "
            f"at most {MAX_NODES} were expected"
        )
    groups: dict[str, Mapping[str, Any]] = {}
    arrays: dict[str, ArrayEntry] = {}
    for path, node in nodes.items():
        try:
            if not all(_PART.fullmatch(part) for part in path.split("/")):
                raise ValueError("its name could lead out of the run")
            if path.count("/") >= MAX_DEPTH:
                raise ValueError(f"it lies more than {MAX_DEPTH} names deep")
            kind = node.get("node_type") if isinstance(node, dict) else None
            if kind == "array":
                arrays[path] = _parse_array(path, node)
            elif kind == "group":
                found = node.get("attributes", {})
                groups[path] = found if isinstance(found, dict) else {}
            else:
                raise ValueError(f"its node type is {kind!r}, expected 'array' or 'group'")
        except ValueError as error:
            raise DamagedRunError(
                f"{where} is damaged or not written by actrace: {path!r} cannot be read: {error}"
            ) from error
    return Manifest(directory, text, attributes, groups, arrays, place)


def _found_instead(path: Path) -> str:
    """Return what stands at a directory that is no run, in words."""
    entries = sorted(entry.name for entry in os.scandir(path))
    runs = [
        name
        for name in entries
        if name.endswith(".zarr") and (path / name / ROOT_DOCUMENT).is_file()
    ]
    if runs:
        shown = ", ".join(repr(os.fspath(path / name)) for name in runs[:5])
        more = f" and {len(runs) - 5} more" if len(runs) > 5 else ""
        return f"it holds runs: open {shown}{more}"
    if ".zgroup" in entries or ".zarray" in entries:
        return "it is a Zarr 2 store, and runs are Zarr 3"
    if not entries:
        return "it is empty"
    more = ", ..." if len(entries) > 5 else ""
    return f"it holds {', '.join(map(repr, entries[:5]))}{more}"


def read_manifest(path: str | os.PathLike[str]) -> Manifest:
    """Return the checked root document of the run at `path`.

    Parameters
    ----------
    path : str or path
        The run, with or without its ``.zarr``.

    Raises
    ------
    NotARunError
        Nothing there, a file, or a directory that holds no run; the message
        says what was found.
    NewerSchemaError
        Written by a later actrace.
    DamagedRunError
        The root document is cut short or says what no writer of ours writes.
    """
    try:
        directory = find_run(path)
        return parse_manifest(directory, _read_document(directory))
    except PermissionError as error:
        raise DamagedRunError(
            f"run {os.fspath(path)!r} cannot be read: {error.strerror}; check permissions"
        ) from error


def _read_document(directory: Path) -> bytes:
    if not directory.exists():
        raise NotARunError(
            f"there is no run at {str(directory)!r}; check the path, or list runs with 'actrace ls'"
        )
    if not directory.is_dir():
        raise NotARunError(
            f"{str(directory)!r} is a file, and a run is a directory; "
            "unpack it first if it is an archive"
        )
    document = directory / ROOT_DOCUMENT
    try:
        # Neither a link is followed nor a pipe waited for.
        descriptor = os.open(document, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise IsADirectoryError
            text = file.read(MAX_DOCUMENT + 1)
    except (FileNotFoundError, IsADirectoryError):
        raise NotARunError(
            f"{str(directory)!r} is a directory without a run; {_found_instead(directory)}"
        ) from None
    except PermissionError:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in (errno.ELOOP, errno.EMLINK):
            reason = "it is a link, and a run holds no links"
        raise DamagedRunError(f"{str(document)!r} cannot be read: {reason}") from error
    if len(text) > MAX_DOCUMENT:
        raise DamagedRunError(
            f"{str(document)!r} has more than {MAX_DOCUMENT} bytes; no run has a root like that"
        )
    return text

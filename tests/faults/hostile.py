"""Runs made to do harm, and a process in which they are opened, checked and repaired.

Run as ``python -m tests.faults.hostile FOLDER CASES SEED``; prints one JSON line.
An audit hook watches every file opened and all code run; memory has a limit.
"""

from __future__ import annotations

import contextlib
import copy
import faulthandler
import io
import json
import os
import random
import resource
import shutil
import struct
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numcodecs.blosc import Blosc

import actrace
from actrace.cli import main as command
from actrace.errors import ActraceError
from actrace.store.catalogue.listing import list_runs
from actrace.store.layout import crc32c

ROOT = Path(__file__).parents[2]
#: What memory may grow by.
MEMORY = 2**30
LARGE = 2**24
FORBIDDEN = {
    "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.forkpty", "subprocess.Popen",
    "socket.connect", "ctypes.dlopen",
}  # fmt: skip
HTML = "<script>alert(1)</script>"
ODD: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 3, 16, 255, 2**16, 2**31, 2**32, 2**40, 2**53, 2**62, 2**63,
    2**70, 10**400, -(2**63), 0.5, 1e308, float("inf"), float("nan"), "", "..", "/etc/passwd",
    "../../secret", "a/b", "\x00", "\x1b[2J", HTML, "\ud800", "x" * 70_000, "NaN", "bytes", "zarr",
    "int32", "uint8", "float64", "string", "object", "|O", "<M8[ns]", "complex128", "group",
    "array", [], {}, [[]], [0], [1], [-1], [2**62], [1, 2, 3], ["layer"], {"a": {}},
    {"name": "bytes"}, {"name": "pickle"},
    {"name": "numcodecs.pickle", "configuration": {"protocol": 5}},
    {"name": "gzip", "configuration": {"level": 9}}, {"name": "numcodecs.json2"},
    {"name": "transpose", "configuration": {"order": [1, 0]}}, {"name": "vlen-bytes"},
    {"name": "numpy.datetime64", "configuration": {"unit": "ns", "scale_factor": 1}},
    {"name": "blosc", "configuration": {"typesize": 2**31, "cname": "lz4", "clevel": 1,
     "shuffle": "shuffle", "blocksize": 2**31}},
    {"kind": "linear", "start": 0, "stop": 1, "bins": 10**12},
    {"train/count": [[0, 2**61, [2**61]]]},
)  # fmt: skip


class Watch:
    """Says what was opened that lies elsewhere, and what code was run."""

    def __init__(self, folder: Path) -> None:
        self.folder = os.path.realpath(folder)
        self.on = False
        self.broken: list[str] = []

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.on:
            return
        if event in FORBIDDEN or (event in ("exec", "pickle.find_class") and _is_odd(arguments)):
            self.broken.append(f"{event} {str(arguments)[:200]}")
        elif event == "open" and not isinstance(arguments[0], int):
            path, _, flags = arguments
            name = os.fsdecode(path)
            if sys._getframe(1).f_code.co_filename == shutil.__file__:
                # A repair that failed deletes what it wrote itself.
                inside = True
            elif not os.path.isabs(name):
                # Below an open directory: one name, no link.
                alone = "/" not in name and name not in ("..", ".")
                inside = alone and bool(flags & os.O_NOFOLLOW)
            else:
                # A link that is not followed opens nothing.
                head = os.path.dirname(name) if flags & os.O_NOFOLLOW else name
                real = os.path.realpath(head)
                inside = os.path.commonpath([real, self.folder]) == self.folder
                inside = inside and f"{os.sep}secret" not in real
            # Python's own files: error messages read source lines.
            if not inside and not name.endswith((".py", ".pyc")):
                self.broken.append(f"open {name!r}")


def _is_odd(arguments: tuple[Any, ...]) -> bool:
    """Return whether what is run or unpickled is neither Python's, a package's nor dask's own."""
    if isinstance(arguments[0], str):
        return not arguments[0].startswith("dask.")
    file = getattr(arguments[0], "co_filename", "")
    return not file.startswith((sys.prefix, sys.base_prefix, str(ROOT), "<frozen"))


def nodes_of(document: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = document["consolidated_metadata"]["metadata"]
    return found


def mutate_document(path: Path, rng: random.Random) -> None:
    """Put something odd into the root document, some times over."""
    document = json.loads((path / "zarr.json").read_text())
    for _ in range(rng.choice((1, 1, 2, 5))):
        at: Any = document
        # Mostly into the arrays: most of the document is theirs.
        if rng.random() < 0.8:
            for name in ("consolidated_metadata", "metadata"):
                at = at.get(name) if isinstance(at, dict) else at
        while True:
            if not isinstance(at, (dict, list)) or not at:
                break
            key = rng.choice(list(at)) if isinstance(at, dict) else rng.randrange(len(at))
            if isinstance(at[key], (dict, list)) and at[key] and rng.random() < 0.85:
                at = at[key]
                continue
            change = rng.random()
            if change < 0.15:
                del at[key]
            elif change < 0.3 and isinstance(at, dict):
                at[
                    rng.choice(("../x", "a/../../b", "", "x" * 300, HTML, "levels/a", "train/z"))
                ] = copy.deepcopy(at[key])
            elif change < 0.5 and isinstance(at[key], int):
                at[key] = at[key] * rng.choice((2, 16, 1000)) + rng.choice((-1, 0, 1))
            else:
                at[key] = copy.deepcopy(rng.choice(ODD))
            break
    (path / "zarr.json").write_text(json.dumps(document))


def mutate_bytes(path: Path, rng: random.Random) -> None:
    """Change bytes of a file: flip, insert, repeat, cut."""
    files = [p for p in path.rglob("*") if p.is_file()]
    file = rng.choice((path / "zarr.json", *rng.sample(files, min(4, len(files)))))
    data = bytearray(file.read_bytes())
    for _ in range(rng.choice((1, 3, 20))):
        at = rng.randrange(len(data) + 1)
        match rng.randrange(4):
            case 0 if data:
                data[at % len(data)] = rng.randrange(256)
            case 1:
                data[at:at] = rng.randbytes(rng.choice((1, 8, 100)))
            case 2:
                data[at:at] = data[at : at + 50]
            case _:
                del data[at : at + rng.choice((1, 8, 100))]
    file.write_bytes(data)


def mutate_sealed(path: Path, rng: random.Random) -> None:
    """Change a chunk and make its checksums right again, as only an attacker does."""
    file = rng.choice(sorted(p for p in path.rglob("*") if p.is_file() and "c" in p.parts))
    data = bytearray(file.read_bytes())
    node = json.loads((path / "zarr.json").read_text())["consolidated_metadata"]["metadata"]
    entry = node[file.relative_to(path).as_posix().partition("/c/")[0]]
    where = rng.choice((range(16), range(len(data))))
    if entry["codecs"][0]["name"] != "sharding_indexed":
        for _ in range(rng.choice((1, 3))):
            data[rng.choice(where) % len(data)] = rng.randrange(256)
        data[-4:] = crc32c(bytes(data[:-4]))
    else:
        n = entry["shape"][0]
        table = 16 * n + 4
        start = len(data) - table
        index = list(struct.unpack_from(f"<{2 * n}Q", data, start))
        if rng.random() < 0.5:
            index[rng.randrange(2 * n)] = rng.choice(
                (0, 1, start, len(data), 2**63, 2**64 - 1, 2**32)
            )
        else:
            at = rng.randrange(n)
            begin, end = index[2 * at], index[2 * at] + index[2 * at + 1]
            data[begin + rng.choice(where) % max(1, end - begin - 4)] = rng.randrange(256)
            data[end - 4 : end] = crc32c(bytes(data[begin : end - 4]))
        data[start:-4] = struct.pack(f"<{2 * n}Q", *index)
        data[-4:] = crc32c(bytes(data[start:-4]))
    file.write_bytes(data)


def mutate_names(path: Path, rng: random.Random) -> None:
    """Change a list of names before it is packed: counts and lengths that a decoder believes."""
    node = json.loads((path / "zarr.json").read_text())["consolidated_metadata"]["metadata"]
    lists = [name for name, entry in node.items() if entry.get("data_type") == "string"]
    file = path / rng.choice(lists) / "c" / "0"
    raw = bytearray(Blosc().decode(file.read_bytes()[:-4]))
    for _ in range(rng.choice((1, 3))):
        raw[rng.choice((rng.randrange(8), rng.randrange(len(raw)))) % len(raw)] = rng.randrange(256)
    packed = bytes(Blosc(cname="zstd", typesize=1).encode(bytes(raw)))
    file.write_bytes(packed + crc32c(packed))


def replace_file(path: Path, rng: random.Random) -> None:
    """Put a link, a pipe, a folder or something huge in a file's place."""
    files = sorted(p for p in path.rglob("*") if p.is_file())
    file = rng.choice((path / "zarr.json", rng.choice(files), rng.choice(files)))
    secret = path.parents[1] / "secret"
    kind = rng.choice(("link", "zero", "folder link", "pipe", "folder", "huge", "lock", "empty"))
    if kind == "folder link":
        folder = rng.choice((path / "train", path / "train/count", path / "layer"))
        shutil.rmtree(folder)
        folder.symlink_to(secret / folder.relative_to(path))
        return
    if kind == "lock":
        file = path / ".actrace.lock"
    file.unlink(missing_ok=True)
    if kind in ("link", "lock"):
        file.symlink_to(secret / file.relative_to(path))
    elif kind == "zero":
        file.symlink_to("/dev/zero")
    elif kind == "pipe":
        os.mkfifo(file)
    elif kind == "folder":
        file.mkdir()
    elif kind == "huge":
        with open(file, "wb") as sparse:
            sparse.truncate(2**36)
    else:
        file.touch()


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    document = json.loads((path / "zarr.json").read_text())
    change(document)
    (path / "zarr.json").write_text(json.dumps(document))


def names_chunk(raw: bytes) -> bytes:
    packed: bytes = Blosc(cname="zstd", clevel=9).encode(raw)
    return packed + crc32c(packed)


def _set(path: Path, **attributes: Any) -> None:
    edit(path, lambda document: document["attributes"].update(attributes))


def _node(path: Path, name: str, **fields: Any) -> None:
    edit(path, lambda document: nodes_of(document)[name].update(fields))


def _long_shape(path: Path, n: int, chunk: int | None = None) -> None:
    def change(document: dict[str, Any]) -> None:
        for node in nodes_of(document).values():
            if "batch" in (node.get("dimension_names") or ()):
                node["shape"][-1] = n
                if chunk:
                    node["chunk_grid"]["configuration"]["chunk_shape"][-1] = chunk

    edit(path, change)


def _many_names(path: Path, name: bytes, n: int) -> None:
    piece = struct.pack("<I", len(name)) + name
    (path / "layer/c/0").write_bytes(names_chunk(struct.pack("<I", n) + piece * n))


def _one_long_name(path: Path) -> None:
    """Three names of which one has megabytes: an array of equal cells would be as long for each."""
    names = [b"x" * 2**25, b"y", b"z"]
    raw = struct.pack("<I", 3) + b"".join(struct.pack("<I", len(n)) + n for n in names)
    (path / "layer/c/0").write_bytes(names_chunk(raw))


def _deep_groups(path: Path) -> None:
    def change(document: dict[str, Any]) -> None:
        for depth in range(1, 200):
            nodes_of(document)["/".join(["train", *["a"] * depth])] = {
                "zarr_format": 3, "node_type": "group", "attributes": {},
            }  # fmt: skip

    edit(path, change)


def _big_chunk(path: Path) -> None:
    """A chunk as large as one may be, packed into a few kilobytes."""
    n = 2**26
    _node(path, "train/lr", shape=[12])
    document = json.loads((path / "zarr.json").read_text())
    node = nodes_of(document)["train/lr"]
    node["chunk_grid"]["configuration"]["chunk_shape"] = [n // 2]
    (path / "zarr.json").write_text(json.dumps(document))
    (path / "train/lr/c/0").write_bytes(names_chunk(bytes(n * 4)))


CORPUS: tuple[Callable[[Path], object], ...] = (
    lambda path: _node(path, "train/mean", codecs=[{"name": "numcodecs.pickle"}]),
    lambda path: _node(path, "train/mean", codecs=[{"name": "pickle"}, {"name": "crc32c"}]),
    lambda path: _node(path, "train/mean", data_type="object"),
    lambda path: _node(path, "layer", data_type={"name": "variable_length_bytes"}),
    lambda path: _node(path, "train/mean", storage_transformers=[{"name": "x"}]),
    lambda path: edit(path, lambda d: nodes_of(d).update({"../x": nodes_of(d)["layer"]})),
    lambda path: edit(path, lambda d: nodes_of(d).update({"/etc/x": nodes_of(d)["layer"]})),
    lambda path: edit(path, lambda d: nodes_of(d).update({"train/..": nodes_of(d)["train"]})),
    lambda path: _long_shape(path, 2**31),
    lambda path: _long_shape(path, 2**40),
    lambda path: _long_shape(path, 2**62),
    lambda path: _long_shape(path, 2**40, 2**20),
    lambda path: _long_shape(path, 2**26),
    lambda path: _many_names(path, b"", 2**24 - 1),
    lambda path: _many_names(path, b"x" * 100, 3),
    _one_long_name,
    _deep_groups,
    _big_chunk,
    lambda path: (path / "zarr.json").write_text("[" * 10**6),
    lambda path: (path / "zarr.json").write_text('{"attributes":' * 10**5),
    lambda path: (path / "zarr.json").write_text("1" * 10**6),
    lambda path: _set(path, actrace_schema=10**30),
    lambda path: _set(path, axis={"kind": "edges", "edges": list(range(100_000))}),
    lambda path: _set(path, config={"a": HTML, HTML: "\x1b[2J\u202e"}, tags=[HTML, "\x1b]0;x\x07"]),
    lambda path: _set(path, config={"a": json.loads("[" * 500 + "]" * 500)}),
    lambda path: _set(path, coordinates="../../secret layer", host=HTML, status=HTML),
    lambda path: _set(path, phases=["../x", HTML, "train", 3, None], lost_batches={HTML: -1}),
    lambda path: _set(path, phases={"a": 1}, lost_batches=[1], skipped=3, coverage="x"),
    lambda path: _set(path, started="0001-01-01", ended="9999-12-31T23:59:59+23:59"),
    lambda path: _set(path, damaged={"train/count": [[0, 2**61, list(range(1000))]], "x": [[1]]}),
    lambda path: _set(path, rank=-1, world_size=10**18, lost_batches={"train": "many"}),
    lambda path: _many_names(path, HTML.encode() + b"\x1b[2J", 3),
    lambda path: _node(path, "train/step", attributes={"units": "days since 0001-01-01"}),
    lambda path: _node(path, "train/mean", attributes={"scale_factor": "x", "add_offset": []}),
    lambda path: _node(path, "train/mean", attributes={"dtype": "bool", "_FillValue": "AAAA"}),
    lambda path: _node(path, "train/mean", fill_value="x" * 10**6),
    lambda path: _node(path, "train/mean", fill_value={"a": 1}),
)


def read(path: Path) -> None:
    """Open a run and read what is not large of every array, and all that it says of itself."""
    run = actrace.open(path)
    try:
        said = repr(run) + run._repr_html_()
        assert "\x1b" not in said
        assert "<script>" not in run._repr_html_()
        for group in run.subtree:
            read_values(group.to_dataset(inherit=False))
        for phase in run.phases:
            for factor in run.levels(phase):
                read_values(run.at_level(phase, factor))
    finally:
        run.close()


def read_values(data: xr.Dataset) -> None:
    for variable in data.variables.values():
        if variable.size <= LARGE:
            np.asarray(variable.values)
        elif all(variable.shape):
            np.asarray(variable[tuple(slice(0, 2) for _ in variable.shape)].values)


def quietly(arguments: list[str]) -> None:
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(out):
        command(arguments)
    assert "\x1b" not in out.getvalue()


def repair(path: Path) -> None:
    report = actrace.repair(path, path.parent / "out" / "b")
    repr(report)


ACTIONS: dict[str, Callable[[Path], object]] = {
    "open": read,
    "check": lambda path: repr(actrace.check(path)),
    "repair": repair,
    "list": lambda path: list_runs(path.parent),
    "info": lambda path: quietly(["info", str(path), "--layers"]),
}


def try_all(path: Path, what: str, seen: Counter[str], wrong: list[str]) -> None:
    for name, action in ACTIONS.items():
        try:
            action(path)
        except ActraceError:
            seen["a clear error"] += 1
        except Exception as error:
            wrong.append(f"{name} of {what}: {type(error).__name__}: {str(error)[:300]}")
        else:
            seen["an answer"] += 1


def size_now() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def main(folder: Path, cases: int, seed: int) -> None:
    warnings.simplefilter("ignore")
    faulthandler.enable()
    source = folder / "source.zarr"
    secret, runs = folder / "secret", folder / "runs"
    shutil.copytree(source, secret)
    runs.mkdir()
    path = runs / "a.zarr"
    seen: Counter[str] = Counter()
    wrong: list[str] = []
    # Once as it is, so that everything is imported.
    shutil.copytree(source, path)
    try_all(path, "a whole run", seen, wrong)
    shutil.rmtree(runs / "out", ignore_errors=True)
    shutil.rmtree(path)
    watch = Watch(folder)
    sys.addaudithook(watch)
    resource.setrlimit(resource.RLIMIT_AS, (size_now() + MEMORY, resource.RLIM_INFINITY))
    rng = random.Random(seed)
    mutations = (
        mutate_document,
        mutate_document,
        mutate_bytes,
        mutate_sealed,
        mutate_names,
        replace_file,
    )
    for case in range(cases):
        shutil.copytree(source, path)
        if case < len(CORPUS):
            what = f"corpus {case}"
            CORPUS[case](path)
        else:
            mutation = rng.choice(mutations)
            what = f"case {case} ({mutation.__name__})"
            mutation(path, rng)
        # A case that hangs says where.
        faulthandler.dump_traceback_later(60, exit=True)
        began = time.monotonic()
        watch.on = True
        before = len(watch.broken)
        try_all(path, what, seen, wrong)
        watch.on = False
        faulthandler.cancel_dump_traceback_later()
        if time.monotonic() - began > 10:
            print(f"{what} took {time.monotonic() - began:.0f} s", file=sys.stderr)
        wrong += [f"{what}: {text}" for text in watch.broken[before:]]
        shutil.rmtree(runs / "out", ignore_errors=True)
        shutil.rmtree(path, ignore_errors=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"seen": seen, "wrong": wrong, "peak": peak}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))

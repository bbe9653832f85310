"""A power cut at any moment, replayed: what the device may lose is lost, in any combination.

Every write, rename and flush of a writer is recorded. A state after a cut holds,
for each file, some version from the last one that was flushed in file and
directory onward; contents never flushed may be whole, empty or zeros. After
Pillai et al., "All File Systems Are Not Created Equal", OSDI 2014.
"""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.store import recording as rec

from actrace.errors import DamagedRunError, NotARunError
from actrace.store import files as files_module
from actrace.store.reader import open_run

CUTS = 60
LONG = 5_000


class Recorder:
    """Stands in for `os` in the module that writes files."""

    def __init__(self) -> None:
        self.operations: list[tuple[str, str, bytes]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def fsync(self, descriptor: int) -> None:
        self.operations.append(("flush", os.readlink(f"/proc/self/fd/{descriptor}"), b""))
        os.fsync(descriptor)

    def replace(self, source: str, target: str) -> None:
        self.operations.append(("rename", f"{source}\n{target}", Path(source).read_bytes()))
        os.replace(source, target)


def state_after_cut(
    operations: list[tuple[str, str, bytes]], start: Path, target: Path, rng: random.Random
) -> None:
    """Build in `target` one state that the device may be left in."""
    # Path -> versions of it, each (content, content flushed, entry flushed).
    versions: dict[str, list[list[Any]]] = {}
    flushed: set[str] = set()
    for kind, path, content in operations:
        if kind == "flush" and path in {os.path.dirname(name) for name in versions}:
            for name, found in versions.items():
                if os.path.dirname(name) == path:
                    found[-1][2] = True
        elif kind == "flush":
            flushed.add(path)
        else:
            source, name = path.split("\n")
            versions.setdefault(name, []).append([content, source in flushed, False])
            flushed.discard(source)
    shutil.copytree(start, target)
    for name, found in versions.items():
        safe = max((at for at, v in enumerate(found) if v[1] and v[2]), default=-1)
        choices: list[bytes | None] = [found[safe][0] if safe >= 0 else None]
        for content, whole, _ in found[safe + 1 :]:
            choices += [content] if whole else [content, b"", bytes(len(content))]
        content = rng.choice(choices)
        if content is not None:
            path = target / os.path.relpath(name, start)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, durability: str) -> Any:
    """Return the run before, the operations after, and (operations, batches) of each commit."""
    monkeypatch.setattr("actrace.store.group.LONGEST_SHARD", 16)
    writer = rec.new_writer(tmp_path / "a", durability=durability)
    writer.commit()
    start = tmp_path / "start" / "a.zarr"
    shutil.copytree(writer.path, start)
    recorder = Recorder()
    monkeypatch.setattr(files_module, "os", recorder)
    commits = [(0, 0)]
    for index in range(40):
        writer.append_batch(rec.batch_row("train", index))
        if index % 8 == 7:
            writer.commit()
            commits.append((len(recorder.operations), index + 1))
    monkeypatch.undo()
    writer.close()
    moved = [
        (kind, path.replace(str(writer.path), str(start)), content)
        for kind, path, content in recorder.operations
    ]
    return start, moved, commits


@pytest.mark.parametrize("durability", ["power", "process"])
def test_a_power_cut_loses_no_commit_with_power_and_never_lies_with_either(
    tmp_path, monkeypatch, durability, repeats, capsys
):
    """With "process" a cut may lose or damage the run; it is then an error, not a wrong value."""
    rng = random.Random(11)
    cuts = CUTS if repeats == 1 else LONG
    start, operations, commits = recorded(tmp_path, monkeypatch, durability)
    found = {"whole": 0, "damaged": 0, "commit lost": 0}
    for cut in range(cuts):
        end = rng.randrange(len(operations) + 1)
        target = tmp_path / "cut" / f"{cut}.zarr"
        state_after_cut(operations[:end], start, target, rng)
        acknowledged = max(n for at, n in commits if at <= end)
        try:
            run = open_run(target)
            n = run.n_batches("train") if run.phases else 0
            if run.phases:
                rec.assert_rows(run["train"], "train", list(range(n)))
            run.close()
        except (DamagedRunError, NotARunError):
            found["damaged"] += 1
        else:
            found["whole" if n >= acknowledged else "commit lost"] += 1
        shutil.rmtree(target)
    with capsys.disabled():
        print(f"\n{cuts} power cuts, durability={durability!r}: {found}")
    if durability == "power":
        assert found["whole"] == cuts
    else:
        # The replay itself is sharp: without the flushes it does find damage.
        assert found["damaged"] > 0

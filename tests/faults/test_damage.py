"""Damaged chunk files: never a wrong value, each one found, every good cell saved.

A bit flipped, a file cut, emptied, filled with zeros or deleted, at random; often
many in one run.
"""

from __future__ import annotations

import random
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from tests.store.checking import sound

import actrace
from actrace.errors import DamagedRunError
from actrace.store.manifest import ArrayEntry, read_manifest

DAMAGED = 200
LONG = 10_000


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        sound.small_chunks(patch)
        sound.early_levels(patch)
        return sound.write_run(tmp_path_factory.mktemp("source") / "a", 60, phases=("train",))


def rows_of(entry: ArrayEntry, index: str) -> tuple[int, int] | None:
    """Return the rows that a chunk file holds, None where its array does not grow."""
    if entry.dims[-1] not in ("batch", "window"):
        return None
    start = int(index.rpartition("/")[2]) * entry.chunk[-1]
    return start, min(start + entry.chunk[-1], entry.shape[-1])


def read_damaged(path: Path, names: set[str], right: dict[str, np.ndarray]) -> dict[str, str]:
    """Return array -> ``"error"`` or ``"harmless"``; a wrong value is an assertion."""
    try:
        run = actrace.open(path)
    except DamagedRunError:
        return dict.fromkeys(names, "error")
    found = {}
    for name in names:
        group, _, variable = name.rpartition("/")
        try:
            if group.startswith("levels/"):
                _, phase, level = group.split("/")
                data = run.at_level(phase, int(level[1:]))
            else:
                data = run[group].to_dataset() if group else run.dataset
            got = data[variable].values
        except DamagedRunError:
            found[name] = "error"
        else:
            np.testing.assert_array_equal(got, right[name], err_msg=name)
            found[name] = "harmless"
    run.close()
    return found


def is_named(report: actrace.CheckReport, entry: ArrayEntry, index: str) -> bool:
    """Return whether a report names the array, and all rows of the file with it."""
    rows = rows_of(entry, index)
    for damage in report.damages:
        if damage.path == entry.path and damage.key:
            if rows is None or damage.rows is None:
                return rows is damage.rows
            if damage.rows[0] <= rows[0] and rows[1] <= damage.rows[1]:
                # Of all but windows the batches are known for certain.
                level = re.match("levels/train/x([0-9]+)/", entry.path)
                factor = int(level[1]) if level else 1
                known = (factor * damage.rows[0], factor * damage.rows[1])
                return damage.phase == "train" and (
                    entry.dims[-1] == "window" or damage.batches == known
                )
    return False


def test_damage_is_never_read_always_found_and_costs_nothing_else(
    source, tmp_path, repeats, capsys
):
    """200 damaged files, or with --long 10,000."""
    rng = random.Random(5)
    right = sound.read_all(source)
    with actrace.open(source) as run:
        level = {f"levels/train/x16/{n}": v.values for n, v in run.at_level("train", 16).items()}
    arrays = read_manifest(source).arrays
    counted = dict.fromkeys((*sound.KINDS, "error", "harmless"), 0)
    target, done, runs, cells, saved = DAMAGED if repeats == 1 else LONG, 0, 0, 0, 0
    while done < target:
        path = shutil.copytree(source, tmp_path / "a.zarr")
        files = rng.sample(sound.chunk_files(path), min(rng.choice((1, 4, 20)), target - done))
        for file in files:
            kind = rng.choice(sound.KINDS)
            sound.damage(file, kind, rng)
            counted[kind] += 1
        report = actrace.check(path)
        keys = [file.relative_to(path).as_posix().partition("/c/") for file in files]
        found = read_damaged(path, {name for name, _, _ in keys}, right | level)
        for name, _, index in keys:
            counted[found[name]] += 1
            assert found[name] == "harmless" or is_named(report, arrays[name], index), (name, index)
        repaired = actrace.repair(path, tmp_path / "b")
        assert repaired.check is not None
        assert repaired.check.whole, repaired.check
        saved += sound.assert_only_lost_differ(sound.read_all(repaired.path), right, repaired)
        cells += sum(values.size for values in right.values())
        shutil.rmtree(path)
        shutil.rmtree(repaired.path)
        done, runs = done + len(files), runs + 1
    with capsys.disabled():
        print(
            f"\n{done} damaged files in {runs} runs: {counted}; 0 wrong values read, 0 not found "
            f"by check; repair saved {saved / cells:.1%} of all cells, each as it was"
        )
    assert counted["error"] > target // 2

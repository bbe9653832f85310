"""A real limit of the file system, met in the middle of a run."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from tests.store import recording as rec

from actrace.store.paths import TEMPORARY
from actrace.store.reader import open_run

ROOT = Path(__file__).parents[2]

LIMITED = """
import resource, signal, sys, warnings
import numpy as np
from actrace.store.rows import BatchRows
from actrace.store.worker import WriterThread
from tests.store import recording as rec

thread = WriterThread(rec.new_writer("a"), flush_seconds=1e9)
for index in range(20):
    thread.call(thread.write_batches, BatchRows.of(rec.batch_row("train", index)))
assert thread.flush()
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
with warnings.catch_warnings(record=True) as seen:
    warnings.simplefilter("always")
    # Shorter than any document, so that every write is cut in its middle.
    resource.setrlimit(resource.RLIMIT_FSIZE, (200, hard))
    for index in range(20, 40):
        thread.call(thread.write_batches, BatchRows.of(rec.batch_row("train", index)))
    assert not thread.flush()
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
assert [str(w.message).count("File too large") for w in seen] == [1], seen
from actrace.store.reader import open_run
assert open_run("a").n_batches("train") == 20
thread.call(thread.write_batches, BatchRows.of(rec.batch_row("train", 40)))
assert thread.flush(), thread.failure
thread.close()
"""

READ_ONLY = """
import os
from actrace.errors import StoreWriteError
from actrace.store.writer import RunWriter
from tests.store import recording as rec

if os.getuid() == 0:
    os.setuid(65534)
for attempt in (lambda: RunWriter.resume("a"), lambda: rec.new_writer("b")):
    try:
        attempt()
    except StoreWriteError as error:
        assert "Permission denied" in str(error) and "check permissions" in str(error), error
    else:
        raise SystemExit("no error")
"""


def python(code: str, folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


def test_a_file_size_limit_costs_a_warning_and_no_batch(tmp_path):
    """RLIMIT_FSIZE cuts every write short; once it is lifted the rows are all there."""
    python(LIMITED, tmp_path)
    run = open_run(tmp_path / "a")
    rec.assert_rows(run["train"], "train", list(range(41)))
    assert run.lost_batches == {}
    assert not list(tmp_path.rglob(f"*{TEMPORARY}"))


def test_a_read_only_place_is_refused_in_words():
    # Beside pytest's folders, which only their owner may enter.
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rec.write_run(folder / "a", 3)
        found = [folder, *folder.rglob("*")]
        for path in found:
            path.chmod(0o555 if path.is_dir() else 0o444)
        try:
            python(READ_ONLY, folder)
        finally:
            for path in found:
                path.chmod(0o755)
        assert open_run(folder / "a").n_batches("train") == 3


@pytest.mark.parametrize("durability", ["process", "power"])
def test_both_durabilities_write_the_same_run(tmp_path, durability):
    path = rec.write_run(tmp_path / durability, 20, durability=durability)
    run = open_run(path)
    rec.assert_rows(run["train"].to_dataset().drop_vars("lr"), "train", list(range(20)))

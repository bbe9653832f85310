"""A folder of small runs to serve, one of them hostile in every name, one damaged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tests.analysis.storing import write
from tests.synthetic import Batch, run_from_samples, synthetic_run

from actrace.store.run import Run

#: Names that would do harm in HTML, in an attribute, in a script, or as a pattern.
HOSTILE = (
    "<script>window.harmed = 1</script>",
    "<img src=x onerror='window.harmed=1'>",
    '"\' onmouseover="window.harmed=1" x=\'',
    "{{ 1 }} ${window.harmed=1} <%= 1 %>",
    "](javascript:window.harmed=1) **b** `c`",
    "$$\\href{javascript:window.harmed=1}{x}$$",
    "</td></table><svg onload=window.harmed=1>\x1b[31m\u202e",
)
#: Name of the run that has them.
EVIL = HOSTILE[1].replace("/", "_")


def hostile_run() -> Run:
    """Return a run all of whose names would do harm where they are not taken as text."""
    rng = np.random.default_rng(0)
    batches = [
        Batch(
            {name: rng.normal(0, 1, (8, 3)) for name in HOSTILE},
            epoch=i // 2,
            target=rng.integers(0, 3, 8),
            loss=1.0,
        )
        for i in range(4)
    ]
    return run_from_samples(
        {"train": batches, "valid": batches},
        classes=HOSTILE[:3],
        kinds=dict.fromkeys(HOSTILE, HOSTILE[1]),
        attributes={
            "status": "finished",
            "tags": list(HOSTILE),
            "note": HOSTILE[0],
            "host": HOSTILE[1],
            "config": {HOSTILE[0]: HOSTILE[1]},
        },
    )


def make_runs(folder: Path) -> None:
    """Make runs below a folder: good, nested/good, an evil one by name and content, a damaged one.

    Two links lead out of it, to ``outside.zarr`` beside it.
    """
    folder.mkdir()
    write(synthetic_run(n_batches=8, n_layers=3), folder / "good.zarr")
    write(synthetic_run(n_batches=8, n_layers=3, rng=1), folder / "nested" / "good.zarr")
    write(hostile_run(), folder / f"{EVIL}.zarr")
    (folder / "damaged.zarr").mkdir()
    (folder / "damaged.zarr" / "zarr.json").write_text('{"attributes":', "utf-8")
    outside = folder.parent / "outside.zarr"
    write(synthetic_run(n_batches=2, n_layers=2), outside)
    (folder / "linked.zarr").symlink_to(outside, target_is_directory=True)
    (folder / "up").symlink_to(folder.parent, target_is_directory=True)

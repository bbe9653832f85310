"""How near the onset of overfitting lies to the least validation loss, on real data.

Usage: python benchmarks/onset --data DIR [--runs DIR] [--only PATTERN]

Trains forty small networks (digits of scikit-learn; of DIR: mnist.npz, cifar10.npz,
movie_reviews_pos.txt and movie_reviews_neg.txt), half of them made to overfit by few
samples or wrong labels, half not, and prints what `actrace.onset` says beside where the
recorded validation loss was lowest. Defaults were chosen on the trainings of even
number; those of odd number are the test. It takes some ten minutes on one core; with
--runs the recordings are kept, and found again by the next call.
"""

from __future__ import annotations

import argparse
import fnmatch
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

if __name__ == "__main__" and not __package__:
    # Started as `python benchmarks/onset`: the modules are found from the checkout.
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from benchmarks.onset.learn import FILES, Data, load, train
from benchmarks.onset.trainings import OVERFIT, WELL, Training

import actrace


@dataclass(frozen=True, slots=True)
class Row:
    """What one training's losses and its onset say."""

    name: str
    overfits: bool
    test: bool
    epochs: int
    least: int
    rise: float
    onset: int | None
    off: float

    @property
    def right(self) -> bool:
        """An onset within two epochs of the least loss, or none where none is due."""
        if self.onset is None:
            return not self.overfits
        return self.overfits and abs(self.onset - self.least) <= 2


def judge(training: Training, path: Path, *, overfits: bool, test: bool) -> Row:
    """Return a training's row; `off` is how far the error lies from the validation loss."""
    found = actrace.onset(actrace.open(path))
    valid = found.series.sel(phase="valid")
    loss, error = valid["loss"].to_numpy(), valid["error"].to_numpy()
    return Row(
        training.name,
        overfits,
        test,
        training.epochs,
        int(loss.argmin()),
        float(loss[-1] / loss.min()),
        found.epoch,
        float(np.abs(error / loss - 1).mean()),
    )


def print_rows(rows: list[Row]) -> None:
    """Print the table, and what of it was right."""
    print("| training | set | epochs | least loss in | last / least | onset | error off by | |")
    print("|---|---|---|---|---|---|---|---|")
    for row in rows:
        print(
            f"| {row.name} | {'test' if row.test else 'choice'} | {row.epochs} | {row.least} | "
            f"{row.rise:.2f} | {'none' if row.onset is None else row.onset} | "
            f"{100 * row.off:.0f} % | {'' if row.right else 'wrong'} |"
        )
    print()
    for overfits, what in ((True, "onset within two epochs of the least loss"), (False, "none")):
        for test in (False, True):
            some = [row for row in rows if (row.overfits, row.test) == (overfits, test)]
            print(
                f"{'made to overfit' if overfits else 'healthy'}, {'test' if test else 'choice'}: "
                f"{what} in {sum(row.right for row in some)} of {len(some)}"
            )
    if rows:
        off = np.median([row.off for row in rows])
        print(f"error of the outputs off the recorded loss by {100 * off:.1f} % in the median")


def main() -> None:
    """Train what is not there yet, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--runs", type=Path, help="where recordings are kept between calls")
    parser.add_argument("--only", default="*", help="trainings whose name fits this pattern")
    args = parser.parse_args()
    missing = [name for name in FILES if not (args.data / name).is_file()]
    if missing:
        sys.exit(f"{args.data} has no {', '.join(missing)}: give the folder of all by --data DIR")
    torch.set_num_threads(1)
    sets: dict[str, Data] = {}
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = args.runs or Path(scratch)
        for overfits, group in ((True, OVERFIT), (False, WELL)):
            for number, training in enumerate(group):
                if not fnmatch.fnmatch(training.name, args.only):
                    continue
                path = folder / f"{'over' if overfits else 'well'}-{number}.zarr"
                if not path.exists():
                    if training.data not in sets:
                        sets[training.data] = load(training.data, args.data)
                    train(training, sets[training.data], path)
                rows.append(judge(training, path, overfits=overfits, test=number % 2 == 1))
                print(f"{len(rows)}. {training.name}", file=sys.stderr, flush=True)
    print_rows(rows)


if __name__ == "__main__":
    main()

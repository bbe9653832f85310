"""How big a run is: bytes a batch and layer of real recorded trainings.

Usage: python benchmarks/size.py [--epochs N]

Records the demo's good training and prints, for each variable group, what it
takes on disk beside what it would take raw.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import defaultdict
from pathlib import Path

import actrace
from actrace.demo import train


def group_of(file: Path, run: Path) -> str:
    """Return the part of a run that a file belongs to, as the table names it."""
    parts = file.relative_to(run).parts
    if len(parts) > 2 and parts[1] in ("output", "unit"):
        return f"/<phase>/{parts[1]}"
    if "count" in parts:
        return "/<phase>/count"
    return "metadata" if parts[-1] == "zarr.json" or len(parts) < 3 else "/<phase>, the rest"


def main() -> None:
    """Record, measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--epochs", type=int, default=40, help="epochs (default: 40)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = train(Path(folder) / "run", 0.05, epochs=args.epochs)
        sizes: dict[str, int] = defaultdict(int)
        for file in path.rglob("*"):
            if file.is_file():
                sizes[group_of(file, path)] += file.stat().st_size
        n_files = sum(1 for file in path.rglob("*") if file.is_file())
        run = actrace.open(path)
        n_layers, n_bins = run.sizes["layer"], run.sizes["bin"]
        n_batches = sum(run[phase].sizes["batch"] for phase in run.phases)
        raw = n_batches * n_layers * n_bins * 4
        print(
            f"{n_layers} layers, {n_bins} bins, {n_batches:,} batches, "
            f"{sum(sizes.values()) / 1e6:.1f} MB in {n_files} files\n"
        )
        print("| part | on disk | bytes a layer and batch |\n|---|---|---|")
        for name, size in sorted(sizes.items(), key=lambda item: -item[1]):
            print(f"| `{name}` | {size / 1e6:.2f} MB | {size / n_batches / n_layers:.0f} |")
        print(
            f"\ncounts: {raw / 1e6:.0f} MB raw, {raw / sizes['/<phase>/count']:.0f} times smaller"
        )


if __name__ == "__main__":
    main()

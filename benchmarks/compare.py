"""Whether `actrace.compare` tells runs apart that should be, and what a hundred of them take.

Usage: python benchmarks/compare.py [--seeds N] [--runs N] [--directory DIR]

First part: small networks learn scikit-learn's digits from several seeds, and again
with a learning rate ten times as high or low, weights begun three times as large or
small, and another optimizer. Every run is held against runs of the plain config, with
and without seeds as the noise. The defaults of `compare` were chosen on the first two
networks; the others are what they are tried on.

Second part: generated runs of 20,000 batches and 20 layers, four different ones and
links to them, compared at once from their levels.
"""

from __future__ import annotations

import argparse
import itertools
import os
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

import actrace
from actrace.demo import load_digits

if __name__ == "__main__":  # so that its neighbours can be imported
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks.store.generate import Plan, write_run

EPOCHS, BATCH = 8, 64


@dataclass(frozen=True, slots=True)
class Change:
    """What a training does otherwise than the plain one.

    Attributes
    ----------
    rate, scale : float
        Factors of the learning rate and of the weights that it begins with.
    adam : bool
    """

    rate: float = 1.0
    scale: float = 1.0
    adam: bool = False


CHANGES = {
    "the same config": Change(),
    "learning rate x 10": Change(rate=10.0),
    "learning rate / 10": Change(rate=0.1),
    "weights begun x 3": Change(scale=3.0),
    "weights begun / 3": Change(scale=1 / 3),
    "Adam": Change(adam=True),
    "learning rate x 2": Change(rate=2.0),
}


def _mlp(act: Callable[[], nn.Module]) -> nn.Sequential:
    widths = (nn.Linear(64, 64), act(), nn.Linear(64, 32), act(), nn.Linear(32, 10))
    return nn.Sequential(nn.Flatten(), *widths)


def _conv(norm: bool) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after, stride in ((1, 8, 1), (8, 16, 2)):
        layers.append(nn.Conv2d(before, after, 3, padding=1, stride=stride))
        layers += [nn.BatchNorm2d(after)] if norm else []
        layers.append(nn.ReLU())
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(256, 10))


#: Name -> network, learning rate, and whether the defaults were chosen on it.
NETWORKS: dict[str, tuple[Callable[[], nn.Sequential], float, bool]] = {
    "MLP": (lambda: _mlp(nn.ReLU), 0.05, True),
    "ConvNet": (lambda: _conv(norm=False), 0.03, True),
    "ConvNet, BatchNorm": (lambda: _conv(norm=True), 0.05, False),
    "MLP, tanh": (lambda: _mlp(nn.Tanh), 0.05, False),
}


def train(path: Path, network: str, change: Change, seed: int) -> Path:
    """Train and record one network, and return its run."""
    make, rate, _ = NETWORKS[network]
    torch.manual_seed(seed)
    model, loss_fn = make(), nn.CrossEntropyLoss()
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.data.mul_(change.scale)
    optimizer: torch.optim.Optimizer
    if change.adam:
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    else:
        optimizer = torch.optim.SGD(model.parameters(), lr=rate * change.rate, momentum=0.9)
    (x, y), (valid_x, valid_y) = (part.tensors for part in load_digits())
    config = {"network": network, "change": str(change), "seed": seed}
    with actrace.record(model, path, criterion=loss_fn, config=config) as recorder:
        for _ in range(EPOCHS):
            model.train()
            for batch in torch.randperm(len(x)).split(BATCH):
                optimizer.zero_grad()
                loss_fn(model(x[batch]), y[batch]).backward()
                optimizer.step()
            model.eval()
            with torch.no_grad():
                loss_fn(model(valid_x), valid_y)
    return recorder.path


def pairs(
    folder: Path, network: str, seeds: int
) -> Iterator[tuple[str, actrace.Run, actrace.Run, list[actrace.Run]]]:
    """Yield what was changed, baseline, run, and other seeds of the baseline's config."""
    plain = [
        actrace.open(train(folder / f"plain-{seed}", network, Change(), seed))
        for seed in range(seeds + 2)
    ]
    for name, change in CHANGES.items():
        if name == "the same config":
            for i, j in itertools.combinations(range(len(plain)), 2):
                rest = [run for k, run in enumerate(plain) if k not in (i, j)]
                yield name, plain[i], plain[j], rest[: seeds - 1]
            continue
        for seed in range(seeds):
            path = folder / f"{name.replace('/', 'by')}-{seed}"
            other = actrace.open(train(path, network, change, 1000 + seed))
            yield name, plain[seed], other, [*plain[:seed], *plain[seed + 1 :]][: seeds - 1]
            other.close()


def tell_apart(folder: Path, seeds: int) -> None:
    """Print how many pairs part, by network and change."""
    print(f"`compare` of trainings on digits, {EPOCHS} epochs, {seeds} seeds a change")
    print("\n| network | changed | pairs | parted | with seeds as noise | median step |")
    print("|---|---|---|---|---|---|")
    for network, (_, _, chosen_on) in NETWORKS.items():
        found: dict[str, list[tuple[bool, bool, float]]] = {}
        for name, baseline, run, rest in pairs(folder / network, network, seeds):
            runs = {"baseline": baseline, "run": run}
            alone, known = (actrace.compare(runs, noise=noise).parts[0] for noise in (None, rest))
            found.setdefault(name, []).append((alone.parted, known.parted, alone.at))
        for name, results in found.items():
            n = len(results)
            steps = sorted(at for parted, _, at in results if parted)
            step = f"{steps[len(steps) // 2]:.0f}" if steps else "-"
            where = network + (" (chosen on)" if chosen_on else "")
            parted, known = (sum(result[k] for result in results) for k in (0, 1))
            print(f"| {where} | {name} | {n} | {parted} | {known} | {step} |", flush=True)


def at_once(folder: Path, runs: int) -> None:
    """Print what comparing many runs at once takes."""
    plan = Plan(batches=20_000, layers=20)
    made = [
        write_run(folder / f"made-{seed}", Plan(plan.batches, plan.layers, seed=seed))
        for seed in range(min(4, runs))
    ]
    paths = {}
    for i in range(runs):
        paths[f"run-{i}"] = folder / f"run-{i}.zarr"
        shutil.copytree(made[i % len(made)], paths[f"run-{i}"], copy_function=os.link)
    wall, spent = time.perf_counter(), time.process_time()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    data = actrace.compare(paths).load()
    wall, spent = time.perf_counter() - wall, time.process_time() - spent
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        f"\n{runs} runs of {plan.batches:,} batches, {plan.layers} layers and {plan.bins} bins, "
        f"in {data.sizes['position']} positions, columns of {data.attrs['batches_a_column'][0]} "
        f"batches:\n{spent:.1f} s of processor time, {wall:.1f} s on the clock, "
        f"{(after - before) / 1024:.0f} MB more than before"
    )


def main() -> None:
    """Measure both and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--seeds", type=int, default=5, help="seeds a change (default: 5)")
    parser.add_argument("--runs", type=int, default=100, help="runs at once (default: 100)")
    parser.add_argument("--directory", type=Path, help="where the runs go (default: a temporary)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.directory or Path(temporary)
        if args.seeds:
            tell_apart(folder / "digits", args.seeds)
        if args.runs:
            at_once(folder / "generated", args.runs)


if __name__ == "__main__":
    main()

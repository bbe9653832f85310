"""What each way of recording costs: ratios to the bare step, measured side by side.

Usage: python benchmarks/modes.py [--blocks N] [--steps N] [--threads N]

One small residual network, whose step is short, so that the fixed cost of a
batch shows. The ways to record eagerly are held against the bare step, and a
recorded compiled model against the same compiled and not recorded.
"""

from __future__ import annotations

import argparse
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from overhead import Variant, about, bare, measure
from torch import nn

import actrace

MODEL = "residual net, 16 channels, 8 x 8"


def with_settings(**settings: Any) -> Variant:
    """Return the variant that records with these settings."""

    def attach(model: nn.Module, loss_fn: nn.Module, path: Path) -> AbstractContextManager[object]:
        return actrace.record(model, path, criterion=loss_fn, **settings)

    return attach


def compiled(attach: Variant) -> Variant:
    """Return the variant with the model compiled."""

    def both(model: nn.Module, loss_fn: nn.Module, path: Path) -> AbstractContextManager[object]:
        model.compile(fullgraph=True)
        return attach(model, loss_fn, path)

    return both


EAGER: dict[str, Variant] = {
    "bare": bare,
    "every batch": with_settings(),
    "`schedule=every(100)`": with_settings(schedule=actrace.every(100)),
    "`schedule=between(10**9, 10**9 + 1)`: all left out": with_settings(
        schedule=actrace.between(10**9, 10**9 + 1)
    ),
    "`gradients=True`": with_settings(gradients=True),
    '`gradients="outputs"`': with_settings(gradients="outputs"),
    "`functional=True`": with_settings(functional=True),
}
COMPILED: dict[str, Variant] = {
    "compiled, bare": compiled(bare),
    "compiled, every batch": compiled(with_settings()),
    "compiled, `schedule=every(100)`": compiled(with_settings(schedule=actrace.every(100))),
}


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--blocks", type=int, default=25, help="rounds (default: 25)")
    parser.add_argument("--steps", type=int, default=20, help="steps a block (default: 20)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    about(args)
    for variants in (EAGER, COMPILED):
        for row in measure(MODEL, args.blocks, args.steps, variants):
            print(row, flush=True)


if __name__ == "__main__":
    main()

"""What one pass over an activation costs: nanoseconds an element, on one thread.

Usage: python benchmarks/kernels.py [--elements N] [--rounds N]

Each kernel and `torch.histc`, which counts alone, read the same tensors in turn;
the median of the rounds is printed, for a normal activation and for one after a
ReLU (half of it zeros), read as 64 samples of 32 channels.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable

import torch

from actrace.capture.kernels.select import make_kernel
from actrace.capture.kernels.slots import Slot
from actrace.store.axis import Asinh

SAMPLES, CHANNELS = 64, 32


def seconds(call: Callable[[], object]) -> float:
    """Return how long one call takes."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def main() -> None:
    """Measure every kernel and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--elements", type=int, default=2**20, help="default: 2**20")
    parser.add_argument("--rounds", type=int, default=30, help="default: 30")
    args = parser.parse_args()
    torch.set_num_threads(1)
    axis = Asinh()
    shape = (SAMPLES, 1, CHANNELS, args.elements // (SAMPLES * CHANNELS))
    n = shape[0] * shape[2] * shape[3]
    torch.manual_seed(0)
    normal = torch.randn(n)
    print(
        f"{platform.machine()}, 1 thread, torch {torch.__version__}, {n:,} elements, "
        f"{axis.n_bins} bins, median of {args.rounds} rounds\n"
    )
    print("| kernel | dtype | normal | after a ReLU |\n|---|---|---|---|")
    for dtype in (torch.float32, torch.bfloat16, torch.float16, torch.float64, torch.int64):
        activations = [x.to(dtype) for x in (normal * 3, normal.relu() * 3)]
        calls: dict[str, list[Callable[[], object]]] = {}
        for name in ("numba", "torch"):
            kernel = make_kernel(name, axis, 1e-8)
            kernel.warm_up(dtype)
            slot = Slot.empty(axis.n_bins, CHANNELS)
            calls[name] = [lambda k=kernel, s=slot, x=x: k.add(x, shape, s) for x in activations]
        if dtype in (torch.float32, torch.float64):
            calls["`torch.histc`"] = [
                lambda x=x: torch.histc(x, axis.n_bins, -10, 10) for x in activations
            ]
        times: dict[str, list[list[float]]] = {name: [[], []] for name in calls}
        for _ in range(args.rounds):
            for name, both in calls.items():
                for at, call in enumerate(both):
                    times[name][at].append(seconds(call))
        for name, (plain, relu) in times.items():
            cells = (f"{1e9 * statistics.median(t) / n:.2f} ns" for t in (plain, relu))
            print(f"| {name} | {str(dtype)[6:]} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()

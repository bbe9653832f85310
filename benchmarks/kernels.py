"""What one pass over an activation costs: nanoseconds an element, on one thread.

Usage: python benchmarks/kernels.py [--elements N] [--rounds N]

Everything reads the same tensors in turn, so that what else the machine does meets
all alike; the least of the rounds is printed, and how many times the C++ reference
(`fused.cpp`, compiled here if a compiler is found) or else the float32 kernel it is.
A normal activation and one after a ReLU (half of it zeros) are read as 64 samples of
32 channels; then come layouts, values that need care, small calls, and what others do.
"""

from __future__ import annotations

import argparse
import ctypes
import platform
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

from actrace.capture.kernels.sampling import Sampling
from actrace.capture.kernels.select import Kernel, make_kernel
from actrace.capture.kernels.slots import Shape, Slot
from actrace.capture.kernels.tables import bin_table
from actrace.store.axis import Asinh

Call = Callable[[], object]
#: (what, elements, call)
Row = tuple[str, int, Call]
CHANNELS = 32
THRESHOLD = 1e-8
AXIS = Asinh()
#: What calls hold only the address of.
kept: list[object] = []


def bound(kernel: Kernel, x: torch.Tensor, shape: Shape, sampling: Sampling | None = None) -> Call:
    """Return a call that adds `x` by a plan, as a hook does."""
    kernel.warm_up(x.dtype)
    slot = Slot.empty(AXIS.n_bins, shape[2])
    plan = kernel.bind(x.dtype, shape, slot, sampling)
    run, address = plan.run, plan.address
    kept.append(plan)
    return lambda: run(x.data_ptr(), address, 0)


def compiled_reference(folder: str) -> Callable[[torch.Tensor, Shape], Call] | None:
    """Return what makes a call of the C++ reference, None without a compiler."""
    compiler = next((c for c in ("g++", "clang++") if shutil.which(c)), None)
    if compiler is None:
        return None
    library = str(Path(folder) / "fused.so")
    source = str(Path(__file__).with_name("fused.cpp"))
    flags = ["-O3", "-march=native", "-ffast-math", "-shared", "-fPIC", "-o", library]
    subprocess.run([compiler, *flags, source], check=True)
    function = ctypes.CDLL(library).fused
    pointer, integer = ctypes.c_void_p, ctypes.c_int64
    function.argtypes = [pointer, *[integer] * 3, pointer, ctypes.c_float, pointer, integer]
    function.argtypes += [pointer, pointer]
    function.restype = None
    packed = bin_table(AXIS.edges).packed

    def make(x: torch.Tensor, shape: Shape) -> Call:
        samples, _, units, inner = shape
        h = np.zeros((4, 2 * AXIS.n_bins + 6), np.uint32)
        sums, active = np.zeros(5), np.zeros(units, np.int64)
        arrays = (packed, h, sums, active)
        kept.append(arrays)
        at = [array.ctypes.data for array in arrays]
        return lambda: function(
            x.data_ptr(), samples, units, inner, at[0], THRESHOLD, at[1], h.shape[1], at[2], at[3]
        )

    return make


def eager_moments(x: torch.Tensor) -> Call:
    """Return eight operations that a hook written by hand would call."""
    return lambda: (
        x.mean(), x.std(), x.min(), x.max(), x.norm(),
        (x == 0).sum(), x.isnan().any(), (x.abs() > THRESHOLD).sum(),
    )  # fmt: skip


def peers(x: torch.Tensor) -> list[Row]:
    """Return what others do for the histogram, or for the moments, alone."""
    n, bins = x.numel(), AXIS.n_bins
    edges = torch.tensor(AXIS.edges, dtype=torch.float32)
    array = x.numpy()
    rows: list[Row] = [
        ("`torch.histc`", n, lambda: torch.histc(x, bins, -10, 10)),
        ("`torch.histogram`, range", n, lambda: torch.histogram(x, bins, range=(-10.0, 10.0))),
        ("`torch.histogram`, edges", n, lambda: torch.histogram(x, edges)),
        (
            "`torch.bucketize` and `bincount`",
            n,
            lambda: torch.bincount(torch.bucketize(x, edges), minlength=bins + 2),
        ),
        ("eight eager moments and flags", n, eager_moments(x)),
    ]
    if find_spec("boost_histogram") is not None:
        import boost_histogram

        filled = boost_histogram.Histogram(boost_histogram.axis.Regular(bins, -10, 10))
        rows.append(("boost-histogram", n, lambda: filled.fill(array)))
    if find_spec("fast_histogram") is not None:
        import fast_histogram

        rows.append(
            ("fast-histogram", n, lambda: fast_histogram.histogram1d(array, bins, (-10, 10)))
        )
    return rows


def table(normal: torch.Tensor, relu: torch.Tensor, make: Any) -> dict[str, list[Row]]:
    """Return the rows of each part of the table."""
    numba, plain = make_kernel("numba", AXIS, THRESHOLD), make_kernel("torch", AXIS, THRESHOLD)
    n = normal.numel()
    shape: Shape = (64, 1, CHANNELS, n // 64 // CHANNELS)
    parts: dict[str, list[Row]] = {}
    for name, x in (("normal", normal), ("after a ReLU", relu)):
        rows: list[Row] = [("reading once (`sum`)", n, lambda x=x: x.sum())]
        if make is not None:
            rows.append(("C++", n, make(x, shape)))
        rows.append(("numba, exact", n, bound(numba, x, shape)))
        for mode in ("histogram", "all"):
            for stride in (5, 17):
                sampled = bound(numba, x, shape, Sampling(mode, stride))
                rows.append((f"numba, {mode} 1 in {stride}", n, sampled))
        rows += [
            (f"numba, {str(dtype)[6:]}", n, bound(numba, x.to(dtype), shape))
            for dtype in (torch.bfloat16, torch.float16, torch.int8, torch.float64, torch.int64)
        ]
        rows.append(("torch, exact", n, bound(plain, x, shape)))
        rows.append(("torch, bfloat16", n, bound(plain, x.bfloat16(), shape)))
        parts[name] = rows
    layouts: list[Row] = []
    for units, inner in ((64, 196), (512, 49), (512, 16), (10, 1), (128, 1), (768, 1), (4096, 1)):
        samples = n // (units * inner)
        part = relu[: samples * units * inner]
        at: Shape = (samples, 1, units, inner)
        layouts.append((f"{units} units x {inner}", part.numel(), bound(numba, part, at)))
    parts["layouts after a ReLU, numba, exact"] = layouts
    spoilt = normal.clone()
    spoilt[::100] = float("nan")
    parts["values that need care, numba, exact"] = [
        ("mean 5 spreads from 0", n, bound(numba, normal + 15, shape)),
        ("near 1e-20", n, bound(numba, normal * 1e-20, shape)),
        ("near 1e30", n, bound(numba, normal * 1e30, shape)),
        ("1 % NaN", n, bound(numba, spoilt, shape)),
    ]
    parts["what others do, normal"] = peers(normal)
    return parts


def small_calls() -> list[Row]:
    """Return calls on tensors of 640 and 8,192 numbers, and the one that does nothing."""
    rows: list[Row] = []
    x = torch.randn(8192)
    rows.append(("`data_ptr()`", 1, lambda: x.data_ptr()))
    for name in ("numba", "torch"):
        kernel = make_kernel(name, AXIS, THRESHOLD)
        for shape in ((64, 1, 10, 1), (64, 1, 128, 1)):
            n = shape[0] * shape[2]
            slot = Slot.empty(AXIS.n_bins, shape[2])
            rows.append((f"{name}, plan, {n:,} numbers", 1, bound(kernel, x[:n], shape)))
            add = kernel.add
            rows.append(
                (
                    f"{name}, `add`, {n:,} numbers",
                    1,
                    lambda add=add, n=n, shape=shape, slot=slot: add(x[:n], shape, slot),
                )
            )
    return rows


def measure(rows: list[Row], rounds: int, repeats: int = 1) -> list[tuple[str, float]]:
    """Return the least nanoseconds of each row, all taken in turn."""
    times: list[list[float]] = [[] for _ in rows]
    for nth in range(rounds + 1):
        for (_, n, call), taken in zip(rows, times, strict=True):
            began = time.perf_counter()
            for _ in range(repeats):
                call()
            if nth:
                taken.append(1e9 * (time.perf_counter() - began) / n / repeats)
    return [(row[0], min(taken)) for row, taken in zip(rows, times, strict=True)]


def show(title: str, rows: list[tuple[str, float]], unit: str, scale: float = 1.0) -> None:
    """Print a part of the table, with ratios to what it is held against."""
    by_name = dict(rows)
    base_name = next((name for name in ("C++", "numba, exact") if name in by_name), rows[0][0])
    base = by_name[base_name]
    print(f"\n| {title} | {unit} | times {base_name} |\n|---|---|---|")
    for name, value in rows:
        print(f"| {name} | {value * scale:.2f} | {value / base:.2f} |")


def main() -> None:
    """Measure everything and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--elements", type=int, default=2**20, help="default: 2**20")
    parser.add_argument("--rounds", type=int, default=30, help="default: 30")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    n = max(1, args.elements // (64 * CHANNELS)) * 64 * CHANNELS
    normal = torch.randn(n) * 3
    print(
        f"{platform.machine()}, 1 thread, torch {torch.__version__}, {n:,} elements, "
        f"{AXIS.n_bins} bins, least of {args.rounds} rounds"
    )
    with tempfile.TemporaryDirectory() as folder:
        make = compiled_reference(folder)
        for title, rows in table(normal, normal.relu(), make).items():
            show(title, measure(rows, args.rounds), "ns an element")
        show("small calls", measure(small_calls(), args.rounds, 50), "µs a call", 1e-3)


if __name__ == "__main__":
    main()

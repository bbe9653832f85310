"""What recording costs: ratios to the bare training step, measured side by side.

Usage: python benchmarks/overhead.py [--blocks N] [--steps N] [--threads N]

Each variant trains its own copy of the model; blocks of steps are run in turn,
A B C A B C ..., so that the machine's drift hits all alike. Prints machine,
versions, sizes and a Markdown table: median step time, and the ratio to the
bare step as the median over rounds with its quartiles.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import torch
from torch import Tensor, nn

import actrace
from actrace.demo import ResidualNet

Variant = Callable[[nn.Module, nn.Module, Path], AbstractContextManager[object]]


class Mlp(nn.Sequential):
    """64-128-128-10 with ReLU, the smallest thing people train."""

    def __init__(self) -> None:
        super().__init__(
            nn.Flatten(),
            nn.Linear(64, 128),
            nn.ReLU(),
            nn.Linear(128, 128),
            nn.ReLU(),
            nn.Linear(128, 10),
        )


def bare(model: nn.Module, loss_fn: nn.Module, path: Path) -> AbstractContextManager[object]:
    """Train without a recorder."""
    return nullcontext()


def recorded(model: nn.Module, loss_fn: nn.Module, path: Path) -> AbstractContextManager[object]:
    """Record every layer and batch, with labels and loss."""
    return actrace.record(model, path, criterion=loss_fn)


@contextmanager
def histc_hooks(model: nn.Module, loss_fn: nn.Module, path: Path) -> Iterator[None]:
    """Keep what the charts' original keeps: mean, std and `torch.histc` of each layer."""
    kept: list[tuple[Tensor, Tensor, Tensor]] = []

    def hook(module: nn.Module, args: object, output: Tensor) -> None:
        x = output.detach()
        kept.append((x.mean(), x.std(), torch.histc(x, 512, -10, 10)))

    handles = [
        module.register_forward_hook(hook)
        for module in model.modules()
        if not list(module.children())
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


VARIANTS: dict[str, Variant] = {
    "bare": bare,
    "actrace, every layer and batch": recorded,
    "mean, std, `torch.histc` hooks": histc_hooks,
}

#: name -> (model, shape of an input batch)
MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "MLP on 8 x 8 digits": (Mlp, (64, 1, 8, 8)),
    "residual net, 16 channels, 8 x 8": (ResidualNet, (64, 1, 8, 8)),
    "residual net, 32 channels, 32 x 32": (lambda: ResidualNet(32), (64, 1, 32, 32)),
}


def stepper(model: nn.Module, loss_fn: nn.Module, shape: tuple[int, ...]) -> Callable[[], None]:
    """Return a function that makes one training step."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(shape, generator=generator)
    y = torch.randint(10, shape[:1], generator=generator)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)

    def step() -> None:
        loss = loss_fn(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def measure(
    name: str, blocks: int, steps: int, variants: Mapping[str, Variant] = VARIANTS
) -> list[str]:
    """Return the table rows of one model; ratios are to the first variant."""
    build, shape = MODELS[name]
    times: dict[str, list[float]] = {variant: [] for variant in variants}
    with tempfile.TemporaryDirectory() as folder:
        open_variants = []
        try:
            for number, (variant, attach) in enumerate(variants.items()):
                torch.manual_seed(0)
                model, loss_fn = build(), nn.CrossEntropyLoss()
                context = attach(model, loss_fn, Path(folder) / f"run{number}")
                context.__enter__()
                open_variants.append((variant, context, stepper(model, loss_fn, shape)))
            for _, _, step in open_variants:
                for _ in range(steps):
                    step()  # warm-up
            for _ in range(blocks):
                for variant, _, step in open_variants:
                    began = time.perf_counter()
                    for _ in range(steps):
                        step()
                    times[variant].append((time.perf_counter() - began) / steps)
        finally:
            for _, context, _ in open_variants:
                context.__exit__(None, None, None)
    rows = []
    for variant, seconds in times.items():
        ratios = [a / b for a, b in zip(seconds, next(iter(times.values())), strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        rows.append(
            f"| {name} | {variant} | {1e3 * statistics.median(seconds):.2f} ms "
            f"| {middle:.2f} ({low:.2f} to {high:.2f}) |"
        )
    return rows


def about(args: argparse.Namespace) -> None:
    """Print machine, versions and sizes, and the head of the table."""
    print(
        f"{platform.machine()}, {args.threads} threads, Python {platform.python_version()}, "
        f"torch {torch.__version__}, actrace {actrace.__version__}; "
        f"{args.blocks} rounds of {args.steps} steps, batch 64\n"
    )
    print("| model | variant | step | ratio to bare, median (quartiles) |\n|---|---|---|---|")


def main() -> None:
    """Measure every model and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--blocks", type=int, default=30, help="rounds (default: 30)")
    parser.add_argument("--steps", type=int, default=20, help="steps a block (default: 20)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    about(args)
    for name in MODELS:
        for row in measure(name, args.blocks, args.steps):
            print(row)
        sys.stdout.flush()


if __name__ == "__main__":
    main()

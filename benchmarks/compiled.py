"""What recording costs in a compiled model, and how much of it is the operator alone.

Usage: python benchmarks/compiled.py [--models NAME ...] [--variants NAME ...]
           [--rounds N] [--steps N] [--threads N] [--cpu-time]

Each variant trains its own copy of the model; blocks of steps are run in turn,
A B C A B C ..., so that the machine's drift hits all alike. "Operator only" has
the recorder's operators in its graph and records no batch: its ratio is what
the compiler loses by them (fusion, memory) and what calling them costs. The
rest of "recorded" is counting. Where other work shares the machine, the CPU time
of the process (the writer's thread included) says more than the clock. Prints a
Markdown table: median step, and ratios as the median over rounds with its
quartiles.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import FunctionType

import torch
from torch import nn

import actrace

if __name__ == "__main__":
    # Started as a script: the modules beside it are found from the checkout.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks.overhead.models import GptBlock, ResNet18
from benchmarks.overhead.pages import command, put_into

Step = Callable[[], None]


class ConvBnRelu(nn.Sequential):
    """Three convolutions with batch normalisation, then a linear layer."""

    def __init__(self) -> None:
        layers: list[nn.Module] = []
        for before, after in ((3, 32), (32, 64), (64, 64)):
            layers += [
                nn.Conv2d(before, after, 3, 1, 1, bias=False),
                nn.BatchNorm2d(after),
                nn.ReLU(inplace=True),
            ]
        super().__init__(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


#: name -> (model, shape of an input batch)
MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "convnet": (ConvBnRelu, (32, 3, 32, 32)),
    "resnet18": (ResNet18, (32, 3, 64, 64)),
    "transformer": (
        lambda: nn.Sequential(*(GptBlock(192, 4) for _ in range(4)), nn.Linear(192, 10)),
        (8, 128, 192),
    ),
    "mlp": (
        lambda: nn.Sequential(
            nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 10)
        ),
        (64, 64),
    ),
}
#: variant -> (compiled, what is recorded: nothing, no batch, every batch)
VARIANTS: dict[str, tuple[bool, str]] = {
    "eager, bare": (False, ""),
    "eager, recorded": (False, "all"),
    "compiled, bare": (True, ""),
    "compiled, operator only": (True, "none"),
    "compiled, recorded": (True, "all"),
}


def with_own_code(model: nn.Module, number: int) -> nn.Module:
    """Give the model a forward of its own, by whose code the compiler keeps what it made."""
    kind = type(model)
    forward = kind.forward
    own = forward.__code__.replace(co_firstlineno=10_000 + number)
    kept = FunctionType(own, forward.__globals__, "forward", None, forward.__closure__)
    model.__class__ = type(kind.__name__, (kind,), {"forward": kept})
    return model


def stepper(model: nn.Module, call: nn.Module, loss_fn: nn.Module, shape: tuple[int, ...]) -> Step:
    """Return a function that makes one training step through `call`."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(shape, generator=generator)
    y = torch.randint(10, shape[:1], generator=generator)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)

    def step() -> None:
        output = call(x)
        loss = loss_fn(output.mean(1) if output.ndim == 3 else output, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def measure(
    name: str,
    rounds: int,
    steps: int,
    variants: dict[str, tuple[bool, str]],
    clock: Callable[[], float],
) -> list[str]:
    """Return the table rows of one model, timed by `clock`."""
    build, shape = MODELS[name]
    times: dict[str, list[float]] = {variant: [] for variant in variants}
    torch.compiler.reset()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as recorders:
        running: dict[str, tuple[Step, Callable[[], object]]] = {}
        for number, (variant, (compiled, records)) in enumerate(variants.items()):
            torch.manual_seed(0)
            model, loss_fn = with_own_code(build(), number), nn.CrossEntropyLoss()
            call = torch.compile(model, fullgraph=True) if compiled else model
            catch_up: Callable[[], object] = bool  # nothing
            if records:
                schedule = actrace.between(10**9, 10**9 + 1) if records == "none" else None
                recorder = recorders.enter_context(
                    actrace.record(
                        model, Path(folder) / f"{number}", criterion=loss_fn, schedule=schedule
                    )
                )
                # The writer's thread takes many batches at once: its work is part of the block.
                catch_up = recorder._session.outbox.settle
            step = stepper(model, call, loss_fn, shape)
            step()  # compiles
            running[variant] = step, catch_up
        for _ in range(rounds + 1):
            for variant, (step, catch_up) in running.items():
                began = clock()
                for _ in range(steps):
                    step()
                catch_up()
                times[variant].append((clock() - began) / steps)
    rows = []
    for variant, (compiled, _) in variants.items():
        base = "compiled, bare" if compiled else "eager, bare"
        if base not in times:
            base = variant
        ratios = [a / b for a, b in zip(times[variant], times[base], strict=True)][1:]
        low, middle, high = statistics.quantiles(ratios, n=4)
        rows.append(
            f"| {name} | {variant} | {1e3 * statistics.median(times[variant][1:]):.2f} ms "
            f"| {middle:.2f} ({low:.2f} to {high:.2f}) |"
        )
    return rows


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--rounds", type=int, default=15, help="(default: 15)")
    parser.add_argument("--steps", type=int, default=5, help="steps a round (default: 5)")
    parser.add_argument("--threads", type=int, default=1, help="(default: 1)")
    parser.add_argument("--cpu-time", action="store_true", help="instead of the clock's")
    what = "put the table into a page, between its marks"
    parser.add_argument("--page", metavar="FILE#NAME", help=what)
    args = parser.parse_args()
    clock = time.process_time if args.cpu_time else time.perf_counter
    torch.set_num_threads(args.threads)
    lines = [
        f"    {command(['python', 'benchmarks/compiled.py', *sys.argv[1:]])}",
        "",
        f"{platform.machine()}, {args.threads} threads, Python {platform.python_version()}, "
        f"torch {torch.__version__}, actrace {actrace.__version__}; "
        f"{args.rounds} rounds of {args.steps} steps, {clock.__name__}",
        "",
        "| model | variant | step | ratio to the bare one of its kind |",
        "|---|---|---|---|",
    ]
    print("\n".join(lines), flush=True)
    for name in args.models:
        chosen = {variant: VARIANTS[variant] for variant in args.variants}
        for row in measure(name, args.rounds, args.steps, chosen, clock):
            print(row, flush=True)
            lines.append(row)
    if args.page is not None:
        put_into(args.page, lines)


if __name__ == "__main__":
    main()

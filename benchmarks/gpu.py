"""What recording costs on a GPU: ratios to the bare step, and the kernel against a copy.

Usage: python benchmarks/gpu.py [--rounds N] [--steps N]

Four tables: the kernel on large tensors, in bytes a second; on small ones, in microseconds,
on the device and of the host alone; a small network's step, eager and as one CUDA graph; and
two large models. A ResNet-50 (bfloat16, batches of 256) and a GPT of about 350 million parameters
(bfloat16, 8 sequences of 1,024) train bare, recorded into a store by
`actrace.record(cuda=True)` (every leaf; the ResNet's loss and labels too), exactly and sampled,
and with `torch.histc` hooks, in turn. Without a GPU it says so and ends with 2.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn
from torch.nn import functional as F

import actrace
from actrace.capture.cuda.capture import DeviceCapture
from actrace.capture.kernels.sampling import Sampling
from actrace.capture.tensors import flat_view
from actrace.errors import ActraceWarning
from actrace.store.axis import Asinh

#: How much is read, as `actrace.record` takes it.
SAMPLES: tuple[Literal["exact", "histogram", "all"], ...] = ("exact", "histogram", "all")


class Bottleneck(nn.Module):
    """The block of a ResNet-50 (He et al., 2015)."""

    def __init__(self, into: int, width: int, stride: int) -> None:
        super().__init__()
        out = 4 * width
        self.conv1 = nn.Conv2d(into, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out)
        self.relu1, self.relu2, self.relu3 = nn.ReLU(), nn.ReLU(), nn.ReLU()
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or into != out:
            self.shortcut = nn.Sequential(
                nn.Conv2d(into, out, 1, stride, bias=False), nn.BatchNorm2d(out)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the block's output."""
        y = self.relu1(self.bn1(self.conv1(x)))
        y = self.relu2(self.bn2(self.conv2(y)))
        return self.relu3(self.bn3(self.conv3(y)) + self.shortcut(x))


def resnet50() -> nn.Module:
    """Return a ResNet-50 of 1,000 classes."""
    layers: list[nn.Module] = [
        nn.Conv2d(3, 64, 7, 2, 3, bias=False),
        nn.BatchNorm2d(64),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, 1),
    ]
    into = 64
    for width, n, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
        for at in range(n):
            layers.append(Bottleneck(into, width, stride if at == 0 else 1))
            into = 4 * width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(into, 1000))


class Decoder(nn.Module):
    """A pre-norm decoder block."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.act = nn.GELU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the block's output."""
        n, t, width = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(n, t, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(y.transpose(1, 2).reshape(n, t, width))
        return x + self.down(self.act(self.up(self.norm2(x))))


def gpt() -> nn.Module:
    """Return a GPT of 24 layers of 1,024: some 350 million parameters."""
    blocks = [Decoder(1024, 16) for _ in range(24)]
    embedding, head = nn.Embedding(50_304, 1024), nn.Linear(1024, 50_304, bias=False)
    head.weight = embedding.weight
    return nn.Sequential(embedding, *blocks, nn.LayerNorm(1024), head)


def leaves_of(model: nn.Module) -> list[nn.Module]:
    """Return the modules that hold no others."""
    return [module for module in model.modules() if not any(module.children())]


@contextmanager
def hooked(
    model: nn.Module, hook: Callable[[int, nn.Module, torch.Tensor], None]
) -> Iterator[None]:
    """Call `hook` with the number, the module and the output of each leaf."""
    handles = [
        module.register_forward_hook(lambda m, _, out, at=at: hook(at, m, out.detach()))
        for at, module in enumerate(leaves_of(model))
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def milliseconds(call: Callable[[], object], times: int) -> float:
    """Return what a call takes on the device."""
    event: Any = torch.cuda.Event
    began, ended = event(enable_timing=True), event(enable_timing=True)
    torch.cuda.synchronize()
    began.record()
    for _ in range(times):
        call()
    ended.record()
    torch.cuda.synchronize()
    return float(began.elapsed_time(ended)) / times


def measure(
    name: str,
    model: nn.Module,
    step: Callable[[], object],
    criterion: nn.Module | None,
    rounds: int,
    n: int,
) -> None:
    """Print the ratios of one model."""
    histograms: list[torch.Tensor] = []

    def histc(_at: int, _module: nn.Module, out: torch.Tensor) -> None:
        histograms.append(torch.histc(out.float(), 512, -10, 10))

    def with_histc() -> None:
        histograms.clear()
        step()

    step()
    waited, lost = 0.0, 0
    times: dict[str, list[float]] = {key: [] for key in ("bare", *SAMPLES, "histc")}
    for _ in range(rounds + 1):
        times["bare"].append(milliseconds(step, n))
        for sample in SAMPLES:
            with tempfile.TemporaryDirectory() as folder:
                # A GPT's logits are too large to keep, which is said.
                warnings.simplefilter("ignore", ActraceWarning)
                recorder = actrace.record(
                    model, Path(folder) / "run", criterion=criterion, cuda=True, sample=sample
                )
                milliseconds(step, 3)
                times[sample].append(milliseconds(step, n))
                recorder.close()
                report = recorder.report()
                waited, lost = waited + report.waited_seconds, lost + sum(report.lost.values())
        with hooked(model, histc):
            times["histc"].append(milliseconds(with_histc, n))
    middle = {key: statistics.median(values[1:]) for key, values in times.items()}
    bare = middle["bare"]
    print(
        f"| {name} | {bare:.1f} ms | "
        + "".join(f"{middle[key] / bare:.3f} | " for key in (*SAMPLES, "histc"))
        + f"{waited:.3f} s | {lost} |"
    )


def kernel_table(rounds: int) -> None:
    """Print what the kernel reads a second, beside a copy of the same tensor."""
    device = torch.device("cuda", torch.cuda.current_device())
    print(
        "| tensor | dtype | kernel, GB/s read | copy, GB/s read and written | kernel / copy | "
        "histogram of 1 in 17, time to exact | all of 1 in 17 |"
    )
    print("|---|---|---|---|---|---|---|")
    for label, size in (
        ("256 x 64 x 56 x 56", (256, 64, 56, 56)),
        ("8 x 1024 x 4096", (8, 1024, 4096)),
    ):
        for dtype in (torch.bfloat16, torch.float16, torch.float32):
            for relu in (False, True):
                x = torch.randn(size, device=device, dtype=dtype)
                x = x.relu() if relu else x
                flat, shape = flat_view(x, 1 if x.ndim == 4 else 2)
                captures = [laid_out(device, shape[2], sample) for sample in SAMPLES]
                into = torch.empty_like(x)
                n_bytes = x.numel() * x.element_size()
                calls: list[Callable[[], object]] = [
                    *(lambda c=c, f=flat, s=shape: c.add(0, f, s) for c in captures),
                    lambda i=into, y=x: i.copy_(y),
                ]
                turns = [[milliseconds(call, 20) for call in calls] for _ in range(rounds + 1)][1:]
                ours, part, least, copy = map(statistics.median, zip(*turns, strict=True))
                read, moved = n_bytes / ours / 1e6, 2 * n_bytes / copy / 1e6
                print(
                    f"| {label}{', ReLU' if relu else ''} | {str(dtype)[6:]} | {read:.0f} | "
                    f"{moved:.0f} | {read / moved:.2f} | {part / ours:.2f} | {least / ours:.2f} |"
                )


def laid_out(
    device: torch.device, units: int, sample: Literal["exact", "histogram", "all"]
) -> DeviceCapture[int]:
    """Return what counts one layer, with one block in 17 read unless `sample` is exact."""
    sampling = None if sample == "exact" else Sampling(sample, 17)
    capture: DeviceCapture[int] = DeviceCapture.on(
        device, Asinh(), 1e-8, print, sampling, partial=sample == "all"
    )
    capture.begin()
    capture.lay_out([units], [0])
    return capture


def small_table(rounds: int) -> None:
    """Print what a small activation costs, beside a copy of it and `torch.histc`."""
    device = torch.device("cuda", torch.cuda.current_device())
    print("\n| elements | kernel, us | of it host | copy, us | of it host | histc, us |")
    print("|---|---|---|---|---|---|")
    capture: DeviceCapture[int] = DeviceCapture.on(device, Asinh(), 1e-8, print)
    capture.begin()
    capture.lay_out([128], [0])
    for n in (1_280, 16_384, 65_536, 524_288):
        x = torch.randn(n // 128, 128, device=device).relu()
        into, (flat, shape) = torch.empty_like(x), flat_view(x, 1)
        calls: tuple[Callable[[], object], ...] = (
            lambda f=flat, s=shape: capture.add(0, f, s),
            lambda i=into, y=x: i.copy_(y),
            lambda y=x: torch.histc(y, 512, -10, 10),
        )
        both = [
            [(milliseconds(call, 200), host_milliseconds(call, 200)) for call in calls]
            for _ in range(rounds + 1)
        ][1:]
        ours, copy, histc = (
            [1e3 * statistics.median(column) for column in zip(*times, strict=True)]
            for times in zip(*both, strict=True)
        )
        print(
            f"| {n:,} | {ours[0]:.1f} | {ours[1]:.1f} | {copy[0]:.1f} | {copy[1]:.1f} | "
            f"{histc[0]:.1f} |"
        )


def host_milliseconds(call: Callable[[], object], times: int) -> float:
    """Return what a call takes the host, which does not wait for the device."""
    torch.cuda.synchronize()
    began = time.perf_counter()
    for _ in range(times):
        call()
    seconds = time.perf_counter() - began
    torch.cuda.synchronize()
    return 1e3 * seconds / times


def graph_table(rounds: int, n: int) -> None:
    """Print the ratios of a small network, eager and as one CUDA graph."""
    print("\n| MLP, 5 layers, batches of 128 | bare step | recorded |")
    print("|---|---|---|")
    for graphed in (False, True):
        times: dict[bool, list[float]] = {False: [], True: []}
        for _ in range(rounds + 1):
            for recorded in (False, True):
                with tempfile.TemporaryDirectory() as folder:
                    path = Path(folder) / "run" if recorded else None
                    times[recorded].append(graph_step(path, graphed, n))
        bare, ours = (statistics.median(times[recorded][1:]) for recorded in (False, True))
        print(f"| {'CUDA graph' if graphed else 'eager'} | {bare:.3f} ms | {ours / bare:.3f} |")


def graph_step(path: Path | None, graphed: bool, n: int) -> float:
    """Return the milliseconds of a training step of a small network."""
    wide = [nn.Linear(512, 512), nn.ReLU()]
    model = nn.Sequential(nn.Linear(784, 512), nn.ReLU(), *wide, nn.Linear(512, 10)).cuda()
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    x = torch.randn(128, 784, device="cuda")
    y = torch.randint(10, (128,), device="cuda")
    recorder = None
    if path is not None:
        recorder = actrace.record(model, path, criterion=criterion, cuda=True)

    def step() -> None:
        optimizer.zero_grad(set_to_none=False)
        criterion(model(x), y).backward()
        optimizer.step()

    def batch(run: Callable[[], object]) -> None:
        with contextlib.nullcontext() if recorder is None else recorder.batch(samples=128):
            run()

    run: Callable[[], object] = step
    side: Any = torch.cuda.Stream
    stream = side()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            batch(step)
    torch.cuda.current_stream().wait_stream(stream)
    if graphed:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            step()
        run = graph.replay
    took = milliseconds(lambda: batch(run), 20 * n)
    if recorder is not None:
        recorder.close()
    return took


def main() -> int:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=9, help="default: 9")
    parser.add_argument("--steps", type=int, default=20, help="steps in a round; default: 20")
    args = parser.parse_args()
    if not torch.cuda.is_available():
        print("no GPU here that torch can use: nothing was measured", file=sys.stderr)
        return 2
    torch.manual_seed(0)
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, CUDA {torch.version.cuda}\n")
    kernel_table(args.rounds)
    small_table(args.rounds)
    graph_table(args.rounds, args.steps)
    modes = " | ".join(f'`sample="{mode}"`' for mode in SAMPLES)
    print(f"\n| model | bare step | {modes} | histc hooks | waited | batches lost |")
    print("|---|---|" + "---|" * len(SAMPLES) + "---|---|---|")
    image = torch.randn(256, 3, 224, 224, device="cuda", dtype=torch.bfloat16)
    image = image.to(memory_format=torch.channels_last)
    classes = torch.randint(1000, (256,), device="cuda")
    net = resnet50().to("cuda", torch.bfloat16).to(memory_format=torch.channels_last)
    text = torch.randint(50_304, (8, 1024), device="cuda")

    def train(
        model: nn.Module, x: torch.Tensor, y: torch.Tensor, criterion: nn.Module
    ) -> Callable[[], object]:
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)

        def step() -> None:
            optimizer.zero_grad()
            out = model(x)
            criterion(out.flatten(0, -2).float(), y.flatten()).backward()
            optimizer.step()

        return step

    loss = nn.CrossEntropyLoss()
    step = train(net, image, classes, loss)
    measure("ResNet-50, bf16, 256", net, step, loss, args.rounds, args.steps)
    del net, image, step
    model = gpt().to("cuda", torch.bfloat16)
    step = train(model, text, text, loss)
    measure("GPT 350 M, bf16, 8 x 1024", model, step, None, args.rounds, args.steps)
    return 0


if __name__ == "__main__":
    sys.exit(main())

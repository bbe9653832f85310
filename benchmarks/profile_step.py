"""Where a recorded step's extra time goes.

Usage: python benchmarks/profile_step.py MODEL ... [--set NAME=VALUE ...] [--threads N]

Two looks. Steps in turn, of the model bare, with empty hooks, recorded, recorded with
a writer that writes nothing and recorded with a kernel that counts nothing: their
differences are what each costs the training, waiting for the interpreter lock and
cold caches included. Then the recorded step with a clock around each part of the
recorder, which says where its own code spends the rest; what the clocks themselves
take is measured and taken off.

The parts are named by module and attribute; one that this version lacks is listed as
such, and `--part` adds others.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import json
import os
import random
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks.overhead.models import TASKS, Task, find_tasks, make_step
from benchmarks.overhead.pages import command, put_into
from benchmarks.overhead.ratios import spread
from benchmarks.overhead.table import machine, versions
from benchmarks.overhead.usage import thread_cpu_seconds
from benchmarks.overhead.variants import empty_hooks
from benchmarks.overhead.watching import Place

#: Part -> module:attribute. A part's time is without that of the parts inside it.
PARTS = {
    "layer hooks": "actrace.capture.hooks:LayerHook.__call__",
    "layer hooks: the longer way": "actrace.capture.layer_table:LayerTable.add",
    "kernel": "actrace.capture.kernels.fused:FusedKernel.bind",
    "begin": "actrace.capture.hooks:BeginHook.__call__",
    "begin: an empty row": "actrace.capture.outbox:Outbox.open_row",
    "begin: closing the batch before": "actrace.capture.batches:Session._close_batch",
    "begin: handing it over": "actrace.capture.outbox:Outbox.give",
    "end": "actrace.capture.hooks:EndHook.__call__",
    "end: keeping the output": "actrace.capture.labels.joining:BatchLabels.keep",
    "criterion": "actrace.capture.hooks:CriterionHook.__call__",
    "criterion: loss and target": "actrace.capture.labels.joining:BatchLabels.take_loss",
    "asking for a commit": "actrace.capture.batches:Session.commit",
}
#: What the writer thread does with what it is handed.
WRITER = ("append_batches", "append_windows", "commit")


@dataclass(slots=True)
class Clocks:
    """Clocks around functions, which count one another out.

    Attributes
    ----------
    seconds, calls : dict of str to number
        By part; the seconds without those of the parts inside.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    calls: dict[str, int] = field(default_factory=dict)
    inside: dict[str, int] = field(default_factory=dict)
    _stack: list[list[Any]] = field(default_factory=list)
    _thread: int = field(default_factory=threading.get_ident)

    def around(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return `function` with a clock around it, in this thread."""
        self.reset(part)
        stack, clock = self._stack, time.perf_counter

        @functools.wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            if threading.get_ident() != self._thread:
                return function(*args, **kwargs)
            mine = [part, 0.0]
            stack.append(mine)
            began = clock()
            try:
                return function(*args, **kwargs)
            finally:
                took = clock() - began
                stack.pop()
                self.seconds[part] += took - mine[1]
                self.calls[part] += 1
                if stack:
                    stack[-1][1] += took
                    self.inside[stack[-1][0]] += 1

        return timed

    def reset(self, part: str | None = None) -> None:
        """Forget what was clocked, of one part or all."""
        for name in [*self.seconds] if part is None else [part]:
            self.seconds[name], self.calls[name], self.inside[name] = 0.0, 0, 0

    def clean(self, part: str, own: float, others: float) -> float:
        """Return a part's seconds without what the clocks took.

        Parameters
        ----------
        own, others : float
            Seconds that a clock adds inside itself, and outside, to what calls it.
        """
        spent = self.calls[part] * own + self.inside[part] * others
        return max(0.0, self.seconds[part] - spent)


def clock_cost(n: int = 20000) -> tuple[float, float]:
    """Return the seconds that a clock adds inside itself, and to what calls it."""

    def nothing() -> None:
        return None

    clocks = Clocks()
    timed = clocks.around("nothing", nothing)
    plain: list[float] = []
    whole: list[float] = []
    inner: list[float] = []
    for _ in range(5):
        clocks.reset()
        began = time.perf_counter()
        for _ in range(n):
            nothing()
        plain.append((time.perf_counter() - began) / n)
        began = time.perf_counter()
        for _ in range(n):
            timed()
        whole.append((time.perf_counter() - began) / n)
        inner.append(clocks.seconds["nothing"] / n)
    own = max(0.0, min(inner) - min(plain))
    return own, max(0.0, min(whole) - min(plain) - own)


def found(where: str) -> tuple[Any, str] | None:
    """Return the owner and the attribute's name that ``module:a.b`` names, None without it."""
    module, _, path = where.partition(":")
    try:
        owner: Any = importlib.import_module(module)
        *above, name = path.split(".")
        for each in above:
            owner = getattr(owner, each)
        getattr(owner, name)
    except (ImportError, AttributeError):
        return None
    return owner, name


@contextmanager
def replaced(
    where: str, make: Callable[[Callable[..., Any]], Callable[..., Any]]
) -> Iterator[bool]:
    """Have what ``module:a.b`` names replaced by what `make` makes of it; give if it is there."""
    place = found(where)
    if place is None:
        yield False
        return
    owner, name = place
    original = getattr(owner, name)
    setattr(owner, name, make(original))
    try:
        yield True
    finally:
        setattr(owner, name, original)


def muted(where: str, silent: set[int]) -> Any:
    """Have a method do nothing for the objects whose id is in `silent`."""

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def method(self: Any, *args: Any, **kwargs: Any) -> Any:
            return None if id(self) in silent else original(self, *args, **kwargs)

        return method

    return replaced(where, make)


def objects_of(recorder: Any, kind: str) -> list[Any]:
    """Return the objects of a class that a recorder holds, by looking at what holds what."""
    place = found(kind)
    if place is None:
        return []
    wanted = getattr(*place)
    seen: set[int] = set()
    waiting, kept = [recorder], []
    while waiting:
        one = waiting.pop()
        if id(one) in seen or not type(one).__module__.startswith("actrace"):
            continue
        seen.add(id(one))
        if isinstance(one, wanted):
            kept.append(one)
        names = [*getattr(one, "__dict__", {})]
        for each in type(one).__mro__:
            names += (
                [each.__slots__]
                if isinstance(each.__dict__.get("__slots__"), str)
                else [*each.__dict__.get("__slots__", ())]
            )
        waiting += [getattr(one, name, None) for name in names]
    return kept


def without_counting(recorder: Any) -> None:
    """Have the kernel of a recorder count nothing from now on."""
    for recorded in recorder._session.table.recorded.values():
        silent = {key: replace(bound, run=_nothing) for key, bound in recorded.bounds.items()}
        recorded.bounds = silent
        bound = recorded.bound
        recorded.bound = None if bound is None else replace(bound, run=_nothing)


def _nothing(*_: int) -> None:
    return None


def clocked_plans(clocks: Clocks, bind: Callable[..., Any]) -> Callable[..., Any]:
    """Return `bind` with a clock around what its plans run."""

    def clocked_bind(*args: Any, **kwargs: Any) -> Any:
        plan = bind(*args, **kwargs)
        run = clocks.around("kernel", plan.run)
        return SimpleNamespace(run=run, address=plan.address, plan=plan)

    return clocked_bind


def setting(text: str) -> tuple[str, Any]:
    """Return name and value of ``NAME=VALUE``, the value as JSON or as it stands."""
    name, sign, value = text.partition("=")
    if not sign:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected NAME=VALUE")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value


def differences(task: Task, settings: dict[str, Any], rounds: int, block: float) -> dict[str, Any]:
    """Return the seconds of a step in each round, of the five ways to run it in turn."""
    import torch

    import actrace

    silent: set[int] = set()
    steps: dict[str, Callable[[], object]] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for name in WRITER:
            stack.enter_context(muted(f"actrace.store.writer:RunWriter.{name}", silent))
        for way in ("bare", "empty hooks", "recorded", "no writing", "no counting"):
            torch.manual_seed(0)
            model, loss_fn = task.build(), task.loss()
            if way == "empty hooks":
                stack.enter_context(empty_hooks(model, loss_fn, Place(folder)))
            elif way != "bare":
                recorder = stack.enter_context(
                    actrace.record(model, folder / way, criterion=loss_fn, **settings)
                )
            steps[way] = make_step(task, model, loss_fn)
            for _ in range(3):
                steps[way]()
            if way == "no writing":
                recorder.flush()
                silent |= {id(o) for o in objects_of(recorder, "actrace.store.writer:RunWriter")}
            elif way == "no counting":
                without_counting(recorder)
        began = time.perf_counter()
        steps["bare"]()
        n = max(1, round(block / (time.perf_counter() - began)))
        times: dict[str, list[float]] = {way: [] for way in steps}
        order, chance = list(steps), random.Random(0)
        for turn in range(-1, rounds):
            chance.shuffle(order)
            for way in order:
                began = time.perf_counter()
                for _ in range(n):
                    steps[way]()
                if turn >= 0:
                    times[way].append((time.perf_counter() - began) / n)
                time.sleep(0.02)  # what a writer still has to do is not the next one's
    return {"times": times, "steps": n}


def clocked(
    task: Task, settings: dict[str, Any], parts: dict[str, str], n: int
) -> tuple[Clocks, list[str], float]:
    """Return the clocks after `n` recorded steps, what is lacking, and the writer's seconds."""
    import torch

    import actrace

    clocks, lacking = Clocks(), []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for part, where in parts.items():
            make = functools.partial(clocks.around, part)
            if part == "kernel":
                make = functools.partial(clocked_plans, clocks)
                clocks.reset(part)
            if not stack.enter_context(replaced(where, make)):
                lacking.append(part)
        torch.manual_seed(0)
        model, loss_fn = task.build(), task.loss()
        stack.enter_context(actrace.record(model, folder / "run", criterion=loss_fn, **settings))
        step = make_step(task, model, loss_fn)
        for _ in range(5):
            step()
        writer = thread_cpu_seconds("actrace-writer") or 0.0
        clocks.reset()
        for _ in range(n):
            step()
        kept = Clocks(dict(clocks.seconds), dict(clocks.calls), dict(clocks.inside))
        time.sleep(0.2)
        wrote = (thread_cpu_seconds("actrace-writer") or 0.0) - writer
    return kept, lacking, wrote


def differing(more: Sequence[float], less: Sequence[float]) -> list[float]:
    """Return what each round took more."""
    return [ours - theirs for ours, theirs in zip(more, less, strict=True)]


def difference_lines(times: dict[str, list[float]]) -> Iterator[str]:
    """Yield the table of the differences."""
    bare = 1e6 * statistics.median(times["bare"])
    pairs = {
        "recording, in all": ("recorded", "bare"),
        "of these, calling hooks that do nothing": ("empty hooks", "bare"),
        "of these, that the writer thread writes": ("recorded", "no writing"),
        "of these, that the kernel counts": ("recorded", "no counting"),
    }
    yield "| what | microseconds a step, median (quartiles) | of the bare step |"
    yield "|---|---|---|"
    for name, (more, less) in pairs.items():
        if more not in times or less not in times:
            yield f"| {name} | not in this version | |"
            continue
        each = spread([1e6 * s for s in differing(times[more], times[less])])
        share = 100 * each.middle / bare
        yield f"| {name} | {each.middle:.0f} ({each.low:.0f} to {each.high:.0f}) | {share:.1f} % |"


def part_lines(
    clocks: Clocks, parts: dict[str, str], lacking: list[str], n: int, extra: float, wrote: float
) -> Iterator[str]:
    """Yield the table of the parts; `extra` and `wrote` are microseconds a step."""
    own, others = clock_cost()
    yield f"{n} recorded steps with clocks, which are taken off, as each call of a part has one:"
    yield ""
    yield "| part, without the parts in it | calls a step | microseconds a step |"
    yield "|---|---|---|"
    total = 0.0
    for part in parts:
        if part in lacking:
            yield f"| {part} | not in this version | |"
            continue
        spent = 1e6 * clocks.clean(part, own, others) / n
        total += spent
        yield f"| {part} | {clocks.calls[part] / n:.2f} | {spent:.1f} |"
    yield f"| all parts | | {total:.0f} |"
    yield (
        "| recording in all, less these: torch's calling of hooks, caches, waiting for the "
        f"interpreter | | {extra - total:.0f} |"
    )
    yield f"| the writer thread, beside the training | | {wrote:.0f} |"


def profile(task: Task, args: argparse.Namespace) -> Iterator[str]:
    """Yield the two tables of a model."""
    settings = dict(args.set)
    known = differences(task, settings, args.rounds, args.block)
    times: dict[str, list[float]] = known["times"]
    bare = statistics.median(times["bare"])
    extra = statistics.median(differing(times["recorded"], times["bare"]))
    parts = PARTS | {where: where for where in args.part}
    n = known["steps"] * max(1, args.rounds // 2)
    clocks, lacking, wrote = clocked(task, settings, parts, n)
    yield (
        f"**{task.title}**: bare step {1e3 * bare:.3f} ms, {args.threads} "
        f"{'thread' if args.threads == 1 else 'threads'}, "
        f"{args.rounds} rounds of {known['steps']} steps"
    )
    yield ""
    yield from difference_lines(times)
    yield ""
    yield from part_lines(clocks, parts, lacking, n, 1e6 * extra, 1e6 * wrote / n)
    yield ""


def main() -> None:
    """Measure and print two tables for each model."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    add = parser.add_argument
    add("models", nargs="+", choices=[task.name for task in TASKS], metavar="MODEL")
    add("--rounds", type=int, default=25, help="default: 25")
    add("--block", type=float, default=0.25, metavar="SECONDS", help="of bare steps in a round")
    add("--threads", type=int, default=1, help="of torch (default: 1)")
    what = "of actrace.record, for example sample=histogram"
    add("--set", type=setting, action="append", default=[], metavar="NAME=VALUE", help=what)
    what = "put a clock around this too: actrace.store.worker:WriterThread._warn"
    add("--part", action="append", default=[], metavar="MODULE:NAME", help=what)
    add("--page", metavar="FILE#NAME", help="put the tables into a page, between its marks")
    args = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(args.threads)
    import torch

    torch.set_num_threads(args.threads)
    lines = [
        f"{machine()}; {versions(['torch', 'actrace', 'numpy', 'numba'])}",
        "",
        f"    {command(['python', 'benchmarks/profile_step.py', *sys.argv[1:]])}",
        "",
    ]
    print("\n".join(lines), flush=True)
    for task in find_tasks(args.models):
        found = list(profile(task, args))
        print("\n".join(found), flush=True)
        lines += found
    if args.page is not None:
        put_into(args.page, lines)


if __name__ == "__main__":
    main()

"""The benchmark of the overhead: every model and variant runs, and the ratios are right."""

from __future__ import annotations

import doctest
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from benchmarks.overhead import pages
from benchmarks.overhead import ratios as ratios_module
from benchmarks.overhead.measure import Result, Settings, measure
from benchmarks.overhead.models import TASKS, Task, find_tasks, make_step
from benchmarks.overhead.pages import put_into
from benchmarks.overhead.ratios import growth, ratios, spread
from benchmarks.overhead.table import table_lines
from benchmarks.overhead.trial import Block, End, trial
from benchmarks.overhead.variants import BARE, VARIANTS, Variant, find_variants, recorded
from benchmarks.overhead.watching import NotHereError, Place, Watch
from benchmarks.profile_step import Clocks
from torch import nn

ROOT = Path(__file__).parents[2]
#: What the tests' own environment has; the table says of the others that they are missing.
HERE = ("bare", "empty-hooks", "actrace", "histc", "fastai", "monitorch")


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_a_model_learns_its_batch(task: Task) -> None:
    torch.manual_seed(0)
    x, y = task.batch()
    model, loss_fn = task.build(), task.loss()
    with torch.no_grad():
        assert torch.isfinite(loss_fn(model(x[:2]), y[:2]))
    if task.name in ("mlp", "convnet"):
        step = make_step(task, model, loss_fn)
        losses = [float(step()) for _ in range(100)]
        assert losses[-1] < losses[0]


@pytest.mark.parametrize("name", ["mlp", "convnet"])
def test_a_model_is_compiled_as_one_graph(name: str) -> None:
    graphs: list[int] = []

    def backend(graph: torch.fx.GraphModule, inputs: object) -> Callable[..., Any]:
        graphs.append(len(graph.graph.nodes))
        return graph.forward

    (task,) = find_tasks([name])
    model = task.build()
    model.compile(backend=backend, fullgraph=True)
    model(task.batch()[0])
    assert len(graphs) == 1


@pytest.mark.parametrize("name", HERE)
def test_a_variant_attaches_watches_and_comes_off(tmp_path: Path, name: str) -> None:
    """And leaves neither a hook nor a change of the training behind."""
    (variant,) = (v for v in VARIANTS if v.name == name)
    models: list[nn.Module] = []

    def build() -> nn.Module:
        models.append(find_tasks(["convnet"])[0].build())
        return models[-1]

    task = replace(find_tasks(["convnet"])[0], build=build)
    for watch, folder in ((BARE, tmp_path / "bare"), (variant, tmp_path / "watched")):
        folder.mkdir()
        with trial(task, watch, Place(folder)) as running:
            pairs = running.pair(1), running.pair(1)
            assert running.steps == 2
            running.lead(1)
        assert running.steps == 3
        for block in (half for pair in pairs for half in (pair.bare, pair.watched)):
            assert block.steps == 1
            assert block.seconds > 0
            assert block.cpu_seconds > 0
    # Each with its unwatched twin, made last.
    bare, _, watched, _ = models
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in watched.modules())
    for ours, theirs in zip(watched.parameters(), bare.parameters(), strict=True):
        assert torch.equal(ours, theirs)


# Variants that do not run. Other processes import them from here.


@contextmanager
def not_installed(model: nn.Module, loss_fn: nn.Module, place: Place) -> Iterator[Watch]:
    import a_package_that_nobody_has  # noqa: F401

    yield Watch()


class _Failing(Watch):
    steps = 0

    def after_step(self, loss: torch.Tensor) -> None:
        self.steps += 1
        if self.steps > 3:
            raise ArithmeticError("a | bar\nand a line")


@contextmanager
def failing_later(model: nn.Module, loss_fn: nn.Module, place: Place) -> Iterator[Watch]:
    yield _Failing()


class _Dying(Watch):
    def after_step(self, loss: torch.Tensor) -> None:
        os._exit(7)


@contextmanager
def dying(model: nn.Module, loss_fn: nn.Module, place: Place) -> Iterator[Watch]:
    yield _Dying()


def test_a_variant_that_does_not_run_is_a_row_that_says_why() -> None:
    odd = (not_installed, failing_later, dying)
    (actrace,) = (v for v in VARIANTS if v.name == "actrace")
    variants = [BARE, *(Variant(f.__name__, f.__name__, f) for f in odd), actrace]
    settings = Settings(rounds=2, block_seconds=0.004, lead=1, patience=300)
    results = measure(find_tasks(["mlp"])[0], variants, settings)
    errors = {result.variant.name: result.error for result in results}
    failed = errors.pop("failing_later")
    assert failed is not None
    assert failed.startswith("ArithmeticError: a | bar\nand a line (test_overhead.py:")
    assert errors == {
        "bare": None,
        "not_installed": "not installed: a_package_that_nobody_has",
        "dying": "its process died (exit code 7)",
        "actrace": None,
    }
    bare, ours = results[0], results[-1]
    assert bare.ratio().middle > 0
    assert len(ours.blocks) == len(ours.bare) == len(bare.blocks) == 2
    # Every block is followed by what the writer puts off.
    assert all(block.writer_seconds > 0 for block in ours.blocks)
    assert not any(block.writer_seconds for block in bare.blocks)
    assert bare.written() == 0
    assert (ours.written() or 0) > 0
    lines = list(table_lines(results, settings))
    rows = [line for line in lines if line.startswith("| ")]
    assert len(rows) == 1 + len(variants)
    assert len({line.replace("\\|", "").count("|") for line in rows}) == 1
    assert any("ArithmeticError: a / bar and a line" in line for line in rows)


def test_settings_that_this_version_lacks_are_told(tmp_path: Path) -> None:
    attach = partial(recorded, settings={"wings": 2})
    with (
        pytest.raises(NotHereError, match=r"^not in this version: wings=$"),
        attach(nn.Linear(1, 1), nn.MSELoss(), Place(tmp_path)),
    ):
        pass
    assert not any(tmp_path.iterdir())


def a_block(steps: int, seconds: float, cpu: float, helpers: float, resident: int) -> Block:
    return Block(steps, seconds, cpu, helpers, seconds / 10, 0.5, resident)


def test_ratios_are_to_the_bare_step_of_the_same_round_and_process() -> None:
    """A machine that is three times slower in one round changes no ratio."""
    assert ratios([2.0, 9.0, 4.0], [1.0, 3.0, 2.0]) == [2.0, 3.0, 2.0]
    result = Result(
        TASKS[0],
        BARE,
        blocks=[a_block(10, 2.0, 4.0, 1.0, 1000), a_block(10, 9.0, 4.0, 3.0, 3000)],
        bare=[a_block(20, 2.0, 4.0, 0.0, 0), a_block(20, 6.0, 4.0, 0.0, 0)],
        end=End(steps=25, seconds=0.1, written=5000, remarks=()),
    )
    assert result.ratio().middle == 2.5
    assert result.step().middle == pytest.approx(0.55)
    assert result.best_ratio() == pytest.approx(0.2 / 0.1)
    # 0.4 s a step of its own, and 0.1 s and 0.3 s of its helpers, against 0.2 s.
    assert result.cpu_ratio().middle == pytest.approx((0.5 + 0.7) / 2 / 0.2)
    assert result.growth() == pytest.approx(200.0)
    result.more = [a_block(10, 1.0, 1.0, 0.0, at) for at in (9000, 9500, 9600, 9700)]
    assert result.growth() == pytest.approx(10.0)
    assert result.written() == 200.0
    assert result.writer_share() == pytest.approx(0.1)
    assert result.waited() == 1.0


def test_quartiles_and_growth_of_known_numbers() -> None:
    found = spread([5.0, 1.0, 4.0, 2.0, 3.0])
    assert (found.low, found.middle, found.high) == (2.0, 3.0, 4.0)
    assert spread([7.0]).high == 7.0
    assert growth([1, 2, 3], [100, 140, 200]) == pytest.approx(20.0)


def test_tables_are_put_between_the_marks_of_a_page(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- one -->\nold\n<!-- end -->\nb\n<!-- two -->\n\n<!-- end -->\n")
    put_into(f"{page}#one", ["| new |", ""])
    put_into(f"{page}#two", ["| other |"])
    put_into(f"{page}#one", ["| newer |"])
    assert page.read_text() == (
        "a\n<!-- one -->\n\n| newer |\n\n<!-- end -->\nb\n"
        "<!-- two -->\n\n| other |\n\n<!-- end -->\n"
    )
    with pytest.raises(ValueError, match=r"has no place '<!-- three -->'"):
        put_into(f"{page}#three", [])


def test_clocks_count_one_another_out() -> None:
    """Each part's time is its own, and the clocks' own time comes off."""
    clocks = Clocks()
    inner = clocks.around("inner", lambda: time.sleep(0.02))
    outer = clocks.around("outer", lambda: (inner(), inner(), time.sleep(0.01)))
    outer()
    assert clocks.calls == {"inner": 2, "outer": 1}
    assert clocks.inside == {"inner": 0, "outer": 2}
    assert clocks.seconds["inner"] >= 0.04
    assert clocks.seconds["outer"] >= 0.01
    clocks.seconds = {"inner": 1.0, "outer": 1.0}
    assert clocks.clean("inner", own=0.1, others=0.2) == pytest.approx(0.8)
    assert clocks.clean("outer", own=0.1, others=0.2) == pytest.approx(0.5)
    other = threading.Thread(target=outer)
    other.start()
    other.join()
    assert clocks.calls["outer"] == 1


def test_a_recorded_step_is_taken_apart(tmp_path: Path) -> None:
    """The profile finds the parts it names, and adds those that it is told."""
    told = "actrace.capture.phases:PhaseClock.begin"
    done = subprocess.run(
        [
            *(sys.executable, "benchmarks/profile_step.py", "mlp", "--rounds", "2"),
            *("--block", "0.004", "--part", told, "--part", "actrace.no:where"),
        ],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    rows = dict(re.findall(r"^\| ([^|]+) \| ([^|]+) \|", done.stdout, re.M))
    assert rows["actrace.no:where"] == "not in this version"
    assert rows["layer hooks"] == "5.00"
    assert rows["criterion"] == "1.00"
    assert float(rows[told]) >= 1
    assert "recording, in all" in rows


@pytest.mark.parametrize("module", [ratios_module, pages])
def test_the_examples_of_the_docstrings_hold(module: ModuleType) -> None:
    assert doctest.testmod(module).attempted > 0
    assert doctest.testmod(module).failed == 0


def test_names_are_found_by_pattern_and_a_wrong_one_lists_the_right_ones() -> None:
    assert [t.name for t in find_tasks(["resnet*", "gpt6"])] == [
        "resnet18-64",
        "resnet18-112",
        "gpt6",
    ]
    assert [v.name for v in find_variants(["histc"])] == ["bare", "histc"]
    with pytest.raises(ValueError, match=r"no model is called 'vgg'; there are mlp, convnet"):
        find_tasks(["vgg"])
    with pytest.raises(ValueError, match=r"no variant is called 'x\*'; there are bare"):
        find_variants(["x*"])


def test_the_command_writes_its_tables(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            *(
                sys.executable,
                "benchmarks/overhead",
                "--models",
                "mlp",
                "--variants",
                "empty-hooks",
            ),
            *(
                "--starts",
                "2",
                "--rounds",
                "4",
                "--block",
                "0.004",
                "--json",
                tmp_path / "out.json",
            ),
            *("--markdown", tmp_path / "out.md"),
        ],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out.md").read_text() == done.stdout
    assert "| empty hooks on every leaf |" in done.stdout
    records = json.loads((tmp_path / "out.json").read_text())["results"]
    assert [record["variant"] for record in records] == ["bare", "empty-hooks"]
    assert [len(record["blocks"]) for record in records] == [4, 4]


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system pins no threads")
def test_a_pinned_training_is_on_one_core_in_its_blocks_alone(tmp_path: Path) -> None:
    allowed = os.sched_getaffinity(0)
    seen: list[set[int]] = []

    class Looking(Watch):
        def after_step(self, loss: torch.Tensor) -> None:
            seen.append(os.sched_getaffinity(0))

    @contextmanager
    def look(model: nn.Module, loss_fn: nn.Module, place: Place) -> Iterator[Watch]:
        yield Looking()

    variant = Variant("looking", "looking", look)
    with trial(find_tasks(["mlp"])[0], variant, Place(tmp_path), pin=True) as running:
        running.pair(1)
        assert os.sched_getaffinity(0) == allowed
    assert seen == [{min(allowed)}]

"""docs/schema-1.md says what the code does, variable by variable, and its example runs."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from tests.store import recording as rec

from actrace.store import schema
from actrace.store.axis import Asinh
from actrace.store.gradients import GRADIENT_AXIS, GradientInfo, gradient_attributes
from actrace.store.group import LONGEST, LONGEST_SHARD
from actrace.store.levels.ladder import FEWEST, FIRST, STEP
from actrace.store.paths import LOCK_NAME
from actrace.store.reader import open_run

PAGE = (Path(__file__).parents[2] / "docs" / "schema-1.md").read_text()
ROW = re.compile(r"\| `(\w+)` \| ([\w, ]+) \| (\w+) \| (.+?) \| (.+?) \|$")


def section(title):
    """Return the text below a heading, up to the next of any level."""
    return re.split(r"\n#+ ", PAGE.split(f"# {title}\n", 1)[1])[0]


def rows(title):
    found = [ROW.match(line) for line in section(title).splitlines()]
    return {
        match[1]: (tuple(match[2].split(", ")), match[3], match[4], match[5])
        for match in found
        if match
    }


def described(variables):
    return {v.name: (v.dims, v.dtype, v.long_name, v.units) for v in variables}


def every_output_variable():
    for task in schema.TASKS:
        yield from schema.output_variables(task, 0 if task == "regression" else 2, 2)


@pytest.mark.parametrize(
    ("title", "variables"),
    [
        ("Root", schema.ROOT_VARIABLES),
        ("Phase", (*schema.PHASE_VARIABLES, schema.SAMPLED)),
        ("Output", tuple(every_output_variable())),
        ("Unit", (*schema.UNIT_VARIABLES, *schema.WINDOW_SCALARS)),
        ("Gradient", schema.gradient_variables("gradient")),
        ("Output gradient", schema.gradient_variables("output_gradient")),
        ("Level", schema.LEVEL_VARIABLES),
    ],
)
def test_the_page_and_the_schema_list_the_same_variables(title, variables):
    assert rows(title) == described(variables)


def test_the_page_names_every_attribute_that_a_run_has(tmp_path):
    path = rec.write_run(tmp_path / "a", 4)
    run = open_run(path)
    named = set(re.findall(r"`(\w+)`", section("Attributes")))
    written = set(run.attrs) | {"coordinates"}
    written |= set(run["train"].attrs) | set(run["train"]["output"].attrs)
    for group in schema.GRADIENT_GROUPS:
        written |= set(gradient_attributes(group, GradientInfo(())))
    assert written <= named


def test_the_page_names_what_the_code_uses():
    for task in schema.TASKS:
        assert f"`{task}`" in PAGE
    assert f"16 to {LONGEST_SHARD:,}" in PAGE
    assert f"256 to {LONGEST:,}" in PAGE
    assert f"`{LOCK_NAME}`" in PAGE
    assert "512 bins regular in\nasinh(g / 1e-8) between -1000 and 1000" in PAGE
    assert Asinh(-1000, 1000, 512, 1e-8) == GRADIENT_AXIS
    assert f"holds a column for each {FIRST} batches" in PAGE
    assert (STEP, "and so on by four" in PAGE) == (4, True)
    assert f"begins with its {FEWEST}th column**: `x16` at {FEWEST * FIRST:,} batches" in PAGE
    assert f"neither dimension exceeds {schema.MAX_MATRIX_CLASSES}" in PAGE


def test_every_variable_of_a_run_is_on_the_page(tmp_path):
    """With the dims and dtype that the page says."""
    run = open_run(rec.write_run(tmp_path / "a", 8))
    for path, title in (
        ("/", "Root"),
        ("train", "Phase"),
        ("train/output", "Output"),
        ("train/unit", "Unit"),
    ):
        table = rows(title)
        for name, variable in run[path].to_dataset(inherit=False).variables.items():
            if name in ("lr", "time"):
                continue
            dims, dtype, long_name, _ = table[name]
            assert variable.dims == dims
            kind = {"count": "uint32", "string": None}.get(dtype, dtype)
            assert variable.dtype.kind == "U" if kind is None else variable.dtype == kind
            assert variable.attrs["long_name"] == long_name


def test_the_example_runs_on_a_real_run(tmp_path, monkeypatch, capsys):
    axis, values = rec.Linear(-2, 2, 8), np.random.default_rng(0)
    writer = rec.RunWriter.create(tmp_path / "runs" / "mnist", axis=axis, attributes={})
    writer.declare_layers([rec.LayerInfo("conv", "Conv2d"), rec.LayerInfo("fc", "Linear")])
    for _ in range(20):
        row = rec.BatchRow.empty(2, 8)
        row.phase = "train"
        for layer, centre in enumerate((0.2, 1.2)):
            x = values.normal(centre, 0.1, 1000)
            row.count[layer] = np.histogram(x, axis.edges)[0]
            row.counters[6, layer] = 1000
        writer.append_batch(row)
    writer.close()
    code = re.findall(r"```python\n(.*?)```", section("Example"), re.DOTALL)[0]
    monkeypatch.chdir(tmp_path)
    exec(code, {})
    assert capsys.readouterr().out == "fc most often lies in 1.0 to 1.5\n"


@pytest.mark.parametrize(
    "name",
    ["levels", "count", "ranks", "output", "layer", "step", "../x", "", "1a", "a b", "x" * 65, 3],
)
def test_reserved_and_odd_names_are_refused(name):
    with pytest.raises(ValueError, match=r"cannot be recorded|taken by the schema"):
        schema.check_name(name, "phase")


@pytest.mark.parametrize("name", ["train", "valid_2", "X", "x" * 64])
def test_plain_names_may_stand(name):
    assert schema.check_name(name, "phase") == name


def test_the_matrix_is_left_out_for_many_classes():
    names = {v.name for v in schema.output_variables("single-label", 257, 257)}
    assert "confusion" not in names
    assert "count_by_class" in names
    assert "confusion" not in {v.name for v in schema.output_variables("binary", 2, 1)}

"""The labelled sums of each task, against a slow loop over samples and units."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from actrace.capture.labels.sums import LabelledSums
from actrace.capture.labels.targets import Labelling, check_classes, infer_task, labelling
from actrace.errors import RecorderError, TargetError
from actrace.store.axis import Linear
from actrace.store.schema import WINDOW_SCALARS, output_variables

AXIS = Linear(-2, 2, 8)
SCALARS = {variable.name for variable in WINDOW_SCALARS}


def labels_for(task: str, n: int) -> Labelling:
    names = tuple(str(at) for at in range(n))
    if task == "binary":
        return Labelling(task, 1, ("0", "1"), ("1",), 0.25)
    classes = () if task == "regression" else names
    return Labelling(task, n, classes, names, 0.25)


def targets_for(task: str, values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    n, n_units = values.shape
    if task == "single-label":
        return rng.integers(0, n_units, n)
    if task == "binary":
        return rng.integers(0, 2, n)
    if task == "multi-label":
        return rng.integers(0, 2, (n, n_units)).astype(np.uint8)
    return rng.normal(size=(n, n_units))


def slow(task: str, values: np.ndarray, target: np.ndarray) -> tuple[dict, dict, dict, dict]:
    """Return the values in each cell by unit, by class and by both, and the sums of samples."""
    by_unit, by_class = defaultdict(list), defaultdict(list)
    matrix, sums = defaultdict(list), defaultdict(int)
    for i, row in enumerate(values):
        for u, x in enumerate(row):
            if task == "regression":
                by_unit[u, 0].append(x)
                by_unit[u, 1].append(target[i, u])
                if np.isfinite(x):
                    sums["squared", u] += (x - target[i, u]) ** 2
                continue
            if task == "multi-label":
                by_unit[u, 0 if target[i, u] else 1].append(x)
                for c in np.flatnonzero(target[i]):
                    matrix[c, u].append(x)
                    if c == u or not target[i, u]:
                        by_class[c, 0 if c == u else 1].append(x)
                continue
            c = target[i]
            role = int(c == 0) if task == "binary" else int(u != c)
            by_unit[u, role].append(x)
            by_class[c, role].append(x)
            matrix[c, u].append(x)
        if task == "single-label":
            sums["samples", target[i]] += 1
            numbers = np.flatnonzero(~np.isnan(row))
            if numbers.size:
                best = numbers[np.argmax(row[numbers])]
                sums["confusion", target[i], best] += 1
                sums["correct", target[i]] += int(best == target[i])
        elif task == "binary":
            sums["samples", target[i]] += 1
            told = not np.isnan(row[0]) and (row[0] > 0.25) == (target[i] == 1)
            sums["correct", target[i]] += int(told)
        elif task == "multi-label":
            for c in np.flatnonzero(target[i]):
                sums["samples", c] += 1
                sums["correct", c] += int(row[c] > 0.25)
    return by_unit, by_class, matrix, sums


def check_cells(got: dict, suffix: str, cells: dict, rows: int) -> None:
    for row in range(rows):
        for role in (0, 1):
            x = np.array(cells[row, role], dtype=np.float64)
            finite = x[np.isfinite(x)]
            at = (row, role)
            inside = finite[(finite >= -2) & (finite <= 2)]
            np.testing.assert_array_equal(
                got[f"count_{suffix}"][at], np.histogram(inside, AXIS.edges)[0]
            )
            assert got[f"underflow_{suffix}"][at] == (finite < -2).sum()
            assert got[f"overflow_{suffix}"][at] == (finite > 2).sum()
            assert got[f"nonfinite_{suffix}"][at] == x.size - finite.size
            assert got[f"elements_{suffix}"][at] == x.size
            mean, spread = (finite.mean(), finite.std()) if finite.size else (np.nan, np.nan)
            np.testing.assert_allclose(got[f"mean_{suffix}"][at], mean, rtol=1e-9, atol=1e-12)
            np.testing.assert_allclose(got[f"std_{suffix}"][at], spread, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("compiled", [True, False], ids=["numba", "numpy"])
@pytest.mark.parametrize("task", ["single-label", "binary", "multi-label", "regression"])
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**16), n=st.integers(0, 40), n_units=st.integers(2, 6))
def test_sums_equal_a_slow_loop(task: str, compiled: bool, seed: int, n: int, n_units: int) -> None:
    rng = np.random.default_rng(seed)
    labels = labels_for(task, n_units)
    n_units = labels.n_units
    values = rng.normal(scale=1.5, size=(n, n_units))
    values[rng.random(values.shape) < 0.1] = rng.choice([np.nan, np.inf, -np.inf, 2.0, -2.0])
    target = targets_for(task, values, rng)
    sums = LabelledSums(labels, AXIS, compiled=compiled)
    for part in (slice(n // 2), slice(n // 2, None)):
        sums.add(values[part], sums.find(values[part]), target[part])
    got = {name: found[0] for name, found in sums.take().items()}
    by_unit, by_class, matrix, totals = slow(task, values, target)
    check_cells(got, "by_unit", by_unit, n_units)
    if task == "regression":
        want = [totals["squared", u] for u in range(n_units)]
        np.testing.assert_allclose(got["squared_error"], want, rtol=1e-9, atol=1e-12)
        return
    n_classes = len(labels.classes)
    check_cells(got, "by_class", by_class, n_classes)
    for c in range(n_classes):
        assert got["samples"][c] == totals["samples", c]
        assert got["correct"][c] == totals["correct", c]
        for u in range(n_units):
            x = np.array([x for x in matrix[c, u] if np.isfinite(x)])
            mean, spread = (x.mean(), x.std()) if x.size else (np.nan, np.nan)
            np.testing.assert_allclose(got["output_mean"][c, u], mean, rtol=1e-9, atol=1e-12)
            np.testing.assert_allclose(got["output_std"][c, u], spread, rtol=1e-7, atol=1e-7)
            if task == "single-label":
                assert got["confusion"][c, u] == totals["confusion", c, u]


@pytest.mark.parametrize("task", ["single-label", "binary", "multi-label", "regression"])
@pytest.mark.parametrize("n_units", [3, 300])
def test_a_window_has_the_schemas_variables_and_the_next_starts_empty(
    task: str, n_units: int
) -> None:
    labels = labels_for(task, n_units)
    values = np.random.default_rng(0).normal(size=(4, labels.n_units))
    sums = LabelledSums(labels, AXIS, compiled=True)
    sums.add(values, sums.find(values), targets_for(task, values, np.random.default_rng(1)))
    got = sums.take()
    wanted = {
        variable.name
        for variable in output_variables(task, len(labels.classes), labels.n_units)
        if variable.dims[-1] == "window"
    }
    assert set(got) == wanted - SCALARS
    assert got["elements_by_unit"].sum() > 0
    assert sums.take()["elements_by_unit"].sum() == 0
    assert got["elements_by_unit"].sum() > 0


@pytest.mark.parametrize("compiled", [True, False], ids=["numba", "numpy"])
@pytest.mark.parametrize("task", ["single-label", "binary", "multi-label", "regression"])
def test_windows_taken_together_are_those_taken_one_by_one(task: str, compiled: bool) -> None:
    labels = labels_for(task, 4)
    rng = np.random.default_rng(0)
    values = [rng.normal(size=(5, labels.n_units)) for _ in range(6)]
    targets = [targets_for(task, value, rng) for value in values]
    alone = LabelledSums(labels, AXIS, compiled=compiled)
    together = LabelledSums(labels, AXIS, compiled=compiled)
    want = []
    for at, (value, target) in enumerate(zip(values, targets, strict=True)):
        alone.add(value, alone.find(value), target)
        together.add(value, together.find(value), target, at)
        want.append(alone.take())
    for got, windows in ((together.take(5), want[:5]), (together.take(1), want[5:])):
        for name, found in got.items():
            np.testing.assert_array_equal(found, np.concatenate([w[name] for w in windows]), name)
    together.add(values[0], together.find(values[0]), targets[0], 1)
    together.clear()
    assert not together.take(2)["count_by_unit"].any()


N, C = 6, 4
OUT = torch.randn(N, C)
CLASSES = torch.randint(0, C, (N,))


@pytest.mark.parametrize(
    ("criterion", "values", "target", "told", "task"),
    [
        (nn.CrossEntropyLoss(), OUT, CLASSES, None, "single-label"),
        (nn.NLLLoss(), OUT, CLASSES, None, "single-label"),
        (nn.CrossEntropyLoss(), OUT, OUT.softmax(1), None, "single-label"),
        (nn.BCEWithLogitsLoss(), OUT[:, :1], torch.ones(N, 1), None, "binary"),
        (nn.BCELoss(), OUT[:, 0], torch.ones(N), None, "binary"),
        (nn.BCEWithLogitsLoss(), OUT, torch.ones(N, C), None, "multi-label"),
        (nn.MSELoss(), OUT, OUT, None, "regression"),
        (nn.HuberLoss(), OUT[:, 0], OUT[:, 0], None, "regression"),
        (None, OUT, CLASSES, None, "single-label"),
        (None, OUT[:, 0], torch.tensor([0, 1, 0, 1, 1, 0]), None, "binary"),
        (None, OUT, torch.ones(N, C), None, "multi-label"),
        (None, OUT, OUT + 1, None, "regression"),
        (nn.MSELoss(), OUT, torch.ones(N, C), "multi-label", "multi-label"),
        (None, torch.randn(2, C, 3, 3), torch.zeros(2, 3, 3).long(), None, "single-label"),
        (None, torch.randn(2, 7, C), torch.zeros(2, 7).long(), None, "single-label"),
        (None, torch.randn(2, 7, C), torch.zeros(14).long(), None, "single-label"),
        (None, OUT, CLASSES[:, None], None, "single-label"),
        (None, OUT[:, :1], torch.tensor([0, 1, 0, 1, 1, 0]), None, "binary"),
    ],
)  # fmt: skip
def test_the_task_is_told_by_criterion_or_shapes(
    criterion: nn.Module | None,
    values: torch.Tensor,
    target: torch.Tensor,
    told: str | None,
    task: str,
) -> None:
    assert infer_task(values, target, criterion, told) == task


def test_shapes_that_tell_nothing_ask_for_the_task() -> None:
    with pytest.raises(TargetError, match="task="):
        infer_task(OUT, torch.zeros(5), None, None)


def test_images_and_sequences_are_read_pixel_by_pixel_and_step_by_step() -> None:
    labels = labels_for("single-label", C)
    image, target = torch.randn(2, C, 3, 5), torch.randint(0, C, (2, 3, 5))
    rows, numbers = labels.read(image, target)
    assert rows.shape == (30, C)
    np.testing.assert_array_equal(rows[7], image[0, :, 1, 2])
    assert numbers[7] == target[0, 1, 2]
    steps, flat = torch.randn(2, 7, C), torch.randint(0, C, (14,))
    rows, numbers = labels.read(steps, flat)
    np.testing.assert_array_equal(rows[8], steps[1, 1])
    assert numbers[8] == flat[8]


def test_ignored_targets_are_left_out_and_soft_ones_take_their_largest() -> None:
    labels = Labelling("single-label", C, tuple("abcd"), tuple("abcd"), ignore_index=-100)
    rows, numbers = labels.read(OUT, torch.tensor([0, -100, 1, -100, 2, 3]))
    np.testing.assert_array_equal(numbers, [0, 1, 2, 3])
    np.testing.assert_array_equal(rows, OUT[[0, 2, 4, 5]].double())
    soft = nn.functional.one_hot(CLASSES, C).float() * 0.9 + 0.025
    np.testing.assert_array_equal(labels.read(OUT, soft)[1], CLASSES)


@pytest.mark.parametrize(
    ("task", "target", "words"),
    [
        ("single-label", torch.tensor([0, 1, 2, 3, 4, 0]), "from 0 to 4, expected 0 to 3"),
        ("single-label", torch.tensor([-1, 1, 2, 3, 0, 0]), "from -1 to 3"),
        ("single-label", CLASSES[:3], r"shape \(3,\), expected \(6,\)"),
        ("single-label", torch.rand(N), "no class numbers"),
        ("multi-label", torch.full((N, C), 0.5), "0 and 1 alone"),
        ("multi-label", torch.zeros(N), r"shape \(6,\), expected \(6, 4\)"),
        ("regression", torch.zeros(N), r"expected \(6, 4\)"),
    ],
)
def test_a_target_that_does_not_fit_names_got_and_expected(
    task: str, target: torch.Tensor, words: str
) -> None:
    with pytest.raises(TargetError, match=words):
        labels_for(task, C).read(OUT, target)


@pytest.mark.parametrize(
    ("criterion", "squashed", "threshold"),
    [(nn.BCEWithLogitsLoss(), False, 0.0), (nn.BCELoss(), False, 0.5), (None, True, 0.5)],
)
def test_the_threshold_is_that_of_logits_or_probabilities(
    criterion: nn.Module | None, squashed: bool, threshold: float
) -> None:
    labels = labelling("binary", OUT[:, :1], CLASSES, criterion, ("no", "yes"), squashed)
    assert labels.threshold == threshold
    assert labels.classes == ("no", "yes")
    assert labels.units == ("yes",)


@pytest.mark.parametrize(
    ("classes", "task", "words"),
    [
        (["a", "a"], None, "distinct"),
        ([], None, "distinct"),
        (0, None, "distinct"),
        ("abc", None, "names or their number"),
        (True, None, "names or their number"),
        (3, "binary", "2 classes"),
        (3, "regression", "no classes"),
        (None, "clustering", "task must be one of"),
    ],
)
def test_classes_and_task_must_agree(classes: object, task: str | None, words: str) -> None:
    with pytest.raises(RecorderError, match=words):
        check_classes(classes, task)  # type: ignore[arg-type]

"""The cross-entropy that peaks imply, against sums over every single draw."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp
from sklearn.metrics import log_loss

from actrace.analysis.kernels.cross_entropy import (
    cell_values,
    sigmoid_cross_entropy,
    softmax_cross_entropy,
)

VALUES = np.array([-3.0, -1.0, 0.0, 0.5, 2.0, 40.0])
counts = st.lists(st.integers(0, 20), min_size=6, max_size=6).filter(any)


def tilted_to(mean: float, q: np.ndarray) -> np.ndarray:
    """Return the mixture of the two nearest tilts that has the mean, or the nearest one."""
    centre = q @ VALUES
    spread = np.sqrt(q @ (VALUES - centre) ** 2) or 1.0
    tilts = []
    for strength in np.sinh(np.linspace(-4, 4, 65)):
        weight = np.zeros(len(VALUES))
        most = (strength * (VALUES[q > 0] - centre) / spread).max()
        for i in np.flatnonzero(q):
            weight[i] = q[i] * np.exp(strength * (VALUES[i] - centre) / spread - most)
        tilts.append(weight / weight.sum())
    means = [tilt @ VALUES for tilt in tilts]
    if mean <= means[0]:
        return tilts[0]
    for low, high, a, b in zip(tilts, tilts[1:], means, means[1:], strict=False):
        if a <= mean <= b and a < b:
            share = (mean - a) / (b - a)
            return (1 - share) * low + share * high
    return tilts[-1]


def by_every_draw(yes: list[int], no: list[int], n_units: int) -> float:
    """Return the mean over every combination of one YES and the NOs, by their weights."""
    p, q = np.array(yes) / sum(yes), np.array(no) / sum(no)
    total = 0.0
    for own in np.flatnonzero(p):
        drawn = tilted_to(q @ VALUES - (VALUES[own] - p @ VALUES) / (n_units - 1), q)
        for others in itertools.product(np.flatnonzero(drawn), repeat=n_units - 1):
            cost = logsumexp(VALUES[[own, *others]]) - VALUES[own]
            total += p[own] * np.prod(drawn[list(others)]) * cost
    return total


@given(yes=counts, no=counts)
@settings(max_examples=30, deadline=None)
def test_a_softmax_of_three_is_the_mean_over_every_draw(yes: list[int], no: list[int]) -> None:
    found = softmax_cross_entropy(yes, no, VALUES, 3)
    assert found == pytest.approx(by_every_draw(yes, no, 3), abs=1e-6)


def test_a_softmax_of_five_is_the_mean_over_every_draw() -> None:
    yes, no = [0, 1, 2, 9, 4, 1], [5, 9, 2, 0, 1, 0]
    found = softmax_cross_entropy(yes, no, VALUES, 5)
    assert found == pytest.approx(by_every_draw(yes, no, 5), abs=1e-6)


@given(yes=counts, no=counts, shift=st.floats(-50, 50), n_units=st.integers(2, 1000))
def test_adding_to_every_logit_changes_nothing(
    yes: list[int], no: list[int], shift: float, n_units: int
) -> None:
    one = softmax_cross_entropy(yes, no, VALUES, n_units)
    assert softmax_cross_entropy(yes, no, VALUES + shift, n_units) == pytest.approx(one, abs=1e-6)
    assert one >= -1e-6


@pytest.mark.parametrize(("far", "error"), [(1e4, 1e-2), (1e9, 1.0)])
def test_outputs_of_a_billion_cost_no_more_than_their_distance(far: float, error: float) -> None:
    """As a learning rate far too high leaves them, on an axis that holds them."""
    values = np.array([-far, -2.0, 0.0, far])
    sure = softmax_cross_entropy([0, 0, 0, 4], [9, 5, 4, 0], values, 10)
    assert sure == pytest.approx(0.0, abs=error)
    wrong = softmax_cross_entropy([0, 0, 4, 0], [0, 0, 0, 36], values, 10)
    assert wrong == pytest.approx(far + np.log(9), abs=error)
    half = softmax_cross_entropy([0, 1, 0, 1], [0, 0, 1, 0], values, 10)
    assert half == pytest.approx(np.log1p(9 * np.exp(2.0)) / 2, abs=error)


def test_logits_whose_sum_is_kept_give_the_loss_of_the_samples() -> None:
    """A net that is as sure of its mistakes as of the rest: far from independent draws."""
    rng = np.random.default_rng(0)
    n, n_units = 4000, 10
    target = rng.integers(0, n_units, n)
    says = np.where(rng.random(n) < 0.8, target, rng.integers(0, n_units, n))
    logits = rng.normal(0, 0.5, (n, n_units))
    logits[np.arange(n), says] += 4
    share = np.exp(logits)
    expected = log_loss(target, share / share.sum(axis=1, keepdims=True))
    edges = np.linspace(-12, 12, 2401)
    is_yes = np.arange(n_units) == target[:, None]
    sides = [np.histogram(logits[mask], edges)[0] for mask in (is_yes, ~is_yes)]
    padded = [np.concatenate([[0], side, [0]]) for side in sides]
    found = softmax_cross_entropy(*padded, cell_values(edges), n_units)
    assert found == pytest.approx(expected, rel=0.15)


def test_a_softmax_of_two_couples_the_largest_yes_with_the_smallest_no() -> None:
    rng = np.random.default_rng(0)
    logit = rng.normal(1, 2, 400)  # the second output is minus the first
    edges = np.linspace(-12, 12, 4801)
    yes, no = (np.histogram(x, edges)[0] for x in (logit, -logit))
    padded = [np.concatenate([[0], side, [0]]) for side in (yes, no)]
    share = 1 / (1 + np.exp(-2 * logit))
    expected = log_loss(np.ones(400), np.stack([1 - share, share], axis=1), labels=[0, 1])
    assert softmax_cross_entropy(*padded, cell_values(edges), 2) == pytest.approx(
        expected, abs=0.005
    )


def test_a_sigmoid_is_the_loss_of_the_samples() -> None:
    rng = np.random.default_rng(0)
    target = rng.integers(0, 2, 500)
    logit = rng.normal(0, 2, 500) + target
    edges = np.linspace(-12, 12, 2401)
    yes, no = (np.histogram(logit[target == role], edges)[0] for role in (1, 0))
    padded = [np.concatenate([[0], side, [0]]) for side in (yes, no)]
    expected = log_loss(target, 1 / (1 + np.exp(-logit)))
    assert sigmoid_cross_entropy(*padded, cell_values(edges)) == pytest.approx(expected, abs=0.005)


@pytest.mark.parametrize("kind", ["Softmax", "Sigmoid"])
def test_probabilities_are_taken_back_to_logits(kind: str) -> None:
    edges = np.linspace(0, 1, 1001)
    values = cell_values(edges, kind)
    assert np.isfinite(values).all()
    middle = np.array([0.0, *(edges[1:] + edges[:-1]) / 2, 1.0])[1:-1]
    expected = np.log(middle) if kind == "Softmax" else np.log(middle / (1 - middle))
    np.testing.assert_allclose(values[1:-1], expected, atol=1e-9)


@pytest.mark.parametrize("n_units", [2, 3])
def test_a_side_without_elements_has_no_answer_and_spoils_no_other(n_units: int) -> None:
    yes = np.array([[0, 0, 0, 0, 0, 0], [0, 1, 2, 3, 0, 0]])
    no = np.array([[1, 0, 0, 0, 0, 0], [4, 1, 0, 0, 0, 0]])
    first, second = softmax_cross_entropy(yes, no, VALUES, n_units)
    assert np.isnan(first)
    assert second == pytest.approx(float(softmax_cross_entropy(yes[1], no[1], VALUES, n_units)))
    assert np.isnan(softmax_cross_entropy(yes[:1], no[:1] * 0, VALUES, n_units)).all()
    assert np.isnan(sigmoid_cross_entropy(yes[0], no[0] * 0, VALUES))

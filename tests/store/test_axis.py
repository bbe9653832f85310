"""The bin axes: edges, refusals, and the way to JSON and back."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actrace.errors import AxisError
from actrace.store.axis import Asinh, Axis, Edges, Linear, axis_from_dict

FINITE = st.floats(-1e6, 1e6)


def same_edges_or_refused(make):
    try:
        return make()
    except AxisError:
        return None


@given(start=FINITE, stop=FINITE, bins=st.integers(2, 300), scale=st.floats(1e-3, 1e3))
def test_edges_increase_end_where_told_and_survive_json(start, stop, bins, scale):
    for make in (lambda: Linear(start, stop, bins), lambda: Asinh(start, stop, bins, scale)):
        axis = same_edges_or_refused(make)
        if axis is None:
            continue
        assert axis.n_bins == bins == len(axis.left) == len(axis.right)
        assert (np.diff(axis.edges) > 0).all()
        assert (axis.edges[0], axis.edges[-1]) == (start, stop)
        again = axis_from_dict(json.loads(json.dumps(axis.to_dict())))
        assert again == axis
        np.testing.assert_array_equal(again.edges, axis.edges)


def test_linear_is_numpys_linspace():
    np.testing.assert_array_equal(Linear(-10, 10, 200).edges, np.linspace(-10, 10, 201))


def test_asinh_is_regular_in_asinh_and_symmetric_with_zero_on_an_edge():
    axis = Asinh()
    steps = np.diff(np.arcsinh(axis.edges / 0.1))
    np.testing.assert_allclose(steps, steps[0], rtol=1e-9)
    np.testing.assert_array_equal(axis.edges, -axis.edges[::-1])
    assert axis.edges[256] == 0
    widths = dict(zip(axis.left.tolist(), np.diff(axis.edges), strict=True))
    for value, width in ((0, 0.004), (1, 0.04), (10, 0.4)):
        at = axis.left[np.searchsorted(axis.edges, value, side="right") - 1]
        assert widths[float(at)] == pytest.approx(width, rel=0.15)


def test_edges_of_ones_own():
    axis = Edges([-1, 0, 0.5, 4])
    assert axis.edges.tolist() == [-1, 0, 0.5, 4]
    assert axis_from_dict(axis.to_dict()) == axis
    assert hash(axis) == hash(Edges((-1, 0, 0.5, 4)))
    assert axis != Edges([-1, 0, 4])
    assert repr(axis) == "Edges([-1 ... 4], 3 bins)"
    assert isinstance(axis, Axis)


def test_edges_cannot_be_written():
    with pytest.raises(ValueError, match="read-only"):
        Linear(0, 1, 2).edges[0] = 3


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Linear(0, 1, 1), "at least 2 bins, got 1"),
        (lambda: Linear(0, 1, 2.0), "whole number, got 2.0"),
        (lambda: Linear(0, 1, True), "whole number, got True"),
        (lambda: Linear(0, 1, 70_000), "at most 65535 bins, got 70000"),
        (lambda: Linear(1, 1, 4), "start must lie below stop, got 1 and 1"),
        (lambda: Linear(0, float("inf"), 4), "must be finite, got 0 and inf"),
        (lambda: Linear(1, 1 + 1e-15, 100), "axis edges must increase"),
        (lambda: Asinh(scale=0), "scale must be above 0, got 0"),
        (lambda: Asinh(scale=float("nan")), "scale must be above 0, got nan"),
        (lambda: Edges([0, 1]), "at least 2 bins, got 1"),
        (lambda: Edges([]), "at least 2 bins, got 0"),
        (lambda: Edges([0, 1, 1]), "must increase, got .* at position 1"),
        (lambda: Edges([0, float("nan"), 1]), "must be finite"),
        (lambda: Edges([[0, 1], [2, 3]]), "at least 2 bins"),
        (lambda: Edges("abc"), "must be numbers, got 'abc'"),
        (lambda: Edges(np.arange(70_000)), "at most 65535 bins, got 69999"),
        (lambda: axis_from_dict({"kind": "log"}), "unknown axis kind 'log'; known are asinh"),
        (lambda: axis_from_dict({}), "unknown axis kind None"),
        (lambda: axis_from_dict({"kind": "linear", "start": 0}), "cannot be built from"),
        (lambda: axis_from_dict({"kind": "linear", "start": "a", "stop": 1, "bins": 3}), "axis"),
        (lambda: axis_from_dict({"kind": ["x"]}), "unknown axis kind"),
    ],
)
def test_what_cannot_be_an_axis_is_refused(make, message):
    with pytest.raises(AxisError, match=message):
        make()

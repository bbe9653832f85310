"""Names, ticks, keys, limits and the progress bar: the small parts of a chart."""

import io
import threading
import time

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from actrace.analysis.charts.colorful.marks import colour_limits, epoch_words, seen_epochs
from actrace.analysis.charts.grammar.caption import Entry, Paint, key, with_key
from actrace.analysis.charts.grammar.frame import Frame, run_name
from actrace.analysis.charts.grammar.style import FIRE, plain, shorten
from actrace.analysis.charts.grammar.ticks import asinh_ticks
from actrace.store import progress


@given(st.text(max_size=80), st.integers(5, 60))
def test_a_shortened_name_fits_and_keeps_both_ends(name, most):
    short = shorten(name, most)
    assert len(short) <= most
    assert short == name or (short[0] == name[0] and short[-1] == name[-1] and "…" in short)


def test_a_shortened_name_keeps_the_number_of_its_layer():
    names = [f"encoder.layers.{i}.self_attn.out_proj" for i in range(12)]
    assert len({shorten(name, 31) for name in names}) == 12


def test_invisible_characters_leave_a_name():
    assert plain("a\nb\x1b[31m\u202ec") == "a b [31m c"
    assert plain("") == ""


@given(st.floats(1e-3, 1e3), st.floats(0.5, 1e4), st.integers(3, 12))
def test_ticks_are_in_reach_rising_and_few(width, reach, most):
    low, high = np.arcsinh(np.array([-reach, reach]))
    ticks = asinh_ticks(low, high, width, most=most)
    places = [place for place, _ in ticks]
    assert places == sorted(places)
    assert low <= places[0] <= places[-1] <= high
    assert len(ticks) <= most + 1
    assert "0" in [label for _, label in ticks]
    for place, label in ticks:
        np.testing.assert_allclose(np.sinh(place) * width, float(label), atol=1e-9 * width)


def test_a_one_sided_axis_has_ticks_too():
    low, high = np.arcsinh(-0.2), np.arcsinh(300.0)
    labels = [label for _, label in asinh_ticks(low, high, 0.1, most=6)]
    assert labels[0] == "0"
    assert "10" in labels


def shown(values, scale="linear"):
    return xr.Dataset(
        {"shown": (("value", "column"), np.atleast_2d(values))}, attrs={"scale": scale}
    )


def test_colours_begin_at_one_element_and_end_at_the_most():
    assert colour_limits(shown([0.0, 0.2, 3.0, 500.0])) == (1.0, 500.0)
    assert colour_limits(shown([0.0, 0.25, 3.0])) == (0.25, 3.0)


@pytest.mark.parametrize("values", [[0.0], [7.0], [1e-30, 1e12], [3.0, 3.1]])
@pytest.mark.parametrize("scale", ["linear", "asinh"])
def test_a_colour_bar_always_has_two_ends(values, scale):
    low, high = colour_limits(shown(values, scale))
    assert 0 < low < high
    assert high / low <= 1.01e6


def test_fire_rises_in_lightness_for_every_colour_sight():
    rgb = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in FIRE]) / 255
    lightness = rgb @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(lightness) > -1e-3).all()


FRAME = Frame(3.0, 1.5)
PAINT = Paint("#000000", "#ffffff")
MARKS = [Entry(f"mark {i}", fill="#ff0000") for i in range(4)]


def test_a_key_takes_the_free_place_or_a_row_of_its_own():
    cells = [object()] * 4
    rows, frames = with_key(cells, MARKS, FRAME, 3, paint=PAINT)
    assert [len(row) for row in rows] == [3, 2]
    assert frames == [FRAME, FRAME]
    rows, frames = with_key(cells[:3], MARKS, FRAME, 3, paint=PAINT)
    assert [len(row) for row in rows] == [3, 1]
    assert len(frames) == 2


def test_marks_and_prose_take_two_free_places_where_one_is_too_low():
    prose = Entry("word " * 54)
    rows, frames = with_key([object()] * 2, [*MARKS, prose], FRAME, 4, paint=PAINT)
    assert [len(row) for row in rows] == [4]
    assert frames == [FRAME]


def test_a_key_is_high_enough_for_its_words():
    _, low = key(MARKS, FRAME, paint=PAINT)
    _, high = key([*MARKS, Entry("word " * 60)], FRAME, paint=PAINT)
    assert high > low > 4 * 0.19


def test_a_run_is_called_by_its_folder():
    class Run:
        directory = "/somewhere/runs/lr3e-2.zarr"

    assert run_name(Run()) == "lr3e-2"
    assert run_name(xr.DataTree()) == ""


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_bar_is_drawn_for_a_person_who_waits_and_for_no_one_else(monkeypatch):
    for patience, stream, asked, seen in (
        (0.0, Terminal(), None, True),
        (1e9, Terminal(), None, False),
        (0.0, io.StringIO(), None, False),
        (0.0, Terminal(), False, False),
        (1e9, Terminal(), True, True),
    ):
        monkeypatch.setattr(progress, "PATIENCE", patience)
        monkeypatch.setattr("sys.stderr", stream)
        assert list(progress.track(range(3), 3, "drawing", progress=asked)) == [0, 1, 2]
        assert ("drawing" in stream.getvalue()) == seen


def test_waiting_shows_a_bar_until_it_is_over(monkeypatch):
    for stream, asked, seen in (
        (Terminal(), True, True),
        (Terminal(), None, False),
        (io.StringIO(), None, False),
        (Terminal(), False, False),
    ):
        monkeypatch.setattr("sys.stderr", stream)
        threads = threading.active_count()
        with progress.waiting("saving", progress=asked):
            deadline = time.monotonic() + 5
            while seen and "saving" not in stream.getvalue() and time.monotonic() < deadline:
                time.sleep(0.01)
        assert ("saving" in stream.getvalue()) == seen
        deadline = time.monotonic() + 5
        while threading.active_count() > threads and time.monotonic() < deadline:
            time.sleep(0.01)
        assert threading.active_count() == threads


@pytest.mark.parametrize(("n", "step"), [(1, 1), (41, 1), (42, 5), (400, 50), (1_200, 100)])
def test_of_many_epochs_some_have_a_line(n, step):
    data = xr.Dataset({"epoch": ("epoch", np.arange(n))})
    shown = seen_epochs(data)
    assert shown.tolist() == [epoch for epoch in range(1, n) if epoch % step == 0]
    words = "epoch begins" if step == 1 else f"every {step}th epoch"
    assert epoch_words(data) == words

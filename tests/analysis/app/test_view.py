"""The URL says what is shown, and whatever else stands in it does no harm."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from actrace.analysis.app.view import EACH, MOST_RUNS, PAGES, SECTIONS, SORTS, THEMES, View

#: What `View` writes of the ends of an axis has seven digits.
ends = st.none() | st.tuples(st.integers(-(10**6), -1), st.integers(0, 10**6)).map(
    lambda pair: (pair[0] / 2, pair[1] / 2)
)
names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    run=names,
    section=st.sampled_from(sorted(SECTIONS)),
    phase=names | st.just(""),
    layer=names | st.just(""),
    epoch=st.none() | st.integers(0, 10**6),
    by=st.sampled_from(["batch", "epoch"]),
    each=st.sampled_from(sorted(EACH)),
    along=st.sampled_from(["", "time"]),
    batches=ends,
    values=ends,
    mark=names | st.just(""),
    theme=st.sampled_from(sorted(THEMES)),
)
def test_a_run_page_comes_back_from_its_url(**chosen):
    view = View("run", **chosen)
    assert View.from_query(view.query()) == view


@given(st.lists(names, min_size=1, max_size=MOST_RUNS, unique=True))
def test_a_comparison_and_a_filter_come_back_too(runs):
    view = View("compare", runs=tuple(runs), layer=runs[0])
    assert View.from_query(view.query()) == view
    view = View(search=runs[0], tag=runs[-1], status="failed", sort="-loss", theme="dark")
    assert View.from_query(view.query()) == view


@given(st.text(max_size=200))
def test_any_query_makes_a_view(text):
    view = View.from_query(text)
    assert view.page in PAGES
    assert view.section in SECTIONS
    assert view.theme in THEMES
    assert view.sort.removeprefix("-") in SORTS


@pytest.mark.parametrize("epoch", ["-1", "x", "1e3", "\u0663", "9" * 40])
def test_an_epoch_that_makes_no_sense_is_left_out(epoch):
    assert View.from_query(f"?page=run&run=a&epoch={epoch}").epoch is None


@pytest.mark.parametrize(
    "ends", ["", "3", "3..", "..3", "3..3", "4..3", "x..y", "nan..1", "-inf..inf", "1..1e999"]
)
def test_ends_that_make_no_sense_are_left_out(ends):
    view = View.from_query(f"?page=run&run=a&batches={ends}&values={ends}")
    assert view.batches is None
    assert view.values is None


def test_a_comparison_takes_so_many_runs_and_each_once():
    query = "?page=compare&" + "&".join(f"runs=r{i % 20}" for i in range(100))
    assert View.from_query(query).runs == tuple(f"r{i}" for i in range(MOST_RUNS))

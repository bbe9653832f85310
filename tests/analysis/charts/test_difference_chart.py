"""Two runs side by side: the same cells, the same colours, and what differs."""

import holoviews as hv
import numpy as np
import pytest
from tests.synthetic import Batch, run_from_samples, synthetic_run

from actrace.analysis.charts.differing.difference import difference_chart
from actrace.analysis.charts.differing.difference_data import difference_data
from actrace.analysis.charts.showing.save import save_chart
from actrace.errors import ChartError, LayerNotFoundError
from actrace.store.axis import Linear


def run_of(n, shift=0.0, *, samples=50, axis=None, seed=0):
    rng = np.random.default_rng(seed)
    batches = [Batch({"a": rng.normal(shift, 1, (samples, 8))}) for _ in range(n)]
    return run_from_samples({"train": batches}, units=False, axis=axis or Linear(-8, 8, 64))


@pytest.mark.parametrize(("n", "m", "columns"), [(6, 6, 400), (13, 7, 5), (7, 13, 5)])
def test_the_difference_is_that_of_the_histograms(n, m, columns):
    """Held against numpy on the counts themselves, also of runs of other lengths and batches."""
    runs = run_of(n), run_of(m, 2.0, samples=30, seed=1)
    first, second, apart = difference_data(*runs, layer="a", max_columns=columns)
    width = first.attrs["batches_per_column"]
    assert second.attrs["batches_per_column"] == width
    edges = first["value_edge"].values
    np.testing.assert_array_equal(edges, second["value_edge"].values)
    assert apart.sizes["column"] == -(-min(n, m) // width)
    assert apart["share"].shape[0] == len(edges) - 1
    for column in range(apart.sizes["column"]):
        shares = []
        for run in runs:
            count = (
                run["train/count"].values[0][:, column * width : (column + 1) * width].sum(axis=1)
            )
            inside = np.histogram(Linear(-8, 8, 64).left + 0.125, edges, weights=count)[0]
            shares.append(inside / count.sum())
        np.testing.assert_allclose(
            apart["share"].values[:, column], shares[1] - shares[0], atol=1e-12
        )


def test_a_run_does_not_differ_from_itself():
    run = synthetic_run(n_batches=4)
    _, _, apart = difference_data(run, run, layer="conv0")
    assert not apart["share"].values.any()
    difference_chart(run, run, layer="conv0")


def test_both_pictures_have_one_scale_and_the_difference_its_own(tmp_path):
    chart = difference_chart(run_of(6), run_of(4, 2.0), layer="a")
    first, second, apart = (cell.traverse(lambda x: x, [hv.Image])[0] for cell in list(chart)[:3])
    limits = [
        hv.Store.lookup_options("bokeh", i, "plot").kwargs["clim"] for i in (first, second, apart)
    ]
    assert limits[0] == limits[1]
    assert limits[2][0] == -limits[2][1] < 0
    assert first.bounds.lbrt()[1::2] == second.bounds.lbrt()[1::2] == apart.bounds.lbrt()[1::2]
    # The second run's values are higher: more above, fewer below.
    drawn = apart.dimension_values(2, flat=False)
    assert drawn[drawn.shape[0] * 2 // 3 :].sum() > 0 > drawn[: drawn.shape[0] // 2].sum()
    assert save_chart(chart, tmp_path / "a.png", dpi=30).stat().st_size > 1000
    save_chart(chart, tmp_path / "a.html")


def test_what_cannot_be_held_against_each_other_is_refused():
    with pytest.raises(ChartError, match="different bins"):
        difference_data(run_of(3), run_of(3, axis=Linear(-8, 8, 50)), layer="a")
    with pytest.raises(ChartError, match="too short"):
        difference_data(run_of(40), run_of(1), layer="a", max_columns=4)
    with pytest.raises(LayerNotFoundError, match="b"):
        difference_chart(run_of(2), run_of(2), layer="b")

"""The comparison chart: distances and partings stand where they were computed."""

import holoviews as hv
import numpy as np
import pytest
from tests.synthetic import Batch, run_from_samples

from actrace.analysis.charts.differing.comparison import comparison_chart
from actrace.analysis.charts.showing.save import save_chart
from actrace.analysis.comparison.compare import compare
from actrace.errors import ChartError


def run_of(seed, shift=0.0, begin=8):
    """Return a run whose second layer moves away from batch `begin` on."""
    rng = np.random.default_rng(seed)
    batches = [
        Batch(
            {
                "first": rng.normal(0, 1, (64, 8)),
                "$second$": rng.normal(shift if j >= begin else 0.0, 1, (64, 8)),
            }
        )
        for j in range(24)
    ]
    return run_from_samples({"train": batches}, units=False)


@pytest.fixture(scope="module")
def found():
    return compare({"base": run_of(0), "same": run_of(1), "<b>other</b>": run_of(2, 6.0)})


def title(cell):
    return str(hv.Store.lookup_options("bokeh", cell, "plot").kwargs["title"])


def test_a_map_a_run_with_its_sentence_and_one_scale(found):
    chart = comparison_chart(found)
    cells = list(chart)
    assert len(cells) == 3
    assert title(cells[0]) == "same keeps to base"
    assert "parts from base at step 8" in title(cells[1])
    images = [cell.traverse(lambda x: x, [hv.Image])[-1] for cell in cells[:2]]
    for image, name in zip(images, ("same", "<b>other</b>"), strict=True):
        want = found.data["jensen_shannon"].sel(run=name).values
        np.testing.assert_allclose(image.dimension_values(2, flat=False)[::-1], want, atol=1e-6)
        options = hv.Store.lookup_options("bokeh", image, "plot").kwargs
        assert options["clim"] == (0.0, 1.0)


def test_an_upright_bar_marks_where_a_layer_parts(found):
    (same, other, _) = comparison_chart(found)
    assert not same.traverse(lambda x: x, [hv.Curve])
    (bar,) = other.traverse(lambda x: x, [hv.Curve])
    # The second of two layers is the lower row.
    assert bar.dimension_values(0)[:2].tolist() == [8.0, 8.0]
    assert bar.dimension_values(1)[:2].tolist() == [0.0, 1.0]


def test_both_backends_draw_any_distance(found, tmp_path):
    for measure in ("jensen_shannon", "wasserstein"):
        chart = comparison_chart(found, measure=measure, runs="same")
        assert save_chart(chart, tmp_path / "a.png", dpi=30).stat().st_size > 1000
        page = save_chart(chart, tmp_path / "a.html").read_text("utf-8")
        assert "<b>other</b>" not in page


def test_runs_are_compared_where_no_comparison_is_given():
    runs = {"a": run_of(0), "b": run_of(1)}
    assert title(next(iter(comparison_chart(runs)))) == "b keeps to a"


def test_what_cannot_be_drawn_is_refused(found):
    with pytest.raises(ChartError, match="'wasserstein'"):
        comparison_chart(found, measure="distance")
    for name in ("base", "nobody"):
        with pytest.raises(ChartError, match=name):
            comparison_chart(found, runs=name)
